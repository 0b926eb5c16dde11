//! Target and build against the real nix on `PATH`: small flakes in a temporary directory.
//!
//! Without nix each test says so and passes. `NIXBOX_TEST_NIX=DIRECTORY` names the programs of another nix, so that
//! old versions can be tested too.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what went wrong by failing, and why it was skipped"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nixbox::event::{Event, Events};
use nixbox::failure::{Failure, Result};
use nixbox::model::{CheckId, Exit};
use nixbox::nix::{self, Built, ConfigurationFilter, Evaluated, Nix, NixFlags, Target};
use nixbox::resolve;

/// What every flake here is made of: a runner in one file, made by a shell.
const COMMON: &str = r#"
    system = builtins.elemAt [ "SYSTEM" ] 0;
    make = name: script: derivation { inherit name system; builder = "/bin/sh"; args = [ "-c" script ]; PATH = "/bin:/usr/bin"; };
    vm = make "nixos-vm" "mkdir -p $out/bin; echo exit > $out/bin/run-nixos-vm; exit 0";
    toplevel = make "nixos-system" "echo > $out; exit 0";
    fail = make "fail" "i=0; while [ $i -lt 30 ]; do i=$((i + 1)); echo line $i; done; echo fatal: cannot do >&2; exit 3";
    needs = dependency: derivation { name = "needs"; inherit system dependency; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; };
    machine = build: { config.system.build = { inherit vm toplevel; } // build; };
"#;

struct Flake {
    top: tempfile::TempDir,
    dir: PathBuf,
    run: PathBuf,
    is_git: bool,
}

struct Outcome {
    result: Result<(Target, Evaluated, Result<Built>)>,
    notes: Vec<String>,
    doing: Vec<String>,
    log: Vec<String>,
}

impl Outcome {
    /// How often nix evaluated a machine: names alone are asked for by a short expression, which the log shows.
    fn evaluations(&self) -> usize {
        runs(&self.log, "(…)")
    }

    fn failure(self) -> Failure {
        match self.result {
            Err(failure) | Ok((_, _, Err(failure))) => {
                // For whoever reads `--nocapture`: this is what a user would see.
                eprintln!("---\n{failure}");
                failure
            }
            Ok((target, _, Ok(_))) => panic!("{} was built", target.name()),
        }
    }

    fn built(self) -> (Target, Built) {
        match self.result {
            Ok((target, _, Ok(built))) => (target, built),
            Err(failure) | Ok((_, _, Err(failure))) => panic!("{failure}"),
        }
    }
}

fn nix_directory() -> Option<PathBuf> {
    std::env::var_os("NIXBOX_TEST_NIX").map(PathBuf::from)
}

/// Whether there is a nix to test with; says so if not.
fn has_nix() -> bool {
    let program = nix_directory().map_or_else(|| PathBuf::from("nix"), |directory| directory.join("nix"));
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: no nix on PATH");
    }
    found
}

fn nix(flags: &[&str]) -> Nix {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        nix: NixFlags,
    }
    use clap::Parser as _;
    // The builders use this host's shell; nothing is to be fetched.
    let usual = ["x", "--option", "sandbox", "false", "--option", "substituters", "", "--option", "builders", ""];
    let nix = Nix::new(Cli::try_parse_from([&usual, flags].concat()).unwrap().nix);
    match nix_directory() {
        Some(directory) => nix.in_directory(directory),
        None => nix,
    }
}

impl Flake {
    /// A flake in a directory of this name, in git or not. `outputs` is what stands behind `in`.
    fn new(name: &str, is_git: bool, outputs: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().canonicalize().unwrap().join(name);
        let run = top.path().join("run");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir(&run).unwrap();
        let flake = Self { top, dir, run, is_git };
        flake.write("flake.nix", &flake_nix(outputs));
        if is_git {
            flake.git(&["init", "-q"]);
            flake.git(&["add", "--all"]);
            flake.git(&["commit", "-qm", "test"]);
        }
        flake
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, args: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=master"])
            .args(args)
            .current_dir(&self.dir)
            .status();
        assert!(status.unwrap().success());
    }

    /// Everything that is in the flake's directory now.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    async fn run(&self, attribute: &str) -> Outcome {
        let separator = if attribute.is_empty() { "" } else { "#" };
        self.run_named(&format!("{}{separator}{attribute}", self.dir.display()), &nix(&[])).await
    }

    async fn run_named(&self, named: &str, nix: &Nix) -> Outcome {
        let before = self.files();
        let nix = nix.clone().log_to(self.run.join("nix.log"));
        let (events, mut receiver) = Events::channel();
        let result = async {
            let target = resolve::resolve(Some(named), &nix, &events).await?;
            let evaluated = nix::evaluate(&target, &nix, false, &events).await?;
            let built = nix::build(&target, evaluated.clone(), &nix, &self.run, &events).await;
            Ok((target, evaluated, built))
        }
        .await;
        drop(events);
        let (mut notes, mut doing) = (Vec::new(), Vec::new());
        while let Ok(event) = receiver.try_recv() {
            match event {
                Event::Note(text) => notes.push(text),
                Event::Doing(text) => doing.push(text),
                _ => {}
            }
        }
        assert_eq!(self.files(), before, "nothing is written into the user's tree");
        let log = fs::read_to_string(self.run.join("nix.log")).unwrap_or_default();
        Outcome { result, notes, doing, log: log.lines().map(str::to_owned).collect() }
    }
}

fn flake_nix(outputs: &str) -> String {
    let system = nix(&[]).system();
    format!("{{ outputs = {{ self }}: let {} in {outputs}; }}\n", COMMON.replace("SYSTEM", &system))
}

#[tokio::test]
async fn a_machine_is_built_with_its_toplevel() {
    if !has_nix() {
        return;
    }
    for (name, is_git) in [("plain", true), ("plain", false), ("a b#c%d?e ü", true), ("a b#c%d?e ü", false)] {
        let flake = Flake::new(name, is_git, r#"{ nixosConfigurations.demo = machine { }; }"#);
        let outcome = flake.run("demo").await;
        if let Err(failure) = &outcome.result
            && failure.what.starts_with("this nix cannot read")
        {
            // 2.8, and it must not come to a verdict.
            assert!(is_git && failure.exit == Exit::Unknown, "{failure}");
            eprintln!("skipped: {}", failure.what);
            continue;
        }
        let doing = outcome.doing.clone();
        let (target, built) = outcome.built();
        assert_eq!(target.dir(), Some(flake.dir.as_path()));
        assert_eq!(target.host(), Some("demo"));
        assert!(built.runner.ends_with("bin/run-nixos-vm"), "{built:?}");
        assert!(built.store.physical(&built.runner).is_file());
        assert!(built.store.physical(built.toplevel.as_ref().unwrap()).exists());
        assert!(flake.run.join("gc-runner").symlink_metadata().is_ok(), "held by a root");
        assert!(flake.run.join("gc-runner-2").symlink_metadata().is_ok(), "held by a root");
        assert!(doing.iter().any(|text| text.contains("demo")), "{doing:?}");
    }
}

#[tokio::test]
async fn no_name_is_the_only_one() {
    if !has_nix() {
        return;
    }
    let flake = Flake::new("x", true, "{ nixosConfigurations.demo = machine { }; }");
    assert_eq!(flake.run("").await.built().0.host(), Some("demo"));
    let flake = Flake::new("x", true, "{ packages.${system} = { inherit vm; }; }");
    let (target, built) = flake.run("").await.built();
    assert!(matches!(target, Target::Attribute { .. }));
    assert_eq!(built.toplevel, None);
    assert!(!built.expectations.known);
    let flake = Flake::new("x", true, "{ nixosConfigurations = { nearby = { }; other = { }; }; }");
    let failure = flake.run("").await.failure();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.hint.unwrap().contains("nearby"));
}

