//! nix: evaluate and build, as [`crate::event::Event`]s and typed results.
//!
//! Two steps, since nix ends with 1 for an evaluation error and a failed build alike: [`evaluate`] asks for everything
//! in one evaluation (the runner's and the host's derivations, and what the configuration expects), [`build`] makes
//! both and holds them with garbage collector roots in the run directory. [`evaluate_many`] and [`build_many`] do the same
//! for many at once.

mod command;
mod diagnosis;
pub mod expectations;
mod log;
mod many;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::command::{Answer, Nix, NixFlags};
pub use self::diagnosis::Source;
pub use self::many::{Answers, Choice, Named, build_many, evaluate_many, names};
pub use self::store::{STORE_DIR, Store, store_path_of};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::CheckId;
use crate::resolve::{Flake, Output, Target, choices};
use crate::text::command_line;
use expectations::{Expectations, ExpectedUnit};

/// The expressions that are evaluated.
const MACHINE: &str = include_str!("machine.nix");
const EXPECTATIONS: &str = include_str!("expectations.nix");
/// The name of the first root in the run directory; further ones have a number behind.
const ROOT: &str = "gc-runner";

/// Something to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derivation {
    /// `/nix/store/….drv`.
    #[serde(rename = "drv")]
    pub drv_path: String,
    /// Its first output, where it is known before building.
    #[serde(rename = "out")]
    pub out_path: Option<String>,
    /// Where it is below the target's own attribute.
    #[serde(default)]
    attr: Vec<String>,
}

/// What a target evaluates to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The runner's derivation; `None` where the target is a runner already.
    pub runner: Option<Derivation>,
    /// The host's own system, where there is one and it evaluates.
    pub toplevel: Option<Derivation>,
    /// Why the host's own system does not evaluate (check `build.toplevel`). Not remembered: who has one asks again.
    #[serde(skip)]
    pub toplevel_failure: Option<Failure>,
    /// What the configuration expects. `known` is false where it could not be read.
    pub expectations: Expectations,
    /// Whether the flake's nixConfig was applied, and so has to be when building.
    applies_settings: bool,
    /// Whether an input was looked up, since no lock file names it: the same files may evaluate to something else then.
    #[serde(skip)]
    pub is_unlocked: bool,
}

/// What was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// `bin/run-NAME-vm`, by its logical path: [`Store::physical`] says where its bytes are.
    pub runner: PathBuf,
    /// The store path that the runner is in; `None` for a script outside the store.
    pub runner_store_path: Option<PathBuf>,
    /// The runner's derivation, when nix built it.
    pub drv_path: Option<String>,
    /// The host's own system, when there is one and it was built.
    pub toplevel: Option<PathBuf>,
    /// The derivation of the host's own system, when there is one.
    pub toplevel_drv: Option<String>,
    /// Why the host's own system did not evaluate or build (check `build.toplevel`).
    pub toplevel_failure: Option<Failure>,
    /// What the configuration expects.
    pub expectations: Expectations,
    /// Where the store's files are.
    pub store: Store,
}

/// What machine.nix answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answered {
    missing: Option<Missing>,
    runner: Option<Derivation>,
    toplevel: Option<Caught<Derivation>>,
    expectations: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Missing {
    kind: String,
    names: Vec<String>,
}

/// Something that may have thrown.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Caught<T> {
    Value(T),
    Failed {
        #[expect(dead_code, reason = "its presence is the answer")]
        failed: bool,
    },
}

