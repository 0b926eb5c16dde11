use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::report::{examples, json};

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_464_845 + second)
}

fn git_checkout() -> tempfile::TempDir {
    let checkout = tempfile::tempdir().unwrap();
    fs::create_dir(checkout.path().join(".git")).unwrap();
    checkout
}

fn names(root: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(root).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn runs(root: &Path) -> Vec<String> {
    names(root).into_iter().filter(|name| is_ours_by_name(name)).collect()
}

#[test]
fn a_run_lies_beside_the_flake_and_dirties_no_tree() {
    let flake = git_checkout();
    let state = tempfile::tempdir().unwrap();
    let opened = Artifacts::open(None, Some(flake.path()), Some(state.path()), ".#laptop", at(0)).unwrap();
    let artifacts = opened.artifacts.unwrap();
    let directory = artifacts.path().to_owned();
    assert_eq!(directory, flake.path().join(format!(".nixbox/2026-11-23T20-14-05-laptop-{}", std::process::id())));
    artifacts.keep(artifact::CONSOLE, b"hello\n").unwrap();
    let mut report = examples::pass();
    artifacts.finish(&mut report, json::render);
    assert_eq!(report.artifacts.as_deref(), Some(directory.as_path()));
    let root = flake.path().join(".nixbox");
    assert_eq!(fs::read_to_string(root.join(".gitignore")).unwrap(), "*\n");
    let written = fs::read_to_string(root.join("latest/report.json")).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&written).unwrap(), report);
    assert_eq!(names(&directory), [LOCK, artifact::CONSOLE, artifact::REPORT].map(str::to_owned).into());
    assert_eq!(names(&root).len(), 3, "nothing half-made is left: {:?}", names(&root));
    assert!(names(state.path()).is_empty());
}

#[test]
fn outside_of_git_or_where_the_flake_cannot_be_written_to_the_state_directory_serves() {
    let plain = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let opened = Artifacts::open(None, Some(plain.path()), Some(state.path()), "x", at(0)).unwrap();
    assert!(opened.artifacts.unwrap().path().starts_with(state.path().join("runs")));
    assert!(names(plain.path()).is_empty());

    // A file where the directory would be: refuses root as well, which a mode would not.
    let blocked = git_checkout();
    fs::write(blocked.path().join(ARTIFACTS_DIR), "").unwrap();
    let opened = Artifacts::open(None, Some(blocked.path()), Some(state.path()), "x", at(1)).unwrap();
    assert!(opened.artifacts.unwrap().path().starts_with(state.path()));
    assert!(opened.notes.is_empty());

    let opened = Artifacts::open(None, Some(blocked.path()), None, "x", at(2)).unwrap();
    assert!(opened.artifacts.is_none());
    assert!(opened.notes[0].starts_with("no artifacts are kept: "), "{:?}", opened.notes);
}

#[test]
fn a_directory_that_the_user_named_is_used_or_refused() {
    let base = tempfile::tempdir().unwrap();
    let named = base.path().join("a/b");
    let opened = Artifacts::open(Some(&named), None, None, "x", at(0)).unwrap();
    assert!(opened.artifacts.unwrap().path().starts_with(&named));
    let file = base.path().join("file");
    fs::write(&file, "").unwrap();
    let failure = Artifacts::open(Some(&file.join("x")), None, None, "x", at(0)).unwrap_err();
    assert_eq!(failure.exit, crate::model::Exit::Usage);
}

#[test]
fn links_in_a_repository_are_not_written_through() {
    let elsewhere = tempfile::tempdir().unwrap();
    let flake = git_checkout();
    symlink(elsewhere.path(), flake.path().join(ARTIFACTS_DIR)).unwrap();
    let opened = Artifacts::open(None, Some(flake.path()), None, "x", at(0)).unwrap();
    assert!(opened.artifacts.is_none());
    assert!(names(elsewhere.path()).is_empty());

    let flake = git_checkout();
    let root = flake.path().join(ARTIFACTS_DIR);
    fs::create_dir(&root).unwrap();
    let (ignore, latest) = (elsewhere.path().join("ignore"), elsewhere.path().join("latest"));
    symlink(&ignore, root.join(".gitignore")).unwrap();
    fs::create_dir(&latest).unwrap();
    symlink(&latest, root.join(LATEST)).unwrap();
    let artifacts = Artifacts::open(None, Some(flake.path()), None, "x", at(0)).unwrap().artifacts.unwrap();
    symlink(&ignore, artifacts.file(artifact::REPORT)).unwrap();
    artifacts.finish(&mut examples::pass(), json::render);
    assert!(!ignore.exists());
    assert!(names(&latest).is_empty());
}

#[test]
fn only_old_runs_of_ours_that_have_ended_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let open = |second| Artifacts::open(Some(root.path()), None, None, "x", at(second)).unwrap().artifacts.unwrap();
    let running = open(0);
    let running_name = running.path().file_name().unwrap().to_string_lossy().into_owned();
    // A name like ours, without our mark; our mark, without such a name; a link to a run elsewhere.
    let stranger = "2020-01-01T00-00-00-stranger-1";
    fs::create_dir(root.path().join(stranger)).unwrap();
    fs::create_dir(root.path().join("notes")).unwrap();
    fs::write(root.path().join("notes").join(LOCK), "").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join(LOCK), "").unwrap();
    symlink(elsewhere.path(), root.path().join("2020-01-01T00-00-00-link-1")).unwrap();
    // Killed: no report, no lock held.
    drop(open(1));
    for second in 2..14 {
        open(second).finish(&mut examples::pass(), json::render);
    }
    let left = runs(root.path());
    assert_eq!(left.len(), ARTIFACTS_KEPT + 3, "{left:?}");
    assert!(left.contains(&running_name) && left.contains(&stranger.to_owned()));
    assert!(!left.iter().any(|name| name.contains("20-14-06")), "the killed one went first: {left:?}");
    assert!(root.path().join("notes").exists() && elsewhere.path().join(LOCK).exists());
    drop(running);
}