#[tokio::test]
async fn all_ways_to_name_it() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{
        nixosConfigurations.demo = { config = {
            system.build = { inherit vm toplevel; vmWithBootLoader = vm; };
            specialisation.nixos.configuration = { system.build = { inherit vm toplevel; }; };
            specialisation.other.configuration.config = { system.build = { inherit vm; }; };
            specialisation."7.1".configuration = { system.build = { inherit vm toplevel; }; };
        }; };
        nixosConfigurations.plain = machine { };
        packages.${system} = { default = vm; runner = vm; };
        vms.deep = machine { };
        wrong = toplevel;
    }"#;
    let flake = Flake::new("x", true, outputs);
    let system = nix(&[]).system();
    for attribute in [
        "demo",
        "demo@nixos",
        "demo@other",
        "demo@7.1",
        "runner",
        "vms.deep",
        "nixosConfigurations.demo",
        "nixosConfigurations.demo.config.system.build.vm",
        "nixosConfigurations.demo.config.system.build.vmWithBootLoader",
        "nixosConfigurations.demo.config.specialisation.other.configuration.config.system.build.vm",
        &format!("packages.{system}.runner"),
    ] {
        let (target, built) = flake.run(attribute).await.built();
        assert!(built.runner.ends_with("bin/run-nixos-vm"), "{attribute}");
        assert!(target.resolved().contains('#'), "{attribute}");
        // The result of building is a target too.
        let path = built.store.physical(built.runner_store_path.as_ref().unwrap());
        let (again, held) = flake.run_named(&path.display().to_string(), &nix(&[])).await.built();
        assert_eq!(again, Target::Runner { script: built.runner.clone() });
        assert_eq!(held.runner_store_path, built.runner_store_path);
        assert_eq!(again.name(), "nixos");
    }
    for (attribute, hint) in [
        ("dmeo", "there are: demo, "),
        ("demo@nixso", "there are: demo@nixos, demo@"),
        ("plain@nixos", "there are none"),
        ("plain@", "there are none"),
        ("nixosConfigurations.dmeo", "there are: demo"),
        ("vms.shallow", "there are: "),
        (&format!("packages.{system}.runnre"), "there are: runner, "),
        ("nixosConfigurations.demo.config.system.build.nope", "there are: "),
        ("nixosConfigurations.demo.config.system.build.vmWithDisko", "import disko's module"),
    ] {
        let failure = flake.run(attribute).await.failure();
        assert_eq!(
            (failure.exit, failure.check),
            (Exit::Build, Some(CheckId::BuildAttribute)),
            "{attribute}: {failure}"
        );
        assert!(failure.hint.as_deref().unwrap_or_default().starts_with(hint), "{attribute}: {failure}");
    }
    // Asked for, and not which.
    let failure = flake.run("demo@").await.failure();
    assert_eq!(failure.exit, Exit::Usage);
    assert_eq!(failure.hint.as_deref(), Some("there are: demo@7.1, demo@nixos, demo@other"));
    // It builds, and is no VM. (`wrong` is no package: a name of one part is not looked for elsewhere.)
    let other = Flake::new("x", true, "{ packages.${system} = { wrong = toplevel; }; }");
    let failure = other.run("wrong").await.failure();
    assert_eq!(failure.check, Some(CheckId::BuildAttribute));
}

#[tokio::test]
async fn what_a_specialisation_is_switched_to_by() {
    if !has_nix() {
        return;
    }
    // NixOS's system builder links the systems of all specialisations into the host's own (`$out/specialisation`).
    let outputs = r#"{ nixosConfigurations = {
        demo.config = {
            system.build = { inherit vm; toplevel = needs vm; };
            specialisation.night.configuration = {
                system.build = { vm = make "night-vm" "mkdir -p $out/bin; echo exit > $out/bin/run-night-vm; exit 0"; inherit toplevel; };
                networking.hostName = "night";
            };
        };
        broken.config = {
            system.build = { inherit vm; toplevel = needs fail; };
            specialisation.night.configuration.system.build = { inherit vm toplevel; };
        };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    let (target, built) = flake.run("demo@night").await.built();
    assert!(built.runner.ends_with("bin/run-night-vm"), "its own machine");
    assert_eq!(built.expectations.host_name.as_deref(), Some("night"), "its own expectations");
    assert_eq!((target.host(), target.name().as_str()), (Some("demo"), "demo@night"));
    let (_, host) = flake.run("demo").await.built();
    assert_eq!(built.toplevel, host.toplevel, "the host's own system");
    assert!(built.toplevel.is_some() && host.runner.ends_with("bin/run-nixos-vm"));
    let apply = nix::apply_command(&target, &nix(&[])).await.unwrap();
    assert!(apply.contains("#demo") && apply.contains(" --specialisation night"), "{apply}");
    assert_eq!(flake.run("broken@night").await.failure().check, Some(CheckId::BuildToplevel));
    // By name, as a flake with settings of its own is built.
    let text = flake_nix(outputs);
    flake.write("flake.nix", &text.replacen('{', "{ nixConfig.extra-trusted-public-keys = \"a:b\";", 1));
    let named = format!("{}#demo@night", flake.dir.display());
    let (_, built) = flake.run_named(&named, &nix(&["--accept-flake-config"])).await.built();
    assert_eq!(built.toplevel, host.toplevel);
}

/// Evaluates and builds all configurations of a flake; how each ended, and what nix was asked for.
async fn many(
    flake: &Flake,
    globs: &[&str],
    shard: &str,
    flags: &[&str],
) -> (Vec<(String, Result<Built>)>, Vec<String>) {
    let nix = nix(flags).log_to(flake.run.join("nix.log"));
    let globs = globs.iter().map(|&glob| glob.to_owned()).collect();
    let filter = ConfigurationFilter { globs, shard: shard.parse().unwrap() };
    let whole = resolve::flake(flake.dir.to_str(), &nix).unwrap();
    let events = Events::silent();
    let answers = nix::evaluate_many(&whole, &filter, &nix, false, &events).await.unwrap();
    // The names alone are chosen in the same way.
    let named = nix::names(&whole, &filter, true, &nix, &events).await.unwrap();
    assert!(answers.members.iter().map(|(name, _)| name).eq(named.members.iter().map(|named| &named.name)));
    assert_eq!((answers.total, answers.hosts), (named.total, named.hosts));
    let (mut ended, mut good) = (Vec::new(), Vec::new());
    for (name, evaluated) in answers.members {
        match evaluated {
            Ok(evaluated) => good.push((Target::of(&whole, &name), evaluated)),
            Err(failure) => ended.push((name.to_string(), Err(failure))),
        }
    }
    let names: Vec<String> = good.iter().map(|(target, _)| target.name()).collect();
    let built = nix::build_many(good, &nix, &flake.run, &events).await.unwrap();
    ended.extend(names.into_iter().zip(built));
    ended.sort_by(|one, other| one.0.cmp(&other.0));
    let log = fs::read_to_string(flake.run.join("nix.log")).unwrap();
    (ended, log.lines().map(str::to_owned).collect())
}

/// How each ended: the id of the check that failed, or nothing.
fn checks(ended: &[(String, Result<Built>)]) -> Vec<(&str, Option<CheckId>)> {
    ended.iter().map(|(name, built)| (name.as_str(), built.as_ref().err().and_then(|failure| failure.check))).collect()
}

/// How often a program was run with this word.
fn runs(log: &[String], word: &str) -> usize {
    log.iter().filter(|line| line.starts_with("$ nix") && line.contains(word)).count()
}

#[tokio::test]
async fn many_hosts_are_evaluated_by_one_nix_and_built_by_one() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations = {
        web = machine { };
        "web.example" = machine { toplevel = needs vm; };
        laptop.config = {
            system.build = { inherit vm; toplevel = needs toplevel; };
            nixpkgs.hostPlatform.system = "x86_64-linux";
            specialisation."7.1".configuration.system.build = { vm = make "night-vm" "mkdir -p $out/bin; echo > $out/bin/run-night-vm; exit 0"; };
            specialisation.night.configuration = { system.build = { inherit vm; }; networking.hostName = "night"; };
        };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    let (ended, log) = many(&flake, &[], "1/1", &[]).await;
    let names = ["laptop", "laptop@7.1", "laptop@night", "web", "web.example"];
    assert_eq!(checks(&ended), names.map(|name| (name, None)));
    // One more for the names, which the matrix does not ask for.
    assert_eq!((runs(&log, " eval "), runs(&log, "--realise")), (2, 1), "{log:#?}");
    for (name, built) in &ended {
        let built = built.as_ref().unwrap();
        assert!(built.store.physical(&built.runner).is_file(), "{name}: {built:?}");
        assert!(built.store.physical(built.toplevel.as_ref().unwrap()).exists(), "{name}: {built:?}");
    }
    let (night, host) = (ended[2].1.as_ref().unwrap(), ended[0].1.as_ref().unwrap());
    assert_eq!((night.expectations.host_name.as_deref(), &night.toplevel), (Some("night"), &host.toplevel));
    assert!(ended[1].1.as_ref().unwrap().runner.ends_with("bin/run-night-vm"));
    // Each of them is held.
    let roots: Vec<_> =
        fs::read_dir(&flake.run).unwrap().flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    for built in ended.iter().map(|(_, built)| built.as_ref().unwrap()) {
        assert!(
            roots.contains(built.runner_store_path.as_ref().unwrap())
                && roots.contains(built.toplevel.as_ref().unwrap()),
            "{roots:?}"
        );
    }

    // By pattern and by part, in nix as here.
    for (globs, shard, names) in [
        (&["laptop*"][..], "1/1", &["laptop", "laptop@7.1", "laptop@night"][..]),
        (&["*@*", "we?"], "1/1", &["laptop@7.1", "laptop@night", "web"]),
        (&["web.example"], "1/1", &["web.example"]),
        (&[], "1/2", &["laptop", "laptop@night", "web.example"]),
        (&[], "2/2", &["laptop@7.1", "web"]),
        (&["laptop*"], "3/3", &["laptop@night"]),
        (&["web"], "2/2", &[]),
        (&["nowhere(+)[^a]{2}$|\\"], "1/1", &[]),
    ] {
        let (ended, _) = many(&flake, globs, shard, &[]).await;
        let found: Vec<&str> = ended.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, names, "{globs:?} {shard}");
    }

    // By name, as a flake with settings of its own is built.
    let text = flake_nix(outputs);
    flake.write("flake.nix", &text.replacen('{', "{ nixConfig.extra-trusted-public-keys = \"a:b\";", 1));
    let (again, log) = many(&flake, &[], "1/1", &["--accept-flake-config"]).await;
    assert_eq!((runs(&log, " build "), runs(&log, "--realise")), (1, 0), "{log:#?}");
    for (one, other) in ended.iter().zip(&again) {
        assert_eq!((&one.0, one.1.as_ref().unwrap()), (&other.0, other.1.as_ref().unwrap()));
    }
}

