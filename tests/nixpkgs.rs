//! The templates, and configurations as people write them (`tests/nixos/machines.nix`), over a real nixpkgs: each
//! evaluates down to its derivations, what nixbox reads of it is what its options say, and what is broken is told by its
//! cause. `NIXBOX_NIXPKGS` names a checkout of nixpkgs; without it they are skipped. An evaluation takes some 20 s of a
//! processor and 2 GB, so there is one at a time.
#![expect(clippy::print_stderr, reason = "a skipped test says why on screen")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::Nixbox;
use libtest_mimic::{Arguments, Failed, Trial};
use nixbox::init::TEMPLATES;
use serde_json::Value;

/// Options that newer releases removed, so that reading them throws: NixOS 26.11.
const REMOVED: [&str; 1] = ["services.displayManager.gdm.wayland"];
/// The checkout of nixpkgs.
const NIXPKGS: &str = "NIXBOX_NIXPKGS";

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    if !arguments.list {
        eprintln!(
            "skipped: machines of NixOS's own modules boot: tests/nixos/run does it, where nixpkgs' packages and KVM can be had"
        );
    }
    let trials = match (nixpkgs(), has_nix()) {
        (Ok(path), true) => match trials(&path) {
            Ok(trials) => trials,
            Err(why) => {
                eprintln!("{why}");
                std::process::exit(101);
            }
        },
        (path, _) => {
            let why = path.err().unwrap_or_else(|| "nix is not on PATH".to_owned());
            if !arguments.list {
                eprintln!("skipped: templates and configurations over a real nixpkgs: {why}");
            }
            Vec::new()
        }
    };
    libtest_mimic::run(&arguments, trials).exit();
}

fn nixpkgs() -> Result<PathBuf, String> {
    let path = std::env::var_os(NIXPKGS).ok_or_else(|| format!("{NIXPKGS} is not set (a checkout of nixpkgs)"))?;
    let path = fs::canonicalize(&path).map_err(|error| format!("{NIXPKGS}: {}: {error}", path.display()))?;
    if path.join("nixos").is_dir() { Ok(path) } else { Err(format!("{NIXPKGS}: {}: no nixpkgs", path.display())) }
}

fn has_nix() -> bool {
    Command::new("nix").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn trials(nixpkgs: &Path) -> Result<Vec<Trial>, String> {
    let Value::Object(machines) = evaluate(nixpkgs, "expected")? else { return Err("no machines".to_owned()) };
    let whole = TEMPLATES.iter().map(|template| template.name).filter(|name| *name != "existing");
    let mut trials: Vec<Trial> = whole
        .map(|name| {
            let path = nixpkgs.to_owned();
            Trial::test(format!("template {name}"), move || template(&path, name))
        })
        .collect();
    for (name, wanted) in machines {
        let path = nixpkgs.to_owned();
        trials.push(Trial::test(format!("machine {name}"), move || machine(&path, &name, &wanted)));
    }
    Ok(trials)
}

/// Evaluates a part of `tests/nixos/default.nix`.
fn evaluate(nixpkgs: &Path, part: &str) -> Result<Value, String> {
    let expression = "import (/. + builtins.getEnv \"NIXBOX_ROOT\" + \"/tests/nixos\") \
                      { path = /. + builtins.getEnv \"NIXBOX_NIXPKGS\"; }";
    let output = Command::new("nix")
        .args(["--extra-experimental-features", "nix-command", "eval", "--impure", "--json", "--expr"])
        .arg(format!("({expression}).{part}"))
        .env("NIXBOX_ROOT", env!("CARGO_MANIFEST_DIR"))
        .env(NIXPKGS, nixpkgs)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn template(nixpkgs: &Path, name: &str) -> Result<(), Failed> {
    let answer = evaluate(nixpkgs, &format!("template \"{name}\""))?;
    let mut wrong = complaints(&answer);
    if answer["warnings"] != serde_json::json!([]) {
        wrong.push(format!("warnings: {}", answer["warnings"]));
    }
    done(wrong)
}

fn machine(nixpkgs: &Path, name: &str, wanted: &Value) -> Result<(), Failed> {
    if wanted["exit"] == 3 {
        return broken(nixpkgs, name, wanted);
    }
    let answer = evaluate(nixpkgs, &format!("machine \"{name}\""))?;
    let mut wrong = complaints(&answer);
    differences("", &wanted["expects"], &answer["read"]["expectations"], &mut wrong);
    done(wrong)
}

/// nixbox's own answer to a configuration that does not evaluate.
fn broken(nixpkgs: &Path, name: &str, wanted: &Value) -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let (root, nixpkgs) = (nix_string(Path::new(env!("CARGO_MANIFEST_DIR"))), nix_string(nixpkgs));
    let flake = format!(
        "{{ outputs = {{ self }}: {{ nixosConfigurations = \
         (import (/. + {root} + \"/tests/nixos\") {{ path = /. + {nixpkgs}; }}).machines; }}; }}\n"
    );
    fs::write(directory.path().join("flake.nix"), flake)?;
    let outcome = Nixbox::try_(format!("path:{}#{name}", directory.path().display())).run();
    let report = outcome.report();
    let mut wrong = harness::complaints_of(wanted, outcome.code().into(), &report);
    let headline = report["cause"].as_str().unwrap_or_default();
    eprintln!("    {name}: {headline}");
    if !headline.contains(wanted["cause"].as_str().unwrap_or_default()) {
        wrong.push(format!("the headline is {headline:?}"));
    }
    done(wrong)
}

/// As a string of nix's language.
fn nix_string(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace("${", "\\${"))
}

/// What is wrong with what nixbox reads, whatever the machine.
fn complaints(answer: &Value) -> Vec<String> {
    let read = &answer["read"];
    let mut wrong = Vec::new();
    if !answer["toplevel"].is_string() || read["toplevel"]["drv"] != answer["toplevel"] {
        wrong.push(format!("the system: {}", read["toplevel"]));
    }
    if !read["runner"]["drv"].is_string() {
        wrong.push(format!("the runner: {}", read["runner"]));
    }
    let expectations = &read["expectations"];
    let unread = expectations["unread"].as_object().into_iter().flatten();
    wrong.extend(
        unread.filter(|(name, _)| !REMOVED.contains(&name.as_str())).map(|(name, why)| format!("{name}: {why}")),
    );
    if expectations["users"]["alice"]["has_password"] != true {
        wrong.push(format!("alice: {}", expectations["users"]["alice"]));
    }
    wrong
}

/// Where what was read lacks what is expected: of a list, each entry is somewhere in it.
fn differences(at: &str, wanted: &Value, read: &Value, wrong: &mut Vec<String>) {
    match (wanted, read) {
        (Value::Object(wanted), _) => {
            for (name, value) in wanted {
                differences(&format!("{at}.{name}"), value, &read[name.as_str()], wrong);
            }
        }
        (Value::Array(wanted), Value::Array(read)) => {
            let is_in = |value: &Value| {
                read.iter().any(|other| {
                    let mut differs = Vec::new();
                    differences(at, value, other, &mut differs);
                    differs.is_empty()
                })
            };
            wrong.extend(
                wanted.iter().filter(|value| !is_in(value)).map(|value| format!("{at}: no {value} in {read:?}")),
            );
        }
        _ if wanted == read => {}
        _ => wrong.push(format!("{at}: {read} instead of {wanted}")),
    }
}

fn done(wrong: Vec<String>) -> Result<(), Failed> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}
