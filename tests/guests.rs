//! Walks `tests/guests#expected`: each guest is a test, and a new guest is a new test.
//!
//! A guest's test asserts the exit code, which checks failed, and that the cause is named.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test's runner says why it skips, and its helpers are the test"
)]

mod harness;

use std::collections::BTreeSet;

use harness::{Nixbox, cannot_run, expected, guest};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// Set by `scripts/test --all`: the slow guests too.
const ALL: &str = "NIXBOX_TEST_ALL";

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
    let trials = guests
        .into_iter()
        .map(|(name, wanted)| {
            let skip = wanted["slow"] == true && !all;
            if skip && !arguments.list {
                eprintln!("skipped: {name}: slow, run by scripts/test --all");
            }
            let test = name.clone();
            Trial::test(name, move || check(&test, &wanted)).with_ignored_flag(skip)
        })
        .collect();
    // A TCG machine keeps about one core busy; more VMs than cores only make each other time out.
    arguments.test_threads.get_or_insert_with(|| std::thread::available_parallelism().map_or(1, Into::into));
    libtest_mimic::run(&arguments, trials).exit();
}

fn check(name: &str, wanted: &Value) -> Result<(), Failed> {
    let extra = wanted["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let outcome = Nixbox::try_(guest(name)).args(extra).run();
    let report = outcome.report();
    let ids = |name: &str| -> BTreeSet<String> {
        wanted[name].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    };
    let fails = ids("fails");
    let mut wrong = Vec::new();
    if Some(i64::from(outcome.code())) != wanted["exit"].as_i64() {
        wrong.push(format!("exit {} instead of {}", outcome.code(), wanted["exit"]));
    }
    if outcome.failed() != fails {
        wrong.push(format!("failed checks {:?} instead of {fails:?}", outcome.failed()));
    }
    let warned = outcome.with_status("warn");
    if !ids("warns").is_subset(&warned) {
        wrong.push(format!("warnings {warned:?} instead of {:?}", ids("warns")));
    }
    if let Some(cause) = wanted["cause"].as_str() {
        let told = format!("{} {}", report["cause"], report["detail"]);
        let told_by_checks = report["checks"].to_string();
        if !told.contains(cause) && !told_by_checks.contains(cause) {
            wrong.push(format!("the cause {cause:?} is not named"));
        }
    }
    for set_aside in wanted["notTested"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !report["not_tested"].to_string().contains(set_aside) {
            wrong.push(format!("{set_aside:?} is not listed under not_tested"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let report = serde_json::to_string_pretty(&report).unwrap_or_default();
    Err(format!("{}\n{}\n{report}", wrong.join("; "), outcome.stderr()).into())
}