/// Evaluates a target: one evaluation when all is well, separate ones to tell what is not.
///
/// With `vm_only` the host's own system is left out. What it expects never fails: [`Expectations::known`] says whether
/// it could be read, and a note says why not.
///
/// # Errors
/// `build.eval`, `build.attribute` (exit 3), or what this host could not do (exit 5).
pub async fn evaluate(target: &Target, nix: &Nix, vm_only: bool, events: &Events) -> Result<Evaluated> {
    if let Target::Runner { .. } = target {
        return Ok(Evaluated::default());
    }
    events.doing(format!("evaluating {}", target.name()));
    let source = target.source();
    let has_settings = nix.flags.accept_flake_config || target.flake().is_some_and(|flake| flake.has_settings());
    let (ignores_settings, is_unlocked) = (std::cell::Cell::new(false), std::cell::Cell::new(false));
    let ask = async |want: &'static str| -> Result<std::result::Result<Answered, command::Answer>> {
        let answer = ask(target, nix, want, vm_only, events).await?;
        ignores_settings.set(ignores_settings.get() || answer.log.ignores_settings);
        is_unlocked.set(is_unlocked.get() || answer.log.is_unlocked);
        if !answer.status.success() {
            return Ok(Err(answer));
        }
        serde_json::from_slice(&answer.stdout).map(Ok).map_err(|error| command::unreadable(&answer, &error))
    };
    let failed =
        |answer: &command::Answer| diagnosis::evaluation(&answer.log, &source, &target.name()).at(nix.log_path());

    let mut evaluated = Evaluated::default();
    match ask("all").await? {
        Ok(answered) => {
            if let Some(missing) = answered.missing {
                return Err(missing_failure(target, &missing));
            }
            evaluated.runner = answered.runner;
            match answered.toplevel {
                None => {}
                Some(Caught::Value(toplevel)) => evaluated.toplevel = Some(toplevel),
                Some(Caught::Failed { .. }) => {
                    if let Err(answer) = ask("toplevel").await? {
                        evaluated.toplevel_failure = Some(as_toplevel(failed(&answer))?);
                    }
                }
            }
            evaluated.expectations =
                answered.expectations.map_or_else(Expectations::default, |value| read_promises(value, events));
        }
        Err(answer) => {
            // Something that cannot be caught (a type error, a missing attribute) in any of the three.
            if let Some(hosts) = Some(failed(&answer)).filter(diagnosis::is_hosts) {
                return Err(hosts);
            }
            if diagnosis::is_absent(&answer.log) {
                let mut failure = failed(&answer);
                if failure.hint.is_none() {
                    failure.hint = choices(target, nix, events).await;
                }
                return Err(failure);
            }
            let (runner, toplevel, expected) = tokio::join!(ask("runner"), ask("toplevel"), ask("expectations"));
            match runner? {
                Ok(answered) => evaluated.runner = answered.runner,
                Err(answer) => return Err(failed(&answer)),
            }
            match toplevel? {
                Ok(Answered { toplevel: Some(Caught::Value(toplevel)), .. }) => evaluated.toplevel = Some(toplevel),
                Ok(_) => {}
                Err(answer) => evaluated.toplevel_failure = Some(as_toplevel(failed(&answer))?),
            }
            match expected? {
                Ok(answered) => {
                    evaluated.expectations =
                        answered.expectations.map_or_else(Expectations::default, |value| read_promises(value, events));
                }
                Err(answer) => {
                    let why = failed(&answer).why.unwrap_or_default();
                    let first = why.lines().next().unwrap_or_default();
                    events.note(format!("what the configuration expects could not be read: {first}"));
                }
            }
        }
    }
    if evaluated.runner.is_none() {
        return Err(Failure::host("nix's answer has no runner"));
    }
    evaluated.applies_settings = has_settings && !ignores_settings.get();
    evaluated.is_unlocked = is_unlocked.get();
    Ok(evaluated)
}