#[tokio::test]
async fn one_broken_host_hides_no_other() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations = {
        good = machine { };
        alike = machine { toplevel = needs vm; };
        throws.config = throw "no such option";
        asserts = machine { toplevel = throw "\nFailed assertions:\n- no root"; };
        bare.config.system.build = { };
        unbuilt = machine { vm = needs (needs fail); };
        unbuilt-too = machine { vm = needs fail; };
        other = machine { toplevel = needs (make "otherfail" "echo not that; exit 4"); };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    let (ended, log) = many(&flake, &[], "1/1", &[]).await;
    let expected = [
        ("alike", None),
        ("asserts", Some(CheckId::BuildToplevel)),
        ("bare", Some(CheckId::BuildAttribute)),
        ("good", None),
        ("other", Some(CheckId::BuildToplevel)),
        ("throws", Some(CheckId::BuildEval)),
        ("unbuilt", Some(CheckId::BuildDerivation)),
        ("unbuilt-too", Some(CheckId::BuildDerivation)),
    ];
    assert_eq!(checks(&ended), expected);
    let why = |name: &str| {
        let (_, built) = ended.iter().find(|(known, _)| known == name).unwrap();
        built.as_ref().unwrap_err().to_string()
    };
    assert!(why("throws").contains("no such option") && why("asserts").contains("no root"));
    assert!(why("unbuilt").contains("fatal: cannot do") && why("unbuilt-too").contains("fatal: cannot do"));
    assert!(why("other").contains("not that") && !why("other").contains("fatal: cannot do"), "{}", why("other"));
    // What two of them need is built once, and all in two goes: the second holds what the first has built.
    assert_eq!(log.iter().filter(|line| line.contains("> fatal: cannot do")).count(), 1, "{log:#?}");
    assert_eq!(runs(&log, "--realise"), 2, "{log:#?}");
}

#[tokio::test]
async fn what_nix_cannot_catch_hides_no_other() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations = {
        good.config = {
            system.build = { inherit vm toplevel; };
            specialisation.night.configuration.system.build = { inherit vm; };
        };
        aborts.config = abort "on purpose";
        missing = machine { vm = { }.nosuch; };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    let (ended, _) = many(&flake, &[], "1/1", &[]).await;
    let eval = Some(CheckId::BuildEval);
    assert_eq!(checks(&ended), [("aborts", eval), ("good", None), ("good@night", None), ("missing", eval)]);
    let (ended, _) = many(&flake, &["*s*"], "2/2", &[]).await;
    assert_eq!(checks(&ended), [("missing", eval)]);

    // What holds for the whole flake is nobody's own.
    for (outputs, check) in [("abort \"all\"", CheckId::BuildEval), ("{ }", CheckId::BuildAttribute)] {
        let flake = Flake::new("x", true, outputs);
        let whole = resolve::flake(flake.dir.to_str(), &nix(&[])).unwrap();
        let failed =
            nix::evaluate_many(&whole, &ConfigurationFilter::default(), &nix(&[]), false, &Events::silent()).await;
        assert_eq!(failed.unwrap_err().check, Some(check), "{outputs}");
    }
}

#[tokio::test]
async fn a_plain_configuration() {
    if !has_nix() {
        return;
    }
    // A nixpkgs that is just enough: what stands behind <nixpkgs/nixos>.
    let system = nix(&[]).system();
    let flake = Flake::new("my etc", false, "{ }");
    fs::remove_file(flake.dir.join("flake.nix")).unwrap();
    flake.write("configuration.nix", "{ boots = true; }");
    let nixpkgs = flake.top.path().join("nixpkgs/nixos");
    fs::create_dir_all(&nixpkgs).unwrap();
    let expression = format!(
        "{{ configuration }}: let {} in {{ config = {{ system.build = {{ inherit toplevel; vm = if (import configuration).boots then vm else fail; }}; networking.hostName = \"plain\"; }}; }}",
        COMMON.replace("SYSTEM", &system)
    );
    fs::write(nixpkgs.join("default.nix"), expression).unwrap();
    let include = format!("nixpkgs={}", flake.top.path().join("nixpkgs").display());
    for named in [flake.dir.join("configuration.nix"), flake.dir.clone()] {
        let (target, built) = flake.run_named(&named.display().to_string(), &nix(&["-I", &include])).await.built();
        assert_eq!(target, Target::Configuration { file: flake.dir.join("configuration.nix") });
        assert_eq!(target.dir(), Some(flake.dir.as_path()));
        assert_eq!(built.expectations.host_name.as_deref(), Some("plain"));
        assert!(built.toplevel.is_some());
        assert_eq!(nix::apply_command(&target, &nix(&[])).await, None);
    }
    let named = flake.dir.join("configuration.nix").display().to_string();
    let failure = flake.run_named(&named, &nix(&["-I", "nixpkgs=/nowhere"])).await.failure();
    assert_eq!(failure.exit, Exit::Unknown, "{failure}");
    assert!(failure.hint.unwrap().contains("-I nixpkgs="));
}

#[tokio::test]
async fn a_flakes_own_settings() {
    if !has_nix() {
        return;
    }
    let flake = Flake::new("x", false, "{ }");
    let text = flake_nix("{ nixosConfigurations.demo = machine { toplevel = needs vm; }; }");
    flake.write("flake.nix", &text.replacen('{', "{ nixConfig.extra-trusted-public-keys = \"a:b\";", 1));
    let named = format!("{}#demo", flake.dir.display());
    // Not applied silently, and told.
    let outcome = flake.run_named(&named, &nix(&[])).await;
    assert!(outcome.notes.iter().any(|note| note.contains("--accept-flake-config")), "{:?}", outcome.notes);
    outcome.built();
    // Applied on request, when building too.
    let outcome = flake.run_named(&named, &nix(&["--accept-flake-config"])).await;
    assert!(outcome.notes.iter().all(|note| !note.contains("nixConfig")), "{:?}", outcome.notes);
    let (_, built) = outcome.built();
    assert!(built.runner.ends_with("bin/run-nixos-vm") && built.toplevel.is_some());
    assert!(fs::read_to_string(flake.run.join("nix.log")).unwrap().contains(" build --no-write-lock-file "));
}

#[tokio::test]
async fn what_does_not_evaluate() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations = {
        thrown = machine { vm = throw "boom: option does not exist"; };
        missing = machine { vm = { }.nosuch; };
        named = machine { vm = { }.timeout; };
        fetched = machine { vm = builtins.fetchTarball { url = "no url"; sha256 = builtins.hashString "sha256" ""; }; };
        typed = machine { vm = 1 + "x"; };
        infinite = machine { vm = let x = x; in x; };
    }; }"#;
    for is_git in [true, false] {
        let flake = Flake::new("x", is_git, outputs);
        for (attribute, words) in [
            ("thrown", "boom: option"),
            ("missing", "'nosuch' missing"),
            // Words that nix has for a host's trouble too.
            ("named", "'timeout' missing"),
            ("fetched", "no url"),
            ("typed", "cannot"),
            ("infinite", "infinite recursion"),
        ] {
            let failure = flake.run(attribute).await.failure();
            assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildEval)), "{failure}");
            assert!(failure.what.starts_with(&format!("{attribute}: ")) && failure.what.contains(words), "{failure}");
            let why = failure.why.unwrap();
            assert!(why.contains(words), "{attribute}: {why}");
            assert!(!why.contains('\u{1b}') && !why.contains("-source/"), "{why}");
            assert!(failure.log.unwrap().is_file());
            if attribute == "missing" {
                assert!(why.contains(&format!("at {}:", flake.dir.join("flake.nix").display())), "{why}");
            }
        }
    }
    let flake = Flake::new("x", true, "{ a = ; }");
    let failure = flake.run("a").await.failure();
    assert_eq!(failure.check, Some(CheckId::BuildEval));
    assert!(failure.what.contains("syntax error, unexpected") && failure.what.ends_with(')'), "{failure}");
    assert!(failure.why.unwrap().contains("syntax error"));
}

#[tokio::test]
async fn what_only_the_vm_variant_breaks() {
    if !has_nix() {
        return;
    }
    let outputs = r#"let assertion = "\nFailed assertions:\n- you need to have at least one btrfs file system"; in { nixosConfigurations = {
        variant = machine { vm = throw assertion; };
        conflict = machine { vm = throw "The option `services.timesyncd.enable' has conflicting definition values:"; };
        both = machine { vm = throw assertion; toplevel = throw assertion; };
        other = machine { vm = throw "boom"; };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    for (attribute, exit, words) in [
        (
            "variant",
            Exit::Unknown,
            "variant evaluates, but its VM variant does not: failed assertion: you need to have",
        ),
        ("conflict", Exit::Unknown, "conflict evaluates, but its VM variant does not: "),
        ("both", Exit::Build, "both: failed assertion: you need to have at least one btrfs file system"),
        ("other", Exit::Build, "other: boom"),
    ] {
        let outcome = flake.run(attribute).await;
        assert_eq!(outcome.evaluations(), if attribute == "other" { 1 } else { 2 }, "{attribute}");
        let failure = outcome.failure();
        assert_eq!((failure.exit, failure.check), (exit, Some(CheckId::BuildEval)), "{failure}");
        assert!(failure.what.starts_with(words), "{failure}");
        assert_eq!(
            failure.hint.unwrap_or_default().contains("virtualisation.vmVariant"),
            exit == Exit::Unknown,
            "{attribute}"
        );
    }
}

