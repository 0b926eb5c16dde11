//! The flake at the root evaluates: all that it has, for all of its systems, over a stand-in for nixpkgs, since
//! nixpkgs itself cannot be had everywhere. Needs nix.
#![expect(clippy::print_stderr, reason = "a skipped test says why on screen")]

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let has_nix = Command::new("nix").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_nix {
        eprintln!("skipped: the flake evaluates: nix is not on PATH");
    }
    let trials = vec![
        Trial::test("the flake evaluates for every system", evaluates).with_ignored_flag(!has_nix),
        Trial::test("the package brings its tools", brings_its_tools).with_ignored_flag(!has_nix),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Evaluates an expression over the flake's `outputs`, as JSON.
fn evaluate(expression: &str) -> Result<serde_json::Value, Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stand_in = root.join("tests/nixpkgs-stand-in");
    // The flake's function called by hand: no fetching, no lock file, and files that git does not know yet count too.
    // Called as flakes are, where the outputs refer to themselves.
    let outputs = "let root = /. + builtins.getEnv \"NIXBOX_ROOT\"; \
        nixpkgs = (import (/. + builtins.getEnv \"NIXBOX_STAND_IN\" + \"/flake.nix\")).outputs { self = nixpkgs; }; \
        flake = import (root + \"/flake.nix\"); \
        outputs = flake.outputs { self = outputs; inherit nixpkgs; }; in ";
    let output = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command flakes", "eval", "--impure", "--json", "--expr"])
        .arg(format!("{outputs}{expression}"))
        .env("NIXBOX_ROOT", root)
        .env("NIXBOX_STAND_IN", stand_in)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn evaluates() -> Result<(), Failed> {
    let answer = evaluate(
        "{ packages = builtins.mapAttrs (_: all: builtins.mapAttrs (_: each: each.drvPath) all) outputs.packages; \
           devShells = builtins.mapAttrs (_: all: builtins.mapAttrs (_: each: each.drvPath) all) outputs.devShells; \
           formatter = builtins.mapAttrs (_: each: each.drvPath) outputs.formatter; \
           apps = outputs.apps; \
           overlay = (outputs.overlays.default nixpkgs.legacyPackages.x86_64-linux { }).nixbox.drvPath; \
           input = flake.inputs.nixpkgs.url; }",
    )?;
    for part in ["packages", "devShells", "apps"] {
        for system in ["x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin"] {
            if answer[part][system]["default"].is_null() || answer["formatter"][system].is_null() {
                return Err(format!("{part} for {system}: {answer:#}").into());
            }
        }
    }
    let program = answer["apps"]["x86_64-linux"]["default"]["program"].as_str().unwrap_or_default();
    if !program.ends_with("/bin/nixbox") {
        return Err(format!("the app is {program}").into());
    }
    if answer["overlay"] != answer["packages"]["x86_64-linux"]["default"] {
        return Err("the overlay has another package".into());
    }
    let input = answer["input"].as_str().unwrap_or_default();
    if !input.starts_with("github:NixOS/nixpkgs/nixos-") {
        return Err(format!("no release branch: {input}").into());
    }
    Ok(())
}

fn brings_its_tools() -> Result<(), Failed> {
    let answer =
        evaluate("builtins.mapAttrs (_: all: { inherit (all.default) postInstall version; }) outputs.packages")?;
    let script = |system: &str| answer[system]["postInstall"].as_str().unwrap_or_default().to_owned();
    if !(script("x86_64-linux").contains("-qemu/bin:") && script("x86_64-linux").contains("-vhost-device-vsock/bin")) {
        return Err(script("x86_64-linux").into());
    }
    if script("aarch64-darwin").contains("vhost-device-vsock") {
        return Err("vhost-device-vsock is Linux's".into());
    }
    if answer["x86_64-linux"]["version"] != env!("CARGO_PKG_VERSION") {
        return Err(format!("another version: {answer:#}").into());
    }
    Ok(())
}
