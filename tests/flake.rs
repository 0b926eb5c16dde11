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
    // Elsewhere nix would copy all that was ever built here into its store.
    let in_git = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    if has_nix && !in_git {
        eprintln!("skipped: nix flake check finds no fault: this is no git checkout");
    }
    let trials = vec![
        Trial::test("the flake evaluates for every system", evaluates).with_ignored_flag(!has_nix),
        Trial::test("nix flake check finds no fault", flake_check).with_ignored_flag(!has_nix || !in_git),
        Trial::test("the package brings its tools", brings_its_tools).with_ignored_flag(!has_nix),
        Trial::test("lib.check makes a report and a check", makes_checks).with_ignored_flag(!has_nix),
        Trial::test("lib.check says what is wrong with what it is given", refuses).with_ignored_flag(!has_nix),
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
           checks = builtins.mapAttrs (_: all: builtins.mapAttrs (_: each: each.drvPath) all) outputs.checks; \
           apps = outputs.apps; \
           templates = builtins.mapAttrs (_: each: builtins.pathExists each.path) outputs.templates; \
           module = builtins.isFunction (import outputs.nixosModules.guest); \
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
    for system in ["x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin"] {
        if answer["checks"][system]["package"] != answer["packages"][system]["default"] {
            return Err(format!("the check is of another package: {answer:#}").into());
        }
    }
    let templates = answer["templates"].as_object().into_iter().flatten();
    if templates.clone().count() == 0 || templates.clone().any(|(_, there)| there != true) || answer["module"] != true {
        return Err(format!("templates and modules: {answer:#}").into());
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

/// What nix itself holds against the shape of the outputs.
fn flake_check() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command flakes", "flake", "check", "--no-build"])
        .args(["--no-write-lock-file", "--override-input", "nixpkgs"])
        .arg(format!("path:{}", root.join("tests/nixpkgs-stand-in").display()).replace(' ', "%20"))
        .current_dir(root)
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let unknown = told.lines().find(|line| line.contains("unknown flake output"));
    if !output.status.success() || unknown.is_some() {
        return Err(told.into_owned().into());
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

/// A machine as far as lib.check looks at it.
const LAPTOP: &str = "\
    derived = name: derivation { inherit name; system = \"aarch64-linux\"; builder = \"/bin/sh\"; }; \
    config = { \
      networking.hostName = \"laptop\"; \
      environment.etc.secret.text = \"hunter2\"; \
      users.users.me = { isNormalUser = true; password = \"hunter2\"; }; \
      systemd.services.web = { wantedBy = [ \"multi-user.target\" ]; description = \"${derived \"web\"}\"; }; \
      system.build = { vm = derived \"nixos-vm\"; toplevel = derived \"nixos-system\"; }; \
      specialisation.\"with spaces\".configuration = config // { system.build = { vm = derived \"special-vm\"; }; }; \
    }; \
    check = arguments: outputs.lib.check ({ nixosConfiguration = { inherit config; }; } // arguments); ";

fn makes_checks() -> Result<(), Failed> {
    // What a word of the script names, a promise's file, is read where it is made.
    let answer = evaluate(&format!(
        "let {LAPTOP} \
           all = {{ \
             usual = check {{ }}; \
             emulated = check {{ features = [ \"nixos-test\" ]; vmOnly = true; name = \"other\"; }}; \
             special = check {{ specialisation = \"with spaces\"; }}; \
             told = check {{ config = root + \"/tests/guests/nixbox.toml\"; arguments = [ \"--only\" \"it's\" 3 ]; }}; \
           }}; \
           file = script: builtins.elemAt (builtins.match \".* '--expectations' '([^']*)'.*\" script) 0; \
         in {{ \
           pairs = builtins.mapAttrs (_: pair: {{ \
             inherit (pair.report) name system requiredSystemFeatures buildCommand drvPath; \
             toplevel = pair.report.toplevel or null; \
             check = pair.check.drvPath; \
             reads = pair.check.report == pair.report; \
             checkFeatures = pair.check.requiredSystemFeatures or null; \
           }}) all; \
           expectations = builtins.fromJSON (builtins.readFile (file all.usual.report.buildCommand)); \
           vm = config.system.build.vm.outPath; \
           toplevel = config.system.build.toplevel.outPath; \
           nixbox = outputs.packages.aarch64-linux.default.outPath; }}"
    ))?;
    let pairs = &answer["pairs"];
    let says = |pair: &str, words: &str| {
        let script = pairs[pair]["buildCommand"].as_str().unwrap_or_default();
        if script.contains(words) { Ok(()) } else { Err(Failed::from(format!("{pair} says no {words:?}: {script}"))) }
    };
    let is = |what: &str, given: &serde_json::Value, wanted: serde_json::Value| {
        if *given == wanted { Ok(()) } else { Err(Failed::from(format!("{what} is {given}, not {wanted}"))) }
    };
    let usual = &pairs["usual"];
    is("the system", &usual["system"], "aarch64-linux".into())?;
    is("the name", &usual["name"], "nixbox-report-laptop".into())?;
    is("what a builder must have", &usual["requiredSystemFeatures"], serde_json::json!(["kvm", "nixos-test"]))?;
    is("what the check's must have", &usual["checkFeatures"], serde_json::Value::Null)?;
    is("the check's report", &usual["reads"], true.into())?;
    is("the host's own system", &usual["toplevel"], answer["toplevel"].clone())?;
    let (vm, nixbox) = (answer["vm"].as_str().unwrap_or_default(), answer["nixbox"].as_str().unwrap_or_default());
    says("usual", &format!("{nixbox}/bin/nixbox try '{vm}' '--name' 'laptop'"))?;

    is("the features", &pairs["emulated"]["requiredSystemFeatures"], serde_json::json!(["nixos-test"]))?;
    is("the host's own system", &pairs["emulated"]["toplevel"], serde_json::Value::Null)?;
    says("emulated", "'--name' 'other'")?;
    is("the name", &pairs["special"]["name"], "nixbox-report-laptop-with-spaces".into())?;
    says("special", "special-vm' '--name' 'laptop@with spaces'")?;
    is("the host's own system", &pairs["special"]["toplevel"], answer["toplevel"].clone())?;
    says("told", "-nixbox.toml' '--only' 'it'\\''s' '3'")?;

    let expectations: nixbox::nix::expectations::Expectations = serde_json::from_value(answer["expectations"].clone())?;
    let has_password = expectations.users.get("me").is_some_and(|user| user.has_password);
    if !expectations.known || !has_password || !expectations.units.contains_key("web.service") {
        return Err(format!("not expected: {:#}", answer["expectations"]).into());
    }
    if answer.to_string().contains("hunter2") {
        return Err(format!("a secret got in: {answer:#}").into());
    }
    Ok(())
}

fn refuses() -> Result<(), Failed> {
    for (arguments, words) in [
        ("{ specialisation = \"hyprland\"; }", "no such specialisation; there are: with spaces"),
        ("{ nixosConfiguraton = 3; }", "nixosConfiguraton"),
    ] {
        match evaluate(&format!("let {LAPTOP} in (check {arguments}).report.drvPath")) {
            Ok(answer) => return Err(format!("{arguments} gives {answer}").into()),
            Err(error) => {
                let told = error.message().unwrap_or_default();
                if !told.contains(words) {
                    return Err(format!("{words:?} is not in {told}").into());
                }
            }
        }
    }
    Ok(())
}
