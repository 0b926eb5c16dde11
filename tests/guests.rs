//! Walks `tests/guests#expected`: each guest is a test, and a new guest is a new test.
//!
//! A guest's test asserts the exit code, which checks failed, and that the cause is named. One with a `switchFrom` is not
//! booted by itself: it is switched to from that guest, and back.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

#[path = "harness/fixture.rs"]
mod fixture;
mod harness;

use std::fs;
use std::path::Path;

use harness::{Nixbox, cannot_run, complaints, expected, guest, was_kept_waiting};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

/// Set by `scripts/test --all`: the slow guests too.
const ALL: &str = "NIXBOX_TEST_ALL";
/// Where what was judged is kept as fixtures for `tests/facts.rs`, when it was judged rightly:
/// `scripts/test --record [FILTER]`.
const RECORD: &str = "NIXBOX_TEST_RECORD";

fn main() {
    let mut arguments = Arguments::from_args();
    if let Some(reason) = cannot_run() {
        eprintln!("skipped: every guest: {reason}");
        println!("\n0 passed, 0 failed, 1 skipped");
        return;
    }
    let all = std::env::var_os(ALL).is_some();
    let guests = match expected() {
        Ok(guests) => guests,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(101);
        }
    };
    // A TCG machine keeps about one core busy; more VMs than cores only make each other time out.
    let at_once =
        *arguments.test_threads.get_or_insert_with(|| std::thread::available_parallelism().map_or(1, Into::into));
    // As in a matrix: machines that together have more processors than this host wait for each other.
    let share = nixbox::run::processors(at_once).to_string();
    let trials = guests
        .into_iter()
        .map(|(name, wanted)| {
            let skip = wanted["slow"] == true && !all;
            if skip && !arguments.list {
                eprintln!("skipped: {name}: slow, run by scripts/test --all");
            }
            let test = name.clone();
            // A desktop keeps its two.
            let has_desktop = matches!(wanted["set"].as_str(), Some("desktop" | "gnome"));
            let cores = (!has_desktop).then(|| share.clone());
            Trial::test(name, move || check(&test, &wanted, cores.as_deref())).with_ignored_flag(skip)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(name: &str, wanted: &Value, cores: Option<&str>) -> Result<(), Failed> {
    let extra = wanted["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let extra = extra.chain(cores.into_iter().flat_map(|cores| ["--cores", cores]));
    let from = wanted["switchFrom"].as_str();
    let ask = || match from {
        // Two machines, and several switches.
        Some(from) => Nixbox::switch(guest(name), &guest(from)).args(extra.clone()).run(),
        None => Nixbox::try_(guest(name)).args(extra.clone()).run(),
    };
    let mut outcome = ask();
    if was_kept_waiting(&outcome) {
        eprintln!("asked again: {name}: {}", outcome.report()["cause"]);
        outcome = ask();
    }
    let report = outcome.report();
    let wrong = complaints(wanted, &outcome);
    if wrong.is_empty() {
        // Of two boots the facts are the last one's, which do not say what the first was like.
        let is_of_one_boot = from.is_none() && !extra.clone().any(|word| word == "--boots");
        if let Some(directory) = std::env::var_os(RECORD).filter(|_| is_of_one_boot) {
            record(name, wanted, &report, Path::new(&directory))?;
        }
        return Ok(());
    }
    // At once, and whole when all are done.
    eprintln!("wrong: {name}: {}", wrong.join("; "));
    let report = serde_json::to_string_pretty(&report).unwrap_or_default();
    Err(format!("{}\n{}\n{report}", wrong.join("; "), outcome.stderr()).into())
}

/// Keeps what was judged, with what was rightly said of it.
fn record(name: &str, wanted: &Value, report: &Value, directory: &Path) -> Result<(), Failed> {
    let artifacts = report["artifacts"].as_str().ok_or("no artifacts")?;
    let facts = Path::new(artifacts).join("facts.json");
    // What did not come as far as a guest has no facts.
    if !facts.exists() {
        return Ok(());
    }
    let mut fixture: Value = serde_json::from_slice(&fs::read(facts)?)?;
    fixture["host"] = name.into();
    let excluded = report["not_tested"].as_array().into_iter().flatten().map(|entry| entry["what"].clone());
    fixture["expect"] = json!({
        "exit": wanted["exit"],
        "fails": wanted["fails"],
        "warns": wanted["warns"].as_array().cloned().unwrap_or_default(),
        "not_tested": excluded.collect::<Vec<_>>(),
    });
    fixture::write(directory, name, fixture).map_err(|error| error.to_string().into())
}