#[test]
fn runs_at_once_do_not_disturb_each_other() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..10 {
            let root = root.path();
            scope.spawn(move || {
                for round in 0..5 {
                    // All in the same second, of the same process: the names collide on purpose.
                    let opened = Artifacts::open(Some(root), None, None, "x", at(0)).unwrap();
                    let artifacts = opened.artifacts.unwrap();
                    let own = format!("{number} {round}");
                    artifacts.keep(artifact::CONSOLE, own.as_bytes()).unwrap();
                    let directory = artifacts.path().to_owned();
                    assert_eq!(fs::read_to_string(artifacts.file(artifact::CONSOLE)).unwrap(), own);
                    let mut report = examples::pass();
                    artifacts.finish(&mut report, json::render);
                    assert_eq!(report.artifacts, Some(directory));
                    assert_eq!(report.notes, examples::pass().notes);
                }
            });
        }
    });
    let left = runs(root.path());
    assert!((1..=ARTIFACTS_KEPT + 10).contains(&left.len()), "{left:?}");
    let latest = fs::read_link(root.path().join(LATEST)).unwrap();
    assert!(is_ours_by_name(&latest.to_string_lossy()));
    assert!(names(root.path()).iter().all(|name| !name.starts_with(NEW)));
}

#[test]
fn a_run_that_is_killed_gives_its_lock_up() {
    let root = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(Some(root.path()), None, None, "x", at(0)).unwrap().artifacts.unwrap();
    assert!(lock_of_ended(artifacts.path()).is_none());
    // What we start does not inherit it.
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let directory = artifacts.path().to_owned();
    drop(artifacts);
    // Another test's child may hold a copy between its fork and its exec; waits for that, and no longer.
    let (free, freed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        File::open(directory.join(LOCK)).unwrap().lock().unwrap();
        free.send(()).unwrap();
    });
    freed.recv_timeout(Duration::from_secs(20)).expect("freed while the child still runs");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_machines_of_a_run_have_directories_in_its_own() {
    let root = tempfile::tempdir().unwrap();
    let run = Artifacts::open(Some(root.path()), None, None, "matrix", at(0)).unwrap().artifacts.unwrap();
    let directory = run.path().to_owned();
    for number in 0..ARTIFACTS_KEPT + 5 {
        let machine = Artifacts::of_machine(run.path(), &format!("host{number}"), 100).unwrap();
        machine.keep(artifact::CONSOLE, &vec![b'x'; 4 << 20]).unwrap();
        machine.finish(&mut examples::pass(), json::render);
    }
    let again = Artifacts::of_machine(run.path(), "host1", 100).unwrap();
    assert_eq!(again.path(), directory.join("host1-2"));
    again.finish(&mut examples::fail(), json::render);
    run.close("matrix.json", "{}").unwrap();
    assert_eq!(names(&directory).len(), ARTIFACTS_KEPT + 5 + 3, "{:?}", names(&directory));
    assert!(directory.join("host1/report.json").exists() && root.path().join("latest/matrix.json").exists());
    assert!(fs::metadata(directory.join("host1").join(artifact::CONSOLE)).unwrap().len() < 2 << 20);
}

#[test]
fn what_is_too_much_loses_its_middle() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("small.txt"), "small").unwrap();
    let long = |letter: &str| format!("head{}tail", letter.repeat(100_000));
    fs::write(path("console.log"), long("c")).unwrap();
    fs::write(path("journal.txt"), long("j")).unwrap();
    fs::write(path("screen.png"), long("p")).unwrap();
    bound(directory.path(), 30_000).unwrap();
    assert_eq!(fs::read_to_string(path("small.txt")).unwrap(), "small");
    assert!(!path("screen.png").exists());
    for name in ["console.log", "journal.txt"] {
        let text = fs::read_to_string(path(name)).unwrap();
        assert!(text.len() <= 10_000 && text.len() > 9_000, "{}", text.len());
        assert!(text.starts_with("head") && text.ends_with("tail"));
        let marked: u64 = text.split("[nixbox: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(text.len() as u64 - mark(marked).len() as u64 + marked, 100_008);
    }
    let before = names(directory.path());
    bound(directory.path(), 30_000).unwrap();
    assert_eq!(names(directory.path()), before);
}

#[test]
fn caps_are_fair() {
    assert_eq!(fair_cap(vec![], 10), u64::MAX);
    assert_eq!(fair_cap(vec![5, 5], 10), u64::MAX);
    assert_eq!(fair_cap(vec![2, 9, 9], 10), 4);
    assert_eq!(fair_cap(vec![100], 10), 10);
}

#[test]
fn names_of_targets_become_harmless() {
    assert_eq!(harmless(".#laptop"), "laptop");
    assert_eq!(harmless("github:me/dots#nixosConfigurations.a.config.system.build.vm").len(), 40);
    assert_eq!(harmless("/nix/store/x-vm/"), "x-vm");
    assert_eq!(harmless(".#a b/../\n\x1bü"), "here");
    assert_eq!(harmless(".."), "here");
    assert_eq!(harmless(""), "here");
    assert!(is_ours_by_name("2026-11-23T20-14-05-laptop-812"));
    assert!(is_ours_by_name("2026-11-23T20-14-05-my-laptop-812-2"));
    for other in ["2026-11-23T20-14-05-laptop", "2026-11-23-laptop-812", "latest", "", "2026-11-23T20-14-05-"] {
        assert!(!is_ours_by_name(other), "{other}");
    }
}