/// The one evaluation, or a part of it.
async fn ask(target: &Target, nix: &Nix, want: &str, vm_only: bool, events: &Events) -> Result<command::Answer> {
    let mut arguments = vec![format!("want = {};", nix_string(want))];
    if vm_only {
        arguments.push("vmOnly = true;".to_owned());
    }
    let mut argument = |name: &str, value: &str| arguments.push(format!("{name} = {};", nix_string(value)));
    match target {
        Target::Host { name, specialisation, output, .. } => {
            argument("name", name);
            if let Some(specialisation) = specialisation {
                argument("specialisation", specialisation);
            }
            argument("output", output.attribute());
        }
        Target::Attribute { .. } | Target::Configuration { .. } | Target::Runner { .. } => {}
    }
    let machine = format!("({MACHINE})\n{{ expectations = ({EXPECTATIONS}\n); {} }}", arguments.join(" "));
    match target {
        Target::Host { flake, .. } => {
            nix.eval(&flake.installable("nixosConfigurations"), &machine, flake.directory(), events).await
        }
        Target::Attribute { flake, path } => {
            nix.eval(&flake.installable(path), &machine, flake.directory(), events).await
        }
        Target::Configuration { file } => {
            // A string, since a path literal cannot hold every character that a path can.
            let file = nix_string(&file.to_string_lossy());
            let system = format!("import <nixpkgs/nixos> {{ configuration = /. + {file}; }}");
            nix.eval_expression(&format!("({machine}) ({system})"), events).await
        }
        Target::Runner { .. } => Err(Failure::host("a runner is not evaluated")),
    }
}

/// A string literal of the nix language.
fn nix_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn missing_failure(target: &Target, missing: &Missing) -> Failure {
    let name = target.name();
    let mut names = missing.names.clone();
    let what = match (missing.kind.as_str(), target) {
        ("specialisation", Target::Host { name: host, specialisation: Some(wanted), .. }) => {
            // As they are to be typed.
            names.iter_mut().for_each(|special| *special = format!("{host}@{special}"));
            if wanted.is_empty() && !names.is_empty() {
                return Failure::usage(format!("{name} names none of the specialisations of {host}"))
                    .hint(format!("there are: {}", crate::resolve::listed("", &names)));
            }
            format!("{host} has no specialisation {wanted}")
        }
        ("output", _) => {
            let failure = Failure::check(CheckId::BuildAttribute, format!("{name} has no `system.build.vm`"));
            return failure
                .hint("import <nixpkgs/nixos/modules/virtualisation/build-vm.nix>, which NixOS does by itself");
        }
        ("derivation", _) => {
            let failure =
                Failure::check(CheckId::BuildAttribute, format!("{name} is neither a NixOS system nor a package"));
            return failure.hint(format!("it has: {}", crate::resolve::listed("", &names)));
        }
        _ => format!("the flake has no configuration {name}"),
    };
    let failure = Failure::check(CheckId::BuildAttribute, what.trim_end());
    if names.is_empty() {
        failure.hint("there are none")
    } else {
        failure.hint(format!("there are: {}", crate::resolve::listed(&name, &names)))
    }
}

/// The same failure as one of the host's own system; what this host cannot do stays what it is.
fn as_toplevel(failure: Failure) -> Result<Failure> {
    if diagnosis::is_hosts(&failure) {
        return Err(failure);
    }
    let what = format!("the host's own system, which the VM does not show: {}", failure.what);
    Ok(Failure { check: Some(CheckId::BuildToplevel), what, ..failure })
}

/// What a file says that a runner expectations: what expects.nix answered where the runner was evaluated.
///
/// # Errors
/// Usage (exit 2), where it cannot be read: checks that are not made because a file is broken would read as a pass.
pub fn expectations_in(path: &Path) -> Result<Expectations> {
    let read = || {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        parse_promises(serde_json::from_slice(&text).map_err(|error| error.to_string())?)
    };
    read().map_err(|why| {
        Failure::usage(format!("--expectations {}: {why}", path.display()))
            .hint("it is written by lib.check of nixbox's flake; without it only the guest is asked")
    })
}

/// What expectations.nix answers, as expectations. What cannot be read is a note.
fn read_promises(value: Value, events: &Events) -> Expectations {
    if value.is_null() {
        return Expectations::default();
    }
    parse_promises(value).unwrap_or_else(|why| {
        events.note(format!("what the configuration expects could not be read: {why}"));
        Expectations::default()
    })
}