#[tokio::test]
async fn the_hosts_own_system_is_told_apart() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations = {
        asserts = machine { toplevel = throw "\nFailed assertions:\n- The fileSystems option does not specify your root file system."; };
        missing = machine { toplevel = { }.nosuch; };
        unbuilt = machine { toplevel = needs fail; };
        both = machine { toplevel = needs (make "otherfail" "exit 4"); vm = needs fail; };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    for (attribute, words) in
        [("asserts", "root file system"), ("missing", "'nosuch' missing"), ("unbuilt", "fatal: cannot do")]
    {
        let outcome = flake.run(attribute).await;
        assert_eq!(outcome.evaluations(), 1, "what fails is told at once");
        assert!(attribute == "unbuilt" || runs(&outcome.log, "--realise") == 0, "before the VM is built");
        let failure = outcome.failure();
        assert_eq!(failure.check, Some(CheckId::BuildToplevel), "{attribute}");
        assert!(failure.what.starts_with("system.build.toplevel: ") && failure.what.contains(words), "{failure}");
        assert!(failure.why.unwrap().contains(words), "{attribute}");
    }
    // The first that fails ends the build, and is told as that whose it is.
    let failure = flake.run("both").await.failure();
    let (check, what) = (failure.check.unwrap(), failure.what.as_str());
    let runner = (CheckId::BuildDerivation, "fail: fatal: cannot do");
    let own = (CheckId::BuildToplevel, "system.build.toplevel: otherfail: failed with exit code 4");
    assert!((check, what) == runner || (check, what) == own, "{failure}");

    // Left out on request.
    let target = resolve::resolve(Some(&format!("{}#asserts", flake.dir.display())), &nix(&[]), &Events::silent())
        .await
        .unwrap();
    let evaluated = nix::evaluate(&target, &nix(&[]), true, &Events::silent()).await.unwrap();
    assert_eq!(evaluated.toplevel, None);
}

#[tokio::test]
async fn what_does_not_build() {
    if !has_nix() {
        return;
    }
    let flake =
        Flake::new("x", true, "{ nixosConfigurations.demo = machine { vm = needs (needs fail); toplevel = fail; }; }");
    let outcome = flake.run("demo").await;
    assert!(outcome.doing.contains(&"building fail".to_owned()), "{:?}", outcome.doing);
    let failure = outcome.failure();
    assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildDerivation)));
    assert_eq!(failure.what, "fail: fatal: cannot do");
    let why = failure.why.unwrap();
    assert!(why.contains("-fail.drv\nfailed with exit code 3; ") && why.ends_with("> fatal: cannot do"), "{why}");
    assert!(why.contains("> line 30") && !why.contains("> line 16\n"), "{why}");
    assert!(failure.hint.unwrap().contains("nix log /nix/store/"));

    // Built, and refused by nix.
    let refused = r#"{ nixosConfigurations = {
        self = machine { vm = derivation {
            name = "refers"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo $out > $out" ];
            disallowedReferences = [ "out" ];
        }; };
        cycle = machine { vm = derivation {
            name = "cycle"; inherit system; builder = "/bin/sh"; outputs = [ "out" "bin" ];
            args = [ "-c" "echo $bin > $out; echo $out > $bin" ];
        }; };
    }; }"#;
    let flake = Flake::new("x", true, refused);
    for (attribute, what) in
        [("self", "refers: it is not allowed to refer to "), ("cycle", "cycle: its outputs refer to each other")]
    {
        let failure = flake.run(attribute).await.failure();
        assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildDerivation)), "{failure}");
        assert!(failure.what.starts_with(what), "{failure}");
    }
}

#[tokio::test]
async fn other_systems_are_this_hosts_limit() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations.demo = machine { vm = derivation { name = "vm"; system = "sparc64-netbsd"; builder = "/bin/sh"; }; toplevel = vm; }; }"#;
    let failure = Flake::new("x", true, outputs).run("demo").await.failure();
    assert_eq!(failure.exit, Exit::Unknown, "{failure}");
    assert!(failure.what.contains("sparc64-netbsd"), "{failure}");
}

#[tokio::test]
async fn untracked_files_and_dirty_trees() {
    if !has_nix() {
        return;
    }
    let flake = Flake::new("x-y", true, "{ nixosConfigurations.demo = import ./hosts/demo.nix { inherit machine; }; }");
    flake.write("hosts/demo.nix", "{ machine }: machine { }");
    let failure = flake.run("demo").await.failure();
    assert_eq!(failure.check, Some(CheckId::BuildEval));
    assert!(failure.hint.unwrap().starts_with("git add hosts"));

    flake.git(&["add", "hosts/demo.nix"]);
    let outcome =
        flake.run_named(&format!("{}#demo", flake.dir.display()), &nix(&["--option", "warn-dirty", "true"])).await;
    let told = outcome.notes.iter().filter(|note| note.contains("not committed")).count();
    assert!(told >= 1, "{:?}", outcome.notes);
    outcome.built();

    // A flake below the tree's root, named as nix takes it.
    flake.write("below/flake.nix", &flake_nix("{ nixosConfigurations.demo = machine { }; }"));
    flake.git(&["add", "below/flake.nix"]);
    let (target, _) = flake.run_named(&format!("{}?dir=below#demo", flake.dir.display()), &nix(&[])).await.built();
    assert!(target.resolved().contains("?dir=below#"), "{}", target.resolved());

    // The flake.nix itself.
    let bare = Flake::new("bare", false, "{ nixosConfigurations.demo = machine { }; }");
    let bare = Flake { is_git: true, ..bare };
    bare.git(&["init", "-q"]);
    bare.write("other", "");
    bare.git(&["add", "other"]);
    bare.git(&["commit", "-qm", "test"]);
    let failure = bare.run("demo").await.failure();
    assert!(failure.hint.as_deref().is_some_and(|hint| hint.starts_with("git add flake.nix")), "{failure}");
    assert!(bare.is_git);
}

#[tokio::test]
async fn no_lock_file_is_no_trouble() {
    if !has_nix() {
        return;
    }
    let dependency = Flake::new("dependency", false, "{ nixosConfigurations.demo = machine { }; }");
    let flake = Flake::new("x", true, "{ }");
    flake.write(
        "flake.nix",
        &format!(
            r#"{{ inputs.dep.url = "path:{}"; outputs = {{ self, dep }}: {{ inherit (dep) nixosConfigurations; }}; }}"#,
            dependency.dir.display()
        ),
    );
    let outcome = flake.run("demo").await;
    assert!(outcome.notes.iter().any(|note| note.contains("flake.lock")), "{:?}", outcome.notes);
    // It may be another one next time.
    assert!(outcome.result.as_ref().is_ok_and(|(_, evaluated, _)| evaluated.is_unlocked));
    outcome.built();
    // An input put in by hand, under nix's own flag.
    let other = Flake::new("other", false, "{ nixosConfigurations.other = machine { }; }");
    let other_dir = other.dir.display().to_string();
    let nix = nix(&["--override-input", "dep", &other_dir]);
    let (target, _) = flake.run_named(&flake.dir.display().to_string(), &nix).await.built();
    assert_eq!(target.host(), Some("other"));
    let apply = nix::apply_command(&target, &nix).await.unwrap();
    assert!(apply.starts_with("nixos-rebuild switch --flake ") && apply.contains("--override-input dep"), "{apply}");
}

