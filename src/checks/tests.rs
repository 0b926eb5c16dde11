//! All checks together.

use std::time::Duration;

use super::finish;
use crate::checks::test_support::{failed, guest, line, result, status};
use crate::checks::{BootEnd, BootFailure, Observations, judge_boot_failure, settle_needed, verdict};
use crate::config::Settings;
use crate::guest::facts::{Facts, Job, JournalLine, Manager, Service, Unit};
use crate::judging::{Judgement, Selection, plan, text};
use crate::machine::RunDelay;
use crate::model::{Accel, Applies, CheckId, CheckKind, Exit, Status, Verdict};
use proptest::prelude::*;

#[test]
fn a_healthy_machine_passes_every_check() {
    let judgement = guest().passes();
    let expected: Vec<CheckId> = CheckId::BUILT_IN
        .iter()
        .copied()
        .filter(|id| !matches!(id.kind(), CheckKind::Build | CheckKind::Desktop | CheckKind::Audio))
        .filter(|id| !matches!(id, CheckId::ServicesHttp | CheckId::ServicesSites | CheckId::ServicesTimers))
        .filter(|id| id.row().applies != Applies::WithSwitch)
        .collect();
    assert_eq!(judgement.results.iter().map(|result| result.id).collect::<Vec<_>>(), expected);
    let not_passed: Vec<_> = judgement.results.iter().filter(|result| result.status != Status::Pass).collect();
    assert!(not_passed.len() == 1 && not_passed[0].id == CheckId::NetworkDns, "{not_passed:#?}");
    assert_eq!(verdict(&judgement.results).exit, Exit::Pass);
}

#[test]
fn what_could_not_be_read_never_passes() {
    let needs = [
        (
            "units",
            vec![
                CheckId::BootTarget,
                CheckId::BootEmergency,
                CheckId::ServicesFailedUnits,
                CheckId::ServicesPromised,
                CheckId::ServicesSettled,
                CheckId::ServicesRestartLoop,
            ],
        ),
        ("journal", vec![CheckId::BootOom, CheckId::BootActivation, CheckId::BootTmpfiles, CheckId::ServicesJournal]),
        ("listeners", vec![CheckId::ServicesPorts, CheckId::NetworkPorts]),
        ("network", vec![CheckId::NetworkAddress, CheckId::NetworkRoute, CheckId::NetworkDns]),
        ("accounts", vec![CheckId::UsersLogin, CheckId::UsersDeclared]),
        ("groups", vec![CheckId::UsersDeclared]),
        ("taint", vec![CheckId::BootTaint]),
        ("etc-links", vec![CheckId::BootEtc]),
    ];
    for (gap, ids) in needs {
        let judgement = guest()
            .facts(|facts| {
                facts.gaps.insert(gap.into(), "the shell broke".into());
                match gap {
                    "units" => facts.units.clear(),
                    "listeners" => facts.listeners.clear(),
                    "groups" => facts.groups.clear(),
                    "taint" => facts.taint = None,
                    _ => {}
                }
            })
            .judge();
        for id in ids {
            assert_eq!(status(&judgement, id), Status::Unknown, "{gap} {id}");
        }
        let outcome = verdict(&judgement.results);
        assert_eq!(outcome.exit, if gap == "taint" { Exit::Pass } else { Exit::Unknown }, "{gap} {outcome:?}");
    }
    // A failed unit without a journal: nobody knows whose fault it is.
    let judgement = guest()
        .unit(failed("x.service", 1))
        .facts(|facts| {
            facts.gaps.insert("journal".into(), "the shell broke".into());
        })
        .judge();
    assert_eq!(status(&judgement, CheckId::ServicesFailedUnits), Status::Unknown);
    assert!(result(&judgement, CheckId::ServicesFailedUnits).summary.contains("x.service failed"));
}

#[test]
fn accepted_failures_show_their_reason() {
    let two = || guest().unit(failed("a.service", 1)).unit(failed("b.service", 1));
    let whole = two().toml("[allow]\n\"services.failed-units\" = \"known\"").passes();
    assert_eq!(result(&whole, CheckId::ServicesFailedUnits).allowed.as_deref(), Some("known"));
    assert_eq!(status(&whole, CheckId::ServicesFailedUnits), Status::Fail);
    assert_eq!(verdict(&whole.results).exit, Exit::Pass);
    let one = two().toml("[allow]\n\"services.failed-units:a.service\" = \"known\"");
    let judgement = one.breaks(CheckId::ServicesFailedUnits, "b.service failed: exit code 1");
    let detail = &result(&judgement, CheckId::ServicesFailedUnits).detail;
    assert!(detail.contains(&"allowed to fail: a.service: known".to_owned()), "{detail:?}");
    two()
        .toml("[allow]\n\"services.failed-units:a.service\" = \"x\"\n\"services.failed-units:b.service\" = \"y\"")
        .passes();
}

#[test]
fn what_the_guest_writes_is_harmless() {
    let wild = "\u{1b}[2J\u{202e}".repeat(200) + &"x".repeat(2000);
    let judgement = guest()
        .unit(Unit { name: format!("{wild}.service"), ..failed("x.service", 1) })
        .facts(|facts| {
            for _ in 0..50 {
                facts.journal.push(JournalLine { priority: 3, ..line(&format!("{wild}.service"), &wild) });
            }
        })
        .judge();
    assert_harmless(&judgement);
}