fn parse_promises(mut value: Value) -> std::result::Result<Expectations, String> {
    if value.get("failed").is_some() {
        return Err("it throws".to_owned());
    }
    let mounts = value.as_object_mut().and_then(|object| object.remove("mounts"));
    let mut expectations: Expectations = serde_json::from_value(value).map_err(|error| error.to_string())?;
    expectations.units.extend(mounts.map(mount_units).unwrap_or_default());
    Ok(expectations)
}

/// `systemd.mounts`, which is a list, by the names that systemd gives them.
fn mount_units(mounts: Value) -> BTreeMap<String, ExpectedUnit> {
    #[derive(Deserialize)]
    struct Mount {
        r#where: String,
        #[serde(flatten)]
        unit: ExpectedUnit,
    }
    let mounts: Vec<Mount> = serde_json::from_value(mounts).unwrap_or_default();
    mounts.into_iter().map(|mount| (format!("{}.mount", escape_path(&mount.r#where)), mount.unit)).collect()
}

/// systemd-escape(1) `--path`.
fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::new();
    for (index, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if index == 0 => out.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || b":_.".contains(&byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// Builds what was evaluated. The roots lie in `run_directory`, and go with it.
///
/// A host's own system that fails is told in [`Built::toplevel_failure`] and does not keep the VM from running.
///
/// # Errors
/// `build.derivation` with the derivation that failed and the end of its log, `build.attribute` where what was built
/// is no VM (exit 3), or what this host could not do (exit 5).
pub async fn build(
    target: &Target,
    evaluated: Evaluated,
    nix: &Nix,
    run_directory: &Path,
    events: &Events,
) -> Result<Built> {
    let root = run_directory.join(ROOT);
    let Evaluated { runner, toplevel, mut toplevel_failure, expectations, applies_settings, is_unlocked: _ } =
        evaluated;
    let Some(runner) = runner else {
        let Target::Runner { script } = target else { return Err(Failure::host("there is nothing to build")) };
        return hold(script, nix, &root, expectations, events).await;
    };
    events.doing(format!("building {}", target.name()));
    let source = target.source();
    let mut built_toplevel = None;

    let toplevel_drv = toplevel.as_ref().map(|toplevel| toplevel.drv_path.clone());
    // Both in one go: they share nearly everything.
    let toplevel = toplevel.filter(|toplevel| toplevel.drv_path != runner.drv_path);
    let installables = target.flake().filter(|_| applies_settings).map(|flake| flake.directory());
    let make = async |toplevel: Option<&Derivation>| match installables {
        Some(directory) => build_installables(target, nix, &runner, toplevel, &root, directory, events).await,
        None => {
            let paths: Vec<&str> =
                std::iter::once(&runner).chain(toplevel).map(|derivation| derivation.drv_path.as_str()).collect();
            nix.realise(&paths, &root, events).await
        }
    };
    let answer = make(toplevel.as_ref()).await?;
    if answer.status.success() {
        built_toplevel = toplevel.as_ref().and_then(|toplevel| output(toplevel, &root, &["2", "1"]));
    } else {
        let all = diagnosis::causes(&answer.log);
        let fails = |cause: Option<&diagnosis::Cause>| {
            diagnosis::derivation(&answer.log, &source, &target.name(), cause).at(nix.log_path())
        };
        let store = runner.out_path.as_ref().map(|out| store_of(Path::new(out), nix));
        let has_runner = runner.out_path.as_ref().zip(store).is_some_and(|(out, store)| store.contains(Path::new(out)));
        if toplevel.is_none() || !has_runner {
            // With several, the one that the runner needs.
            let needed = if all.len() > 1 { nix.requisites(&runner.drv_path).await } else { Vec::new() };
            return Err(fails(all.iter().find(|cause| needed.contains(&cause.drv))));
        }
        toplevel_failure = Some(as_toplevel(fails(None))?);
        // It is there; this holds it with a root.
        let answer = make(None).await?;
        if !answer.status.success() {
            return Err(diagnosis::derivation(&answer.log, &source, &target.name(), None).at(nix.log_path()));
        }
    }
    let out = output(&runner, &root, &[]);
    let mut built = made(target, runner, out, expectations, nix)?;
    (built.toplevel, built.toplevel_drv, built.toplevel_failure) = (built_toplevel, toplevel_drv, toplevel_failure);
    Ok(built)
}

/// A runner that was built, without anything beside it.
fn made(
    target: &Target,
    runner: Derivation,
    out: Option<PathBuf>,
    expectations: Expectations,
    nix: &Nix,
) -> Result<Built> {
    let Some(out) = out else {
        return Err(Failure::host("nix has built the runner and does not say where"));
    };
    let store = store_of(&out, nix);
    let script = script_in(&out, &store)?.ok_or_else(|| {
        Failure::check(CheckId::BuildAttribute, format!("{} is not a VM: it has no bin/run-…-vm", target.name()))
            .hint("name a NixOS configuration, or what its `system.build.vm` is")
    })?;
    Ok(Built {
        runner: script,
        runner_store_path: Some(out),
        drv_path: Some(runner.drv_path),
        toplevel: None,
        toplevel_drv: None,
        toplevel_failure: None,
        expectations,
        store,
    })
}

/// Builds by name. A nixConfig (it names binary caches, most often) holds only for the command that reads the flake.
async fn build_installables(
    target: &Target,
    nix: &Nix,
    runner: &Derivation,
    toplevel: Option<&Derivation>,
    root: &Path,
    directory: Option<&Path>,
    events: &Events,
) -> Result<command::Answer> {
    let installables: Vec<String> =
        std::iter::once(runner).chain(toplevel).filter_map(|derivation| target.installable(&derivation.attr)).collect();
    nix.build_installables(&installables, root, directory, events).await
}

/// The output of a built derivation: as evaluated, else where the root of this number points.
fn output(derivation: &Derivation, root: &Path, numbers: &[&str]) -> Option<PathBuf> {
    if let Some(out) = &derivation.out_path
        && out.starts_with(store::STORE_DIR)
    {
        return Some(PathBuf::from(out));
    }
    let link = |name: PathBuf| std::fs::read_link(name).ok();
    if numbers.is_empty() {
        return link(root.to_owned());
    }
    numbers.iter().find_map(|number| link(PathBuf::from(format!("{}-{number}", root.display()))))
}

/// A list of names that nix answered with; none where there is no such output.
pub(crate) fn names_answered(answer: &Answer, source: &Source, named: &str, log: Option<&Path>) -> Result<Vec<String>> {
    if answer.status.success() {
        return serde_json::from_slice(&answer.stdout).map_err(|error| command::unreadable(answer, &error));
    }
    if diagnosis::is_absent(&answer.log) {
        return Ok(Vec::new());
    }
    Err(diagnosis::evaluation(&answer.log, source, named).at(log))
}

/// The store that holds a path.
fn store_of(path: &Path, nix: &Nix) -> Store {
    use etcetera::BaseStrategy as _;
    let data = etcetera::choose_base_strategy().ok().map(|directories| directories.data_dir());
    Store::holding(path, nix.store_url().as_deref(), data.as_deref())
}

/// The store as nix would use it, for a path that the user named.
pub(crate) fn store_for(path: &Path, nix: &Nix) -> Store {
    store_of(path, nix)
}

/// The runner's script and the store that it lies in, where it is there already, before anything is built.
pub fn runner_of(target: &Target, evaluated: &Evaluated, nix: &Nix) -> Option<(PathBuf, Store)> {
    let out = match (target, &evaluated.runner) {
        (Target::Runner { script }, _) => {
            let store = store_path_of(script).map(|path| store_of(&path, nix)).unwrap_or_default();
            return Some((script.clone(), store));
        }
        (_, runner) => PathBuf::from(runner.as_ref()?.out_path.as_ref()?),
    };
    let store = store_of(&out, nix);
    Some((script_in(&out, &store).ok()??, store))
}

/// The one `bin/run-*-vm` below a directory, by its logical path. `None` when there is none.
///
/// # Errors
/// When there are several.
pub(crate) fn script_in(directory: &Path, store: &Store) -> Result<Option<PathBuf>> {
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(store.physical(directory).join("bin"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| is_runner_name(&name.to_string_lossy()))
        .map(|name| directory.join("bin").join(name))
        .collect();
    scripts.sort();
    match scripts.len() {
        0 | 1 => Ok(scripts.pop()),
        _ => {
            let names: Vec<_> = scripts.iter().map(|script| script.display().to_string()).collect();
            Err(Failure::usage(format!("{} has several VMs", directory.display()))
                .hint(format!("name one of: {}", names.join(", "))))
        }
    }
}

/// `run-NAME-vm`.
pub(crate) fn is_runner_name(name: &str) -> bool {
    name.starts_with("run-") && name.ends_with("-vm")
}

/// A runner that is there already, held with a root when it is in the store.
async fn hold(script: &Path, nix: &Nix, root: &Path, expectations: Expectations, events: &Events) -> Result<Built> {
    let store_path = store_path_of(script);
    let store = store_path.as_deref().map(|path| store_of(path, nix)).unwrap_or_default();
    if let Some(path) = &store_path {
        // Without nix there is no garbage collector to fear from here; a path that is not valid is the user's choice.
        let held = nix.realise(&[&path.to_string_lossy()], root, &Events::silent()).await;
        if held.is_ok_and(|answer| !answer.status.success()) {
            events.note(format!("{} is not protected from garbage collection", path.display()));
        }
    }
    Ok(Built {
        runner: script.to_owned(),
        runner_store_path: store_path,
        drv_path: None,
        toplevel: None,
        toplevel_drv: None,
        toplevel_failure: None,
        expectations,
        store,
    })
}

/// The command that applies exactly what was tested, for a configuration of a flake; `None` for all else.
///
/// Where the flake is clean it is named with the revision that was tested, so that a later change does not slip in.
pub async fn apply_command(target: &Target, nix: &Nix) -> Option<String> {
    let Target::Host { flake, .. } = target else { return None };
    apply_command_from(target, &reference(flake, nix).await, nix)
}

/// The same, where the flake's reference is known (see [`reference()`]).
pub fn apply_command_from(target: &Target, reference: &str, nix: &Nix) -> Option<String> {
    let Target::Host { name, specialisation, .. } = target else { return None };
    let mut words = ["nixos-rebuild", "switch", "--flake"].map(str::to_owned).to_vec();
    words.push(format!("{reference}#{name}"));
    if let Some(specialisation) = specialisation {
        words.extend(["--specialisation".to_owned(), specialisation.clone()]);
    }
    words.extend(nix.flags.words(nix.here()).into_iter().filter(|word| word != "--show-trace"));
    Some(command_line(words))
}

/// The flake's reference with the revision that it has now, where its tree is clean.
pub async fn reference(flake: &Flake, nix: &Nix) -> String {
    #[derive(Deserialize)]
    struct Locked {
        rev: Option<String>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        url: Option<String>,
        locked: Option<Locked>,
    }
    let answer = nix.flake_metadata(&flake.reference, flake.directory(), &Events::silent()).await.ok();
    let locked = answer
        .filter(|answer| answer.status.success())
        .and_then(|answer| serde_json::from_slice::<Metadata>(&answer.stdout).ok())
        .filter(|metadata| metadata.locked.as_ref().is_some_and(|locked| locked.rev.is_some()))
        .and_then(|metadata| metadata.url);
    locked.unwrap_or_else(|| flake.portable())
}

impl Failure {
    /// Says where the log is, when it is kept.
    fn at(self, log: Option<&Path>) -> Self {
        match log {
            Some(log) => self.log(log),
            None => self,
        }
    }
}

impl Output {
    /// The attribute of `config.system.build`.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Output::Vm => "vm",
            Output::VmWithBootLoader => "vmWithBootLoader",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_the_nix_language() {
        assert_eq!(nix_string(r#"a"b\c${d}"#), r#""a\"b\\c\${d}""#);
        assert_eq!(nix_string("a\nb"), "\"a\\nb\"");
    }

    #[test]
    fn mount_units_have_systemds_names() {
        assert_eq!(escape_path("/"), "-");
        assert_eq!(escape_path("/mnt/my-disk/"), r"mnt-my\x2ddisk");
        assert_eq!(escape_path("/.hidden/a b"), r"\x2ehidden-a\x20b");
        let units = mount_units(serde_json::json!([{ "where": "/data", "wanted_by": ["multi-user.target"] }]));
        assert_eq!(units["data.mount"].wanted_by, ["multi-user.target"]);
    }

    #[test]
    fn answers_in_all_shapes() {
        let answered: Answered = serde_json::from_str(
            r#"{"runner":{"attr":["config"],"drv":"/nix/store/x.drv","out":null},"toplevel":{"failed":true},"expectations":null}"#,
        )
        .unwrap();
        assert!(matches!(answered.toplevel, Some(Caught::Failed { .. })));
        assert_eq!(answered.runner.unwrap().attr, ["config"]);
        let answered: Answered =
            serde_json::from_str(r#"{"toplevel":null,"missing":{"kind":"x","names":[]}}"#).unwrap();
        assert!(answered.toplevel.is_none());
        assert_eq!(answered.missing.unwrap().kind, "x");
    }

    #[test]
    fn promises_that_throw_are_a_note() {
        let (events, mut receiver) = Events::channel();
        assert!(!read_promises(serde_json::json!({ "failed": true }), &events).known);
        assert!(!read_promises(serde_json::json!({ "known": 3 }), &events).known);
        drop(events);
        assert!(receiver.try_recv().is_ok());
        assert!(receiver.try_recv().is_ok());
    }

    #[test]
    fn promises_of_a_file_are_whole_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("expectations.json");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            expectations_in(&file)
        };
        let expectations = read(
            r#"{"known":true,"host_name":"laptop","units":{"nginx.service":{"enable":true}},"mounts":[{"where":"/data"}]}"#,
        )
        .unwrap();
        assert!(expectations.known && expectations.units.contains_key("nginx.service"));
        assert!(expectations.units.contains_key("data.mount"), "{:?}", expectations.units);
        for broken in ["", "3", "null", r#"{"known":3}"#, r#"{"failed":true}"#] {
            assert_eq!(read(broken).unwrap_err().exit, crate::model::Exit::Usage, "{broken}");
        }
        let missing = expectations_in(&directory.path().join("no.json"));
        assert!(missing.unwrap_err().what.contains("no.json"));
    }

    #[test]
    fn only_runners_are_runners() {
        assert!(is_runner_name("run-nixos-vm"));
        assert!(!is_runner_name("run-nixos"));
        let directory = tempfile::tempdir().unwrap();
        let store = Store::default();
        assert_eq!(script_in(directory.path(), &store).unwrap(), None);
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        std::fs::write(directory.path().join("bin/run-a-vm"), "").unwrap();
        assert_eq!(script_in(directory.path(), &store).unwrap(), Some(directory.path().join("bin/run-a-vm")));
        std::fs::write(directory.path().join("bin/run-b-vm"), "").unwrap();
        assert_eq!(script_in(directory.path(), &store).unwrap_err().exit, crate::model::Exit::Usage);
    }
}