#[tokio::test]
async fn expectations_are_read_and_never_fail() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations.demo = { config = {
        system.build = { inherit vm toplevel; };
        virtualisation.vmVariant = {
            networking = {
                hostName = "demo"; firewall = { enable = true; allowedTCPPorts = [ 22 80 ]; allowedUDPPorts = throw "no"; };
                domain = "lan"; interfaces.eno1.ipv4.addresses = [ { address = "192.168.1.5"; prefixLength = 24; } ]; bridges.br0.interfaces = [ "enp3s0" ]; bonds.b = { }; vlans.v = { id = 1; interface = "eno2"; };
                defaultGateway = { address = "192.168.1.1"; interface = "enp6s0"; };
            };
            systemd.network = {
                enable = true;
                networks = {
                    "10-lan".matchConfig.Name = "enp0s31f6 en*";
                    "20-wifi" = { name = "wlp2s0"; matchConfig = { }; };
                    "30-mac".matchConfig.MACAddress = "00:11:22:AA:BB:CC";
                    "40-vm".matchConfig = { Type = "ether"; MACAddress = [ "52:54:00:12:34:56" ]; };
                    "50-odd".matchConfig.Name = throw "no";
                };
            };
            systemd.services = {
                web = { wantedBy = [ "multi-user.target" ]; requiredBy = [ "x.target" ]; description = "a web";
                        serviceConfig = { Type = "notify"; ExecStart = throw "never read"; };
                        unitConfig = { ConditionPathExists = [ "!/a" "/b" ]; After = "x"; }; };
                off = { enable = false; };
                broken = throw "this unit is broken";
                "odd.name@" = { };
            };
            systemd.timers.nightly.wantedBy = [ "timers.target" ];
            systemd.mounts = [ { what = "x"; where = "/data/x y"; wantedBy = [ "local-fs.target" ]; } ];
            systemd.sockets = throw "gone";
            services.openssh = { enable = true; ports = [ 22 2222 ]; };
            services.nginx = { enable = true; virtualHosts = { a = { forceSSL = true; }; b = { listen = [ { addr = "0.0.0.0"; port = 8080; } ]; }; }; };
            services.postgresql = { enable = false; settings.port = 5432; };
            services.redis.servers.cache = { enable = true; port = 6379; };
            users = {
                mutableUsers = false;
                users = {
                    root = { uid = 0; hashedPassword = "!"; home = "/root"; };
                    alice = { isNormalUser = true; hashedPassword = "$6$secret"; extraGroups = [ "wheel" ]; group = "users"; home = "/home/alice"; createHome = true;
                              passwordFile = throw "removed"; openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA" ]; };
                    bob = { isNormalUser = true; hashedPasswordFile = "/run/secrets/bob"; };
                    gone = { enable = false; };
                };
                groups = { wheel.gid = 1; users = { gid = null; }; };
            };
            virtualisation = { memorySize = 2048; cores = 2; graphics = false; diskSize = "auto"; };
            boot.initrd.systemd.enable = true;
            services.getty.autologinUser = "alice";
        };
    }; }; }"#;
    let flake = Flake::new("x", true, outputs);
    let (_, built) = flake.run("demo").await.built();
    let expectations = built.expectations;
    assert!(expectations.known);
    assert_eq!(expectations.host_name.as_deref(), Some("demo"));
    let web = &expectations.units["web.service"];
    assert_eq!((web.enable, web.kind.as_deref()), (true, Some("notify")));
    assert_eq!(web.wanted_by, ["multi-user.target", "x.target"]);
    assert_eq!(web.conditions, ["ConditionPathExists=!/a", "ConditionPathExists=/b"]);
    assert!(!expectations.units["off.service"].enable);
    assert!(expectations.units.contains_key("odd.name@.service") && expectations.units.contains_key("nightly.timer"));
    assert!(expectations.units.contains_key(r"data-x\x20y.mount"), "{:?}", expectations.units.keys());
    assert!(!expectations.units.contains_key("broken.service"));
    assert_eq!(
        (expectations.open_tcp.as_slice(), expectations.open_udp.as_slice()),
        ([22, 80].as_slice(), [].as_slice())
    );
    let ports: Vec<_> = expectations.service_ports.iter().map(|port| (port.option.as_str(), port.port)).collect();
    assert_eq!(
        ports,
        [
            ("services.openssh", 22),
            ("services.openssh", 2222),
            ("services.nginx", 80),
            ("services.nginx", 443),
            ("services.nginx", 8080),
            ("services.redis.servers.cache", 6379)
        ]
    );
    let alice = &expectations.users["alice"];
    assert!(alice.normal && alice.has_password && alice.has_key && alice.create_home);
    assert!(!expectations.users["root"].has_password);
    assert_eq!(expectations.users["bob"].password_file.as_deref(), Some("/run/secrets/bob"));
    assert!(!expectations.users.contains_key("gone"));
    assert_eq!(expectations.groups["wheel"], Some(1));
    assert_eq!((expectations.memory_mib, expectations.disk_mib), (Some(2048), None));
    assert_eq!(expectations.autologin_user.as_deref(), Some("alice"));
    assert!(expectations.unread.contains_key("systemd.sockets"), "{:?}", expectations.unread);
    assert!(expectations.unread.contains_key("networking.firewall.allowedUDPPorts"));
    let bound = ["eno1", "enp3s0", "eno2", "enp6s0", "enp0s31f6 en*", "wlp2s0", "enx001122aabbcc"];
    assert_eq!(expectations.interfaces, bound);
    assert_eq!(
        (expectations.domain.as_deref(), expectations.addresses.values().flatten().collect::<Vec<_>>()),
        (Some("lan"), vec![&"192.168.1.5".to_owned()])
    );
    assert!(!serde_json::to_string(&expectations).unwrap().contains("secret\""), "passwords never leave nix");

    // What cannot be caught costs the expectations, not the run.
    let outputs = r#"{ nixosConfigurations.demo = { config = {
        system.build = { inherit vm toplevel; };
        virtualisation.vmVariant = { systemd.services.x.description = { }.nosuch; };
    }; }; }"#;
    let outcome = Flake::new("x", true, outputs).run("demo").await;
    assert!(outcome.notes.iter().any(|note| note.contains("could not be read")), "{:?}", outcome.notes);
    assert!(!outcome.built().1.expectations.known);
}

/// What docs/expectations.md says, a row for each option.
struct Row {
    /// The option's name, then those that it had.
    names: Vec<String>,
    checks: String,
    changed: String,
}

impl Row {
    fn is_removed(&self) -> bool {
        self.changed.starts_with("removed")
    }
}

fn page() -> Vec<Row> {
    let code = regex::Regex::new("`([^`]+)`").unwrap();
    let text = include_str!("../docs/expectations.md");
    let rows = text.lines().filter(|line| line.starts_with("| `")).flat_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [option, _, checks, changed] = cells[..] else { panic!("four cells: {line}") };
        let names: Vec<String> = code.captures_iter(option).map(|found| found[1].to_owned()).collect();
        let row = |names| Row { names, checks: checks.to_owned(), changed: changed.to_owned() };
        // {a,b} stands for a row each.
        match names[0].split_once('{').zip(names[0].split_once('}')) {
            Some(((before, _), (inner, after))) => {
                let each = inner[before.len() + 1..].split(',');
                each.map(|part| row(vec![format!("{before}{part}{after}")])).collect()
            }
            None => vec![row(names)],
        }
    });
    rows.collect()
}