fn assert_harmless(judgement: &Judgement) {
    let fine = |text: &str| text.chars().count() <= text::LINE && !text.chars().any(char::is_control);
    for result in &judgement.results {
        assert!(fine(&result.summary), "{}", result.summary);
        assert!(result.detail.len() <= text::LINES);
        assert!(result.detail.iter().all(|line| fine(line)));
    }
    assert!(judgement.not_tested.iter().all(|entry| fine(&entry.what) && fine(&entry.why)));
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "a.service", "b.service", "c.mount", "multi-user.target", "emergency.target", "local-fs.target",
            "active", "inactive", "failed", "activating", "loaded", "masked", "not-found", "bad-setting",
            "auto-restart", "running", "dead", "success", "exit-code", "oom-kill", "dev-sda.device", "logrotate.timer",
            "nftables.service", "systemd-tmpfiles-setup.service", "NetworkManager-wait-online.service", "",
        ]).prop_map(str::to_owned),
        1 => ".{0,12}",
    ]
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(word(), 0..3)
}

fn unit() -> impl Strategy<Value = Unit> {
    let service = prop::option::of((word(), any::<u32>(), -1..5i32, any::<i32>(), word()).prop_map(
        |(kind, restarts, exit_kind, exit_status, exec_start)| Service {
            kind: kind.into(),
            restarts,
            exit_kind,
            exit_status,
            exec_start,
            ..Service::default()
        },
    ));
    let times = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>());
    let lists = (words(), words(), words(), words());
    ((word(), word(), word(), word(), word()), times, lists, service).prop_map(
        |((name, load_state, active_state, sub_state, result), times, lists, service)| Unit {
            name,
            load_state: load_state.into(),
            active_state: active_state.into(),
            sub_state: sub_state.into(),
            result: result.into(),
            active_enter_us: times.0,
            active_exit_us: times.1,
            inactive_enter_us: times.2,
            state_change_us: times.3,
            condition_us: times.4,
            condition_result: times.5,
            failed_conditions: lists.0,
            triggered_by: lists.1,
            wanted_by: lists.2,
            broken_requirements: lists.3,
            service,
            ..Unit::default()
        },
    )
}

fn facts() -> impl Strategy<Value = Facts> {
    let journal =
        (word(), ".{0,60}", any::<u8>(), word(), 0..3u32).prop_map(|(unit, message, priority, identifier, pid)| {
            JournalLine { unit, message, priority, identifier, pid, ..JournalLine::default() }
        });
    let job = (word(), word(), prop::option::of(any::<u64>())).prop_map(|(unit, state, seconds)| Job {
        unit,
        state: state.into(),
        seconds,
        kind: "start".into(),
    });
    let gaps = prop::collection::btree_map(
        prop::sample::select(vec!["units", "journal", "network", "accounts", "listeners"]).prop_map(str::to_owned),
        word(),
        0..2,
    );
    (
        prop::collection::vec(unit(), 0..8),
        prop::collection::vec(journal, 0..8),
        prop::collection::vec(job, 0..3),
        (any::<u64>(), any::<u64>(), prop::option::of(any::<u64>())),
        gaps,
        word(),
    )
        .prop_map(|(units, journal, jobs, (now_us, finish_us, taint), gaps, default_target)| Facts {
            units,
            journal,
            jobs,
            now_us,
            taint,
            gaps,
            manager: Manager { default_target, finish_us, ..Manager::default() },
            ..Facts::default()
        })
}

proptest! {
    #[test]
    fn judging_never_panics(first in facts(), later in prop::option::of(facts()), console in words(), known in any::<bool>()) {
        let mut guest = guest().toml("timers = [\"logrotate\"]\nunits = [\"a\"]\n[checks]\nboot-time = \"1s\"");
        guest.expectations.known = known;
        guest.expectations.firewall = Some(known);
        guest.observations = Observations { first: first.clone(), later, console: console.clone(), desktop: None, traffic: None, lingering: Vec::new(), sound: None };
        let judgement = guest.judge();
        assert_harmless(&judgement);
        let _outcome = verdict(&judgement.results);
        let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
        let _wait = settle_needed(&plan, &first, Duration::MAX);
        let evidence = BootFailure {
            idle_s: None,
            end: if known { BootEnd::Deadline } else { BootEnd::Reset },
            console_tail: console,
            status: None,
            facts: Some(first),
            seconds: 60.0,
            accelerator: Accel::Tcg,
            delay: RunDelay::default(),
            traffic: None,
        };
        assert_harmless(&judge_boot_failure(&plan, &evidence));
    }
}

#[test]
fn a_planned_check_that_no_judge_answers_is_unknown() {
    let guest = guest();
    let plan = plan(&guest.expectations, &Settings::default(), &Selection::default());
    // One judge taken out, and all of them.
    let mut judgement = guest.judge();
    judgement.results.retain(|result| result.id != CheckId::UsersLogin);
    for (judgement, missing) in [(judgement, vec![CheckId::UsersLogin]), (Judgement::default(), plan.checks.clone())] {
        let finished = finish(&plan, judgement);
        assert_eq!(finished.results.iter().map(|result| result.id).collect::<Vec<_>>(), plan.checks);
        for id in missing {
            let result = result(&finished, id);
            assert_eq!(result.status, Status::Unknown);
            assert!(result.summary.starts_with(&format!("{id} was planned, but nothing judged it")), "{result:?}");
        }
        let outcome = verdict(&finished.results);
        assert_eq!((outcome.verdict, outcome.exit), (Verdict::Unknown, Exit::Unknown));
    }
}