#[test]
fn the_page_names_what_is_read() {
    let source = include_str!("../src/nix/expectations.nix");
    let source: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    let (before, rest) = source.split_once("\n  names = {\n").unwrap();
    let (names, after) = rest.split_once("\n  };\n").unwrap();
    let list = regex::Regex::new(r#"\[([^\[\]]*)\](; removed = true)?"#).unwrap();
    let string = regex::Regex::new(r#""([^"]*)""#).unwrap();
    let in_code: BTreeSet<(Vec<String>, bool)> = list
        .captures_iter(names)
        .map(|found| (string.captures_iter(&found[1]).map(|name| name[1].to_owned()).collect(), found.get(2).is_some()))
        .collect();
    let page = page();
    let in_page: BTreeSet<_> = page.iter().map(|row| (row.names.clone(), row.is_removed())).collect();
    let missing: Vec<_> = in_code.difference(&in_page).collect();
    let surplus: Vec<_> = in_page.difference(&in_code).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not on the page: {missing:?}; not read: {surplus:?}");
    assert_eq!(in_page.len(), page.len(), "an option has one row");

    // Nothing is read but by way of the names.
    let path = regex::Regex::new(r"\bat \(?(\S+)").unwrap();
    for found in path.captures_iter(&format!("{before}{after}")) {
        let start = found[1].trim_end_matches([')', ';']);
        let known = ["=", "pathOf", "path", "paths.${kind}", "files", "genList"];
        assert!(known.contains(&start), "read without a name: {}", &found[0]);
    }
    let check = regex::Regex::new("`([^`]+)`").unwrap();
    for row in &page {
        for id in check.captures_iter(&row.checks) {
            assert!(id[1].parse::<CheckId>().is_ok(), "{:?}: no check {}", row.names, &id[1]);
        }
        let says_when = ["renamed", "removed"].iter().any(|word| row.changed.contains(word));
        assert!(row.names.len() == 1 || says_when, "{:?}: since when?", row.names);
    }
}

#[tokio::test]
async fn every_option_may_throw() {
    if !has_nix() {
        return;
    }
    let page = page();
    let set = |names: &[&str], value: &str| names.iter().map(|name| format!("{name} = {value};\n")).collect::<String>();
    let all: Vec<&str> = page.iter().flat_map(|row| &row.names).map(String::as_str).collect();
    let old: Vec<&str> = page.iter().filter(|row| row.names.len() > 1).map(|row| row.names[1].as_str()).collect();
    let new: Vec<&str> = page.iter().filter(|row| row.names.len() > 1).map(|row| row.names[0].as_str()).collect();
    let machine = |name: &str, options: &str| {
        format!(
            "{name}.config = {{ system.build = {{ inherit vm toplevel; }}; virtualisation.vmVariant = {{ {options} systemd.slices = {{ }}; }}; }};\n"
        )
    };
    let is_setting = |name: &str| {
        ["nginx", "caddy", "mysql", "grafana", "greetd"]
            .into_iter()
            .any(|service| name.split('.').nth(1) == Some(service))
            && !name.ends_with(".enable")
    };
    let settings: Vec<&str> = all.iter().copied().filter(|name| is_setting(name)).collect();
    // What no option is, and what some are.
    let values =
        ["null", "true", "7", "\"text\"", "[ ]", "[ \"text\" 7 { } ]", "{ }", "{ a = 7; b = { }; }", "(x: x)", "vm"];
    let mut machines = machine("all", &set(&all, "throw \"no\""))
        + &machine("old", &(set(&old, "throw \"no\"") + "services.postgresql.enable = true;\n"))
        + &machine("off", &(set(&settings, "throw \"not used\"")))
        + &machine("new", &(set(&old, "throw \"obsolete\"") + &set(&new, "false")));
    machines += &machine("sets", &set(&["services", "programs", "hardware", "users", "home-manager"], "throw \"no\""));
    for (index, value) in values.iter().enumerate() {
        machines += &machine(&format!("value{index}"), &set(&all, value));
    }
    let flake = Flake::new("x", true, &format!("{{ nixosConfigurations = {{ {machines} }}; }}"));
    let unread = async |name: &str| {
        let outcome = flake.run(name).await;
        let notes = outcome.notes.clone();
        let expectations = outcome.built().1.expectations;
        assert!(
            expectations.known && !notes.iter().any(|note| note.contains("could not be read")),
            "{name}: {notes:?}"
        );
        expectations.unread.into_keys().collect::<BTreeSet<String>>()
    };
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
    let by_newest: Vec<&str> = page.iter().filter(|row| !row.is_removed()).map(|row| row.names[0].as_str()).collect();
    assert_eq!(unread("all").await, own(by_newest));
    assert_eq!(unread("old").await, own(old));
    let sets = unread("sets").await;
    for name in ["services.pulseaudio.enable", "programs.river-classic.enable", "users.users"] {
        assert!(sets.contains(name), "{sets:?}");
    }
    assert_eq!(unread("off").await, BTreeSet::new(), "what is not enabled is not evaluated");
    assert_eq!(unread("new").await, BTreeSet::new(), "an old name is not looked at beside the new one");
    for (index, value) in values.iter().enumerate() {
        assert_eq!(unread(&format!("value{index}")).await, BTreeSet::new(), "{value}");
    }
}

#[tokio::test]
async fn names_of_today_and_of_yesterday() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations =
        let of = options: { config = { system.build = { inherit vm toplevel; }; virtualisation.vmVariant = options // { networking = { }; }; }; };
        in {
            today = of {
                services = {
                    displayManager = {
                        gdm = { enable = true; wayland = false; };
                        autoLogin = { enable = true; user = "alice"; };
                        defaultSession = "gnome";
                        sessionData = { desktops.outPath = "/sessions"; wrapper.outPath = "/wrapper"; };
                    };
                    desktopManager = { gnome.enable = true; budgie.enable = true; pantheon.enable = true; plasma6.enable = true; };
                    pulseaudio = { enable = true; systemWide = true; };
                    xserver.desktopManager = { plasma5 = throw "removed"; deepin = throw "removed"; };
                    postgresql = { enable = true; settings.port = 5433; };
                };
                programs = { river-classic.enable = true; mango.enable = true; cardboard = throw "removed"; };
                hardware.alsa.enablePersistence = true;
                sound = throw "removed";
            };
            yesterday = of {
                services = {
                    xserver = {
                        displayManager = {
                            gdm = { enable = true; wayland = false; };
                            autoLogin = { enable = true; user = "alice"; };
                            defaultSession = "gnome";
                            sessionData = { desktops.outPath = "/sessions"; wrapper = "/wrapper"; };
                        };
                        desktopManager = { gnome.enable = true; budgie.enable = true; pantheon.enable = true; plasma6.enable = true; };
                    };
                    postgresql = { enable = true; port = 5433; };
                };
                programs = { river.enable = true; mangowc.enable = true; };
                hardware.pulseaudio = { enable = true; systemWide = true; };
                sound.enable = true;
            };
        };
    }"#;
    let flake = Flake::new("x", true, outputs);
    let today = flake.run("today").await.built().1.expectations;
    let yesterday = flake.run("yesterday").await.built().1.expectations;
    let desktop = today.desktop.as_ref().unwrap();
    assert_eq!(desktop.display_manager.as_deref(), Some("gdm"));
    assert_eq!(desktop.autologin_user.as_deref(), Some("alice"));
    assert_eq!(today.autologin_user.as_deref(), Some("alice"));
    assert_eq!(desktop.default_session.as_deref(), Some("gnome"));
    assert_eq!(desktop.sessions_dir.as_deref(), Some("/sessions"));
    assert_eq!(desktop.session_wrapper.as_deref(), Some("/wrapper"));
    let names: Vec<_> = desktop.desktops.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["gnome", "plasma", "budgie", "pantheon", "river", "mango"]);
    assert!(desktop.desktops.iter().all(|kind| kind.kind.is_none()), "GDM offers no Wayland");
    let audio = today.audio.as_ref().unwrap();
    assert!(audio.pulseaudio && audio.system_wide && audio.alsa_persistence);
    assert_eq!(today.service_ports.len(), 1);
    assert_eq!(today.unread, BTreeMap::new());
    assert_eq!(yesterday, today);
}

#[tokio::test]
async fn sites_that_nginx_serves() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations =
        let of = nginx: { config = { system.build = { inherit vm toplevel; }; virtualisation.vmVariant = { services = { inherit nginx; }; networking = { }; }; }; };
        in {
            usual = of {
                enable = true;
                defaultListenAddresses = [ "0.0.0.0" "[::0]" ];
                virtualHosts = {
                    "a.test" = { serverName = null; listen = [ ]; listenAddresses = [ ]; globalRedirect = null; addSSL = true; };
                    b = { serverName = "b.test"; forceSSL = true; };
                    "c.test".listen = [ { addr = "127.0.0.1"; port = 8443; ssl = true; } ];
                    # None can be asked on this machine by its name.
                    "*.d.test" = { };
                    "e.test".globalRedirect = "f.test";
                    "g.test".listen = [ { addr = "192.168.1.5"; port = 80; } ];
                    "h.test".listenAddresses = [ "192.168.1.5" ];
                    "i.test".listen = [ { addr = "unix:/run/i"; port = 0; } ];
                };
            };
            off = of { enable = false; virtualHosts.a = { }; };
            own = of { enable = true; httpConfig = "server { listen 81; }"; virtualHosts.a = { }; };
            broken = of { enable = true; virtualHosts = { "a.test" = { }; "b.test" = throw "not today"; }; };
        };
    }"#;
    let flake = Flake::new("x", true, outputs);
    let sites = async |name: &str| {
        let expectations = flake.run(name).await.built().1.expectations;
        expectations.sites.iter().map(nixbox::nix::expectations::Site::url).collect::<Vec<_>>()
    };
    assert_eq!(sites("usual").await, ["http://a.test/", "https://b.test/", "https://c.test:8443/"]);
    for name in ["off", "own", "broken"] {
        assert_eq!(sites(name).await, [""; 0], "{name}");
    }
}

#[tokio::test]
async fn ports_that_services_say() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations =
        let of = services: { config = { system.build = { inherit vm toplevel; }; virtualisation.vmVariant = { inherit services; networking = { }; }; }; };
        in {
            usual = of {
                openssh = { enable = true; ports = [ 22 ]; listenAddresses = [ ]; };
                nginx = { enable = true; virtualHosts = { a.rejectSSL = true; b.onlySSL = true; }; };
                caddy = { enable = true; settings = { }; globalConfig = "debug"; virtualHosts = { "example.org" = { hostName = "example.org"; }; "http://a:8080, :8081" = { }; }; };
                httpd = { enable = true; virtualHosts = { a.forceSSL = true; b.listen = [ { port = 8082; } ]; }; };
                postgresql = { enable = true; settings = { port = 5432; listen_addresses = "localhost"; }; };
                mysql = { enable = true; settings.mysqld = { }; };
                memcached = { enable = true; port = 11211; };
                printing = { enable = true; listenAddresses = [ "localhost:631" "/run/x.sock" ]; };
                grafana = { enable = true; settings.server = { http_port = 3000; protocol = "http"; }; };
                redis.servers = { "" = { enable = true; port = 6379; }; unix = { enable = true; port = 0; }; };
            };
            other = of {
                openssh = { enable = true; ports = [ 22 ]; listenAddresses = [ { addr = "::"; port = 2222; } ]; };
                nginx = { enable = true; defaultListen = [ { addr = "a"; port = 8443; ssl = true; } { addr = "unix:/x"; } ]; virtualHosts.a.addSSL = true; };
                caddy = {
                    enable = true;
                    globalConfig = "http_port 8008
https_port	8444
";
                    virtualHosts = {
                        "http://a" = { serverAliases = [ "b" "https://[::1]" "{$SITE}:7" ]; };
                        c = { listenAddresses = [ "unix//run/c" ]; };
                        d.extraConfig = "bind unix//run/d";
                    };
                };
                postgresql = { enable = true; settings = { port = 5432; listen_addresses = ""; }; };
                mysql = { enable = true; settings.mysqld = { port = 3307; skip-networking = true; }; };
                memcached = { enable = true; port = 11211; enableUnixSocket = true; };
                grafana = { enable = true; settings.server = { http_port = 3000; protocol = "socket"; }; };
                gitea = { enable = true; settings.server = { HTTP_PORT = 3001; PROTOCOL = "http+unix"; }; };
                forgejo = { enable = true; settings.server = { HTTP_PORT = 3002; PROTOCOL = "http"; }; };
                httpd = { enable = false; virtualHosts.a = { }; };
            };
            own = of {
                nginx = { enable = true; httpConfig = "server { listen 81; }"; virtualHosts.a = { }; };
                caddy = { enable = true; virtualHosts.a = { }; settings.apps.http.servers = { a.listen = [ ":80" "127.0.0.1:0443" "unix//run/x:1" ":8000-8100" ]; b = { }; }; };
            };
        };
    }"#;
    let flake = Flake::new("x", true, outputs);
    let ports = async |name: &str| {
        let expectations = flake.run(name).await.built().1.expectations;
        assert!(expectations.known && expectations.unread.is_empty(), "{name}: {:?}", expectations.unread);
        let of = |port: &nixbox::nix::expectations::ServicePort| {
            format!("{} {}", port.option.trim_start_matches("services."), port.port)
        };
        expectations.service_ports.iter().map(of).collect::<Vec<_>>()
    };
    let usual = [
        "openssh 22",
        "nginx 443",
        "nginx 80",
        "caddy 443",
        "caddy 8080",
        "caddy 8081",
        "httpd 443",
        "httpd 80",
        "httpd 8082",
        "postgresql 5432",
        "mysql 3306",
        "memcached 11211",
        "printing 631",
        "grafana 3000",
        "redis.servers.\"\" 6379",
    ];
    let mut found = ports("usual").await;
    found.sort();
    let mut wanted: Vec<String> = usual.map(str::to_owned).into();
    wanted.sort();
    assert_eq!(found, wanted);
    assert_eq!(ports("other").await, ["openssh 2222", "nginx 8443", "caddy 8008", "caddy 8444", "forgejo 3002"]);
    assert_eq!(ports("own").await, ["caddy 80", "caddy 443"]);
}

#[tokio::test]
async fn ports_that_one_rule_finds() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations.demo = { config = { system.build = { inherit vm toplevel; }; virtualisation.vmVariant = {
        networking.firewall = {
            allowedTCPPorts = [ 80 ]; allowedTCPPortRanges = [ { from = 6000; to = 6010; } { from = 1; } ];
            interfaces.lan0 = { allowedTCPPorts = [ 445 80 ]; allowedUDPPortRanges = [ { from = 1714; to = 1764; } ]; };
        };
        systemd.services =
            let unit = { enable = true; wantedBy = [ "multi-user.target" ]; };
            in {
                vaultwarden = unit; immich-server = unit; immich-machine-learning = unit; loki = unit; mosquitto = unit; syncthing = unit;
                adguardhome = unit; home-assistant = unit; unbound = unit; uptime-kuma = unit; miniflux = unit; off = unit; client = unit;
                socket = unit; deluge = unit; broken = unit; hollow = unit; "prometheus-dnsmasq-exporter" = unit; "odd@" = unit;
                disabled = unit // { enable = false; }; grafana = unit; renamed = unit; systemd-timesyncd = unit; v6 = unit;
            };
        services = {
            vaultwarden = { enable = true; config = { ROCKET_PORT = 8222; SMTP_PORT = 587; DATABASE_PORT = 5432; }; package = throw "never read"; };
            immich = { enable = true; port = 2283; redis = { enable = true; port = 6380; }; database = { enable = true; port = 5433; }; };
            loki = { enable = true; configuration.server = { http_listen_port = 3100; grpc_listen_port = 0; }; };
            mosquitto = { enable = true; listeners = [ { port = 1883; } { port = 8883; } ]; bridges.b.addresses = [ { port = 1884; } ]; };
            syncthing = { enable = true; guiAddress = "127.0.0.1:8384"; };
            adguardhome = { enable = true; port = 3001; settings = null; };
            home-assistant = { enable = true; config = { http = { server_port = 8123; server_host = "::"; }; influxdb.port = 8086; }; };
            unbound = { enable = true; settings = { server = { port = 5335; interface = [ "127.0.0.1" ]; }; remote-control.port = 8953; forward-zone = [ { port = 53; } ]; }; };
            uptime-kuma = { enable = true; settings.PORT = "4000"; };
            miniflux = { enable = true; config = { LISTEN_ADDR = "localhost:8080"; }; };
            off = { enable = false; port = throw "not used"; };
            client = { enable = true; smtp.port = 25; upstream.port = 1; remotePort = 2; settings.database.port = 3; proxy_port = 4; };
            socket = { enable = true; port = 7000; host = "/run/socket.sock"; };
            deluge = { enable = true; web = { enable = false; port = 8112; }; };
            broken = { enable = true; port = throw "no"; settings = throw "no"; web.port = 9001; };
            hollow = { enable = true; port = null; listenPort = 0; httpPort = 70000; };
            prometheus.exporters.dnsmasq = { enable = true; port = 9153; };
            disabled = { enable = true; port = 9002; };
            grafana = { enable = true; settings.server = { http_port = 3000; protocol = "http"; }; settings.smtp.port = 25; };
            # What was renamed is not asked for by its former name.
            renamed = { enable = true; port = builtins.trace "Obsolete" (throw "asked"); settings.port = 9003; };
            v6 = { enable = true; listenAddress = "::1"; address = "[::1]:9004"; };
        };
    }; }; }; }"#;
    let outcome = Flake::new("x", true, outputs).run("demo").await;
    let expectations = outcome.built().1.expectations;
    let found: BTreeSet<String> = expectations
        .inferred_ports
        .iter()
        .map(|port| format!("{} {}", port.option.trim_start_matches("services."), port.port))
        .collect();
    let wanted = [
        "adguardhome 3001",
        "broken 9001",
        "home-assistant 8123",
        "immich 2283",
        "loki 3100",
        "miniflux 8080",
        "mosquitto 1883",
        "mosquitto 8883",
        "prometheus.exporters.dnsmasq 9153",
        "renamed 9003",
        "syncthing 8384",
        "unbound 5335",
        "uptime-kuma 4000",
        "v6 9004",
        "vaultwarden 8222",
    ];
    assert_eq!(found, wanted.map(str::to_owned).into());
    assert!(expectations.inferred_ports.iter().any(|port| port.unit == "prometheus-dnsmasq-exporter.service"));
    assert_eq!((expectations.open_tcp, expectations.open_tcp_ranges), (vec![80, 445], vec![(6000, 6010)]));
    assert_eq!(expectations.open_udp_ranges, [(1714, 1764)]);
    let explicit: Vec<u16> = expectations.service_ports.iter().map(|port| port.port).collect();
    assert_eq!(explicit, [3000], "what has a row of its own is not inferred");
}

#[tokio::test]
async fn settings_of_pipewire_however_they_are_nested() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations =
        let of = options: { config = { system.build = { inherit vm toplevel; }; virtualisation.vmVariant = options // { networking = { }; }; }; };
        in {
            nested = of { services.pipewire = { enable = true; audio.enable = true; extraConfig.pipewire = {
                "10-rate"."context.properties".default.clock = { rate = 96000; "allowed-rates" = [ 44100 96000 ]; min-quantum = throw "no"; };
                "20-quoted"."context.properties" = { "default.clock.quantum" = 256; "log.level" = 2; };
                "context.properties"."default.clock.max-quantum" = 2048;
                "30-sink"."context.objects" = [ { factory = "adapter"; args = { "media.class" = "Audio/Sink"; "node.name" = "null"; }; } ];
                broken = throw "no";
            }; }; };
            screens = of { services = { pulseaudio.enable = true; pipewire = { enable = true; audio.enable = false; extraConfig.pipewire = {
                a."context.objects" = [ { args = { "media.class" = "Audio/Sink"; "node.name" = "null"; }; } { args."media.class" = "Audio/Source"; } "odd" ];
                b."context.modules" = [ { name = "x"; args."capture.props" = { "media.class" = "Audio/Sink"; "node.name" = "effects"; }; } { args = throw "no"; } ];
                c."context.modules" = [ { name = "x"; args."capture.props" = { "media.class" = "Audio/Sink"; "node.name" = "loop"; }; } ];
            }; }; }; };
        };
    }"#;
    let flake = Flake::new("x", true, outputs);
    let audio = async |name: &str| flake.run(name).await.built().1.expectations.audio.unwrap();
    let nested = audio("nested").await;
    let wanted = [
        ("default.clock.allowed-rates", "44100 96000"),
        ("default.clock.max-quantum", "2048"),
        ("default.clock.quantum", "256"),
        ("default.clock.rate", "96000"),
        ("log.level", "2"),
    ];
    assert_eq!(nested.properties, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert!(nested.unused_sinks.is_empty());
    assert_eq!(audio("screens").await.unused_sinks, ["null", "effects", "loop"]);
}

#[tokio::test]
async fn flakes_that_are_not_there() {
    if !has_nix() {
        return;
    }
    let flake = Flake::new("x", false, "{ }");
    for named in ["./nowhere#x", "/nowhere#x", "path:/nowhere#x", "nonsense::/x#x"] {
        let failure = flake.run_named(named, &nix(&["--offline"])).await.failure();
        assert_eq!(failure.exit, Exit::Usage, "{named}: {failure}");
    }
    // What only the network can tell is not the configuration's fault.
    for flags in [[].as_slice(), &["--offline"]] {
        let failure = flake.run_named("git+https://nixbox.invalid/x#x", &nix(flags)).await.failure();
        assert_eq!(failure.exit, Exit::Unknown, "{failure}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stopped_nix_leaves_nothing() {
    if !has_nix() {
        return;
    }
    // The builder is known by its command line: in a sandbox it cannot say where it is.
    let marker = format!("nixbox-test-{}-{}", std::process::id(), Instant::now().elapsed().as_nanos());
    let outputs = format!(
        r#"{{ nixosConfigurations.demo = machine {{ vm = make "slow" ": {marker}; while :; do :; done"; }}; }}"#
    );
    let flake = Flake::new("x", false, &outputs);
    let is_there = || {
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.starts_with(b"sh\0") && String::from_utf8_lossy(&line).contains(&marker)
        })
    };
    let started = Instant::now();
    tokio::select! {
        outcome = flake.run("demo") => panic!("it ended: {}", outcome.failure()),
        () = async {
            while !is_there() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(started.elapsed() < Duration::from_secs(60), "the builder never began");
            }
        } => {}
    }
    let stopped = Instant::now();
    while is_there() {
        assert!(stopped.elapsed() < Duration::from_secs(5), "the builder outlived us");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(flake.top);
}

/// nixpkgs, as far as a hive needs it: `nixos/lib/eval-config.nix`, which knows hosts' names and no more.
const EVAL_CONFIG: &str = r#"{ system, modules, specialArgs }:
let
  lib = { mkOption = option: option; mkDefault = value: value; types = { attrsOf = type: type; unspecified = { }; }; };
  called = map (module: if builtins.isFunction module then module ({ inherit lib; } // specialArgs) else module) modules;
  last = builtins.foldl' (all: module: all // (module.config or module)) { } called;
in
{ config = last // { system.build = { inherit (specialArgs) vm; toplevel = specialArgs.vm; }; }; }
"#;

#[tokio::test]
async fn flakes_of_other_shapes() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{
        colmena = {
            meta = { nixpkgs = { path = ./pkgs; stdenv.hostPlatform = { inherit system; }; }; specialArgs = { inherit vm; }; };
            defaults.networking.hostName = "nobody";
            web = { name, nodes, ... }: { networking.hostName = name; };
            db = { };
        };
    }"#;
    let flake = Flake::new("x", true, outputs);
    flake.write("pkgs/nixos/lib/eval-config.nix", EVAL_CONFIG);
    flake.git(&["add", "--all"]);
    let (target, built) = flake.run("web").await.built();
    assert_eq!((target.name().as_str(), target.host()), ("web", Some("web")));
    assert_eq!(built.expectations.host_name.as_deref(), Some("web"), "{:?}", built.expectations);
    assert_eq!(nix::apply_command(&target, &nix(&[])).await.as_deref(), Some("colmena apply --on web"));
    let failure = flake.run("weeb").await.failure();
    assert_eq!(failure.what, format!("{} is a colmena hive with no node weeb", flake.dir.display()));
    assert!(failure.hint.unwrap().ends_with("#NODE: web, db"), "the nearest first");

    let evaluated = Flake::new("x", true, "{ colmenaHive.nodes.web = machine { }; }");
    let (target, _) = evaluated.run("").await.built();
    assert_eq!((target.name().as_str(), target.host()), ("web", Some("web")));

    let sorted = r#"{ nixosConfigurations.${system} = { web = machine { }; db = machine { }; }; }"#;
    let sorted = Flake::new("x", true, sorted);
    let system = nix(&[]).system();
    for named in ["", "web"] {
        let failure = sorted.run(named).await.failure();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.what.contains(&format!("by system ({system})")), "{failure}");
        assert!(failure.hint.unwrap().ends_with(&format!("#nixosConfigurations.{system}.db")));
    }
    sorted.run(&format!("nixosConfigurations.{system}.web")).await.built();

    let home = Flake::new("x", true, "{ homeConfigurations.me = { }; devShells = { }; }");
    let failure = home.run("").await.failure();
    assert_eq!(failure.check, Some(CheckId::BuildAttribute));
    let hint = failure.hint.unwrap();
    assert!(hint.starts_with("it has: devShells, homeConfigurations; home-manager configurations"), "{hint}");
}

#[tokio::test]
async fn systems_without_a_flake() {
    if !has_nix() {
        return;
    }
    let flake = Flake::new("x", false, "{ }");
    fs::remove_file(flake.dir.join("flake.nix")).unwrap();
    let common = COMMON.replace("SYSTEM", &nix(&[]).system());
    flake.write("default.nix", &format!("{{ }}: let {common} in {{ web = machine {{ }}; hosts.db = machine {{ }}; }}"));
    flake.write("pkgs/nixos/lib/eval-config.nix", EVAL_CONFIG);
    flake.write(
        "hive.nix",
        &format!(
            "let {common} in {{ meta = {{ nixpkgs = {{ path = ./pkgs; stdenv.hostPlatform = {{ inherit system; }}; }}; \
             specialArgs = {{ inherit vm; }}; }}; web = {{ name, ... }}: {{ networking.hostName = name; }}; }}"
        ),
    );
    let file = |name: &str| format!("{}/{name}", flake.dir.display());
    let (target, _) = flake.run_named(&file("default.nix#web"), &nix(&[])).await.built();
    assert_eq!((target.name().as_str(), target.host(), target.dir()), ("web", Some("web"), Some(flake.dir.as_path())));
    let apply = nix::apply_command(&target, &nix(&[])).await.unwrap();
    assert_eq!(apply, format!("nixos-rebuild switch --file {} --attr web", file("default.nix")));
    flake.run_named(&file("default.nix#hosts.db"), &nix(&[])).await.built();
    // The directory stands for it.
    flake.run("web").await.built();
    let (_, built) = flake.run_named(&file("hive.nix#web"), &nix(&[])).await.built();
    assert_eq!(built.expectations.host_name.as_deref(), Some("web"));
    let failure = flake.run_named(&file("default.nix#wbe"), &nix(&[])).await.failure();
    assert_eq!(failure.what, format!("{} has no system wbe", file("default.nix")));
    assert!(failure.hint.unwrap().contains("web"));
    for named in ["hive.nix", ""] {
        let failure = flake.run_named(&file(named), &nix(&[])).await.failure();
        assert_eq!(failure.exit, Exit::Usage, "{failure}");
        assert!(failure.hint.as_ref().unwrap().starts_with("name "), "{failure}");
    }
}

#[tokio::test]
async fn options_that_nixos_has_removed_are_told_apart() {
    if !has_nix() {
        return;
    }
    let outputs = r#"{ nixosConfigurations.demo = {
        config = {
            system.build = { inherit vm toplevel; };
            services.displayManager.gdm = { enable = true; wayland = throw "it's been removed"; };
            networking.firewall.allowedUDPPorts = throw "no";
        };
        options.services.displayManager.gdm.wayland = { _type = "option"; visible = false; };
        options.networking.firewall.allowedUDPPorts = { _type = "option"; visible = false; description = "alias"; };
    }; }"#;
    let outcome = Flake::new("x", true, outputs).run("demo").await;
    let note = outcome.notes.iter().find(|note| note.starts_with("not read")).cloned().unwrap();
    let unread = outcome.built().1.expectations.unread;
    assert_eq!(unread["services.displayManager.gdm.wayland"], "was removed from this NixOS");
    assert_eq!(unread["networking.firewall.allowedUDPPorts"], "throws when it is read");
    assert!(note.contains("allowedUDPPorts (removed from this NixOS: services.displayManager.gdm.wayland)"), "{note}");
}

#[tokio::test]
async fn an_overridden_input_is_no_flaw_of_the_lock_file() {
    if !has_nix() {
        return;
    }
    let other = Flake::new("other", true, "{ nothing = 1; }");
    let flake = Flake::new("x", true, "{ nixosConfigurations.demo = machine { }; }");
    let text = flake_nix("{ nixosConfigurations.demo = machine { }; }").replacen(
        '{',
        &format!("{{ inputs.dep.url = \"git+file://{}\"; ", other.dir.display()),
        1,
    );
    flake.write("flake.nix", &text.replace("{ self }", "{ self, ... }"));
    flake.git(&["add", "--all"]);
    let named = format!("{}#demo", flake.dir.display());
    let noted = |outcome: &Outcome| outcome.notes.iter().any(|note| note.starts_with("flake.lock"));
    let locked = flake.run_named(&named, &nix(&[])).await;
    assert!(noted(&locked), "{:?}", locked.notes);
    let path = format!("path:{}", other.dir.display());
    let overridden = flake.run_named(&named, &nix(&["--override-input", "dep", &path])).await;
    assert!(!noted(&overridden), "{:?}", overridden.notes);
    overridden.built();
}

#[tokio::test]
async fn no_network_is_told_in_seconds() {
    if !has_nix() {
        return;
    }
    // Nothing listens there: the cache, the input and the source can only come from the network.
    let outputs = r#"{ nixosConfigurations = {
        source = machine { vm = derivation {
            name = "source"; inherit system; builder = "builtin:fetchurl"; url = "http://127.0.0.1:9/source.tar.gz";
            outputHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; outputHashMode = "flat";
            unpack = false; executable = false;
        }; };
        tarball = builtins.fetchTarball { url = "http://127.0.0.1:9/x.tar.gz"; sha256 = "0000000000000000000000000000000000000000000000000000"; };
    }; }"#;
    let flake = Flake::new("x", true, outputs);
    for name in ["source", "tarball"] {
        let start = Instant::now();
        let named = format!("{}#{name}", flake.dir.display());
        let failure =
            flake.run_named(&named, &nix(&["--option", "substituters", "http://127.0.0.1:9"])).await.failure();
        assert_eq!(failure.exit, Exit::Unknown, "{failure}");
        assert!(start.elapsed() < Duration::from_secs(30), "{name}: {:?}", start.elapsed());
    }
}
