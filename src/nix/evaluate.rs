//! One target: what it evaluates to, in one evaluation when all is well.

use std::cell::Cell;

use serde::Deserialize;
use serde_json::Value;

use super::attributes::attribute_names;
use super::command::{Nix, NixOutput};
use super::log::EvaluationPart;
use super::{Derivation, Evaluated, diagnosis, expectations};
use super::{Target, VmVariant};
use super::{components, join};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::{CheckId, Exit};
use crate::text::listed;

/// The expressions that are evaluated.
pub(super) const MACHINE: &str = include_str!("machine.nix");
const SYSTEM: &str = include_str!("system.nix");
pub(super) const EXPECTATIONS: &str = include_str!("expectations.nix");

/// What machine.nix answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MachineAnswer {
    pub(super) missing: Option<MissingAttribute>,
    pub(super) runner: Option<Derivation>,
    pub(super) toplevel: Option<Derivation>,
    pub(super) expectations: Option<Value>,
}

/// What was asked for and is not there, and the names of what is.
#[derive(Debug, Deserialize)]
pub(super) struct MissingAttribute {
    kind: MissingKind,
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MissingKind {
    Configuration,
    Specialisation,
    /// A VM of the configuration.
    Output,
    /// Something to build.
    Derivation,
}

/// What `builtins.tryEval` leaves of a value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum TryEval<T> {
    // First, as an answer without any part is a value too.
    Failed {
        #[expect(dead_code, reason = "its presence is the answer")]
        failed: bool,
    },
    Value(T),
}

/// Evaluates a target: one evaluation, whether it goes well or not (a whole system takes nix a gigabyte or two).
///
/// With `vm_only` the host's own system is left out. What it expects never fails: `Expectations::known` says whether
/// it could be read, and a note says why not; only where nix cannot catch that is the rest asked for once more.
///
/// # Errors
/// `build.eval`, `build.toplevel` where only the host's own system fails, `build.attribute` (exit 3), or what this host
/// could not do (exit 5).
pub async fn evaluate(target: &Target, nix: &Nix, vm_only: bool, events: &Events) -> Result<Evaluated> {
    if let Target::Runner { .. } = target {
        return Ok(Evaluated::default());
    }
    events.doing(format!("evaluating {}", target.name()));
    let nix = &nix.clone().reading(target.source());
    let (ignores_settings, is_unlocked) = (Cell::new(false), Cell::new(false));
    let evaluator = Evaluator { target, nix, vm_only, events, ignores_settings, is_unlocked };
    let mut evaluated = match evaluator.ask("all").await? {
        Ok(answer) => evaluator.whole(answer)?,
        Err(output) => evaluator.failed(&output).await?,
    };
    if evaluated.runner.is_none() {
        return Err(Failure::host("nix evaluated no runner"));
    }
    let has_settings = nix.flags.accept_flake_config || target.flake().is_some_and(|flake| flake.has_settings());
    evaluated.applies_settings = has_settings && !evaluator.ignores_settings.get();
    evaluated.is_unlocked = evaluator.is_unlocked.get();
    Ok(evaluated)
}

/// The host's own system, or the package that a target is, and whether the flake's nixConfig was applied.
///
/// # Errors
/// As [`evaluate()`].
pub(super) async fn toplevel(target: &Target, nix: &Nix, events: &Events) -> Result<(Derivation, bool)> {
    events.doing(format!("evaluating {}", target.name()));
    let nix = &nix.clone().reading(target.source());
    let (ignores_settings, is_unlocked) = (Cell::new(false), Cell::new(false));
    let evaluator = Evaluator { target, nix, vm_only: false, events, ignores_settings, is_unlocked };
    let evaluated = match evaluator.ask("toplevel").await? {
        Ok(answer) => evaluator.whole(answer)?,
        Err(output) => evaluator.failed(&output).await?,
    };
    let has_settings = nix.flags.accept_flake_config || target.flake().is_some_and(|flake| flake.has_settings());
    let applies_settings = has_settings && !evaluator.ignores_settings.get();
    let toplevel = evaluated.toplevel.ok_or_else(|| {
        Failure::check(CheckId::BuildAttribute, format!("{} has no `system.build.toplevel`", target.name()))
    })?;
    Ok((toplevel, applies_settings))
}

/// The evaluations of a target, and what all of their logs say.
struct Evaluator<'a> {
    target: &'a Target,
    nix: &'a Nix,
    vm_only: bool,
    events: &'a Events,
    ignores_settings: Cell<bool>,
    is_unlocked: Cell<bool>,
}

impl Evaluator<'_> {
    async fn ask(&self, want: &str) -> Result<std::result::Result<MachineAnswer, NixOutput>> {
        let output = ask(self.target, self.nix, want, self.vm_only, self.events).await?;
        self.ignores_settings.set(self.ignores_settings.get() || output.log.ignores_settings);
        self.is_unlocked.set(self.is_unlocked.get() || output.log.is_unlocked);
        if output.status.success() { output.parsed().map(Ok) } else { Ok(Err(output)) }
    }

    fn failure(&self, output: &NixOutput) -> Failure {
        diagnosis::evaluation(&output.log, &self.target.source(), &self.target.name()).at(self.nix.log_path())
    }

    fn whole(&self, answer: MachineAnswer) -> Result<Evaluated> {
        if let Some(missing) = answer.missing {
            return Err(missing_failure(self.target, &missing));
        }
        let expectations = expectations::read(answer.expectations, &self.target.name(), self.events);
        Ok(Evaluated { runner: answer.runner, toplevel: answer.toplevel, expectations, ..Evaluated::default() })
    }

    /// What it means that nix failed: which part it was at says whose failure it is.
    async fn failed(&self, output: &NixOutput) -> Result<Evaluated> {
        let mut failure = self.failure(output);
        if diagnosis::is_host_failure(&failure) {
            return Err(failure);
        }
        if diagnosis::is_absent(&output.log) {
            if failure.hint.is_none() {
                failure.hint = choices(self.target, self.nix, self.events).await;
            }
            return Err(failure);
        }
        match output.log.part {
            Some(EvaluationPart::Toplevel) => Err(as_toplevel(failure)?),
            // What nix cannot catch (a type error, a missing attribute) where the expectations are read.
            Some(EvaluationPart::Expectations) => {
                expectations::unread(&failure.what, self.events);
                let answer = self.ask("build").await?.map_err(|output| self.failure(&output))?;
                self.whole(answer)
            }
            Some(EvaluationPart::Runner) | None => Err(self.of_variant(failure).await?),
        }
    }

    /// The failure of a runner. Settings that only the VM has may break a module's assertion, or conflict with one of the
    /// configuration's own: the host's own system has none of them, and tells.
    async fn of_variant(&self, failure: Failure) -> Result<Failure> {
        let why = failure.why.as_deref().unwrap_or_default();
        let is_of_settings = ["Failed assertions:", "conflicting definition values"].iter().any(|it| why.contains(it));
        if !is_of_settings || !self.ask("toplevel").await?.is_ok_and(|answer| answer.toplevel.is_some()) {
            return Ok(failure);
        }
        let name = self.target.name();
        let what = failure.what.strip_prefix(&format!("{name}: ")).unwrap_or(&failure.what);
        let what = format!("{name} evaluates, but its VM variant does not: {what}");
        let hint = "set in virtualisation.vmVariant what the VM needs, with lib.mkForce where it overrides: it changes the \
                    VM alone";
        Ok(Failure { exit: Exit::Unknown, what, ..failure }.hint(hint))
    }
}

/// The one evaluation, or a part of it.
async fn ask(target: &Target, nix: &Nix, want: &str, vm_only: bool, events: &Events) -> Result<NixOutput> {
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
        Target::File { attribute, .. } => argument("name", &components(attribute).join(".")),
        Target::Attribute { .. } => {
            if let Some(node) = target.unevaluated_node() {
                argument("name", node);
            }
        }
        Target::Configuration { .. } | Target::Runner { .. } => {}
    }
    let machine = format!("({MACHINE})\n{{ expectations = ({EXPECTATIONS}\n); {} }}", arguments.join(" "));
    match target {
        Target::Host { flake, .. } => {
            nix.eval(&flake.installable("nixosConfigurations"), &machine, flake.directory(), events).await
        }
        Target::Attribute { flake, .. } if let Some(node) = target.unevaluated_node() => {
            let nodes = systems(&[node.to_owned()]);
            let expression = format!("hive: ({machine}) ({nodes} hive)");
            nix.eval(&flake.installable("colmena"), &expression, flake.directory(), events).await
        }
        Target::File { file, attribute } => {
            let file = nix_string(&file.to_string_lossy());
            let systems = systems(&components(attribute));
            nix.eval_expression(&format!("({machine}) ({systems} (import (/. + {file})))"), events).await
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

/// The function that makes machines by name of what a file or a hive gives.
fn systems(path: &[String]) -> String {
    let path: Vec<String> = path.iter().map(|name| nix_string(name)).collect();
    format!("(({SYSTEM})\n{{ path = [ {} ]; }})", path.join(" "))
}

/// A string literal of the nix language.
pub(super) fn nix_string(text: &str) -> String {
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

/// A sentence on what could have been named instead; `None` when that is not known.
async fn choices(target: &Target, nix: &Nix, events: &Events) -> Option<String> {
    let flake = target.flake()?;
    let mut all = attribute_names(flake, "nixosConfigurations", nix, events).await.unwrap_or_default();
    all.extend(attribute_names(flake, &join(&["packages", &nix.system()]), nix, events).await.unwrap_or_default());
    let name = target.name();
    let typed = components(&name).pop().unwrap_or_default();
    (!all.is_empty()).then(|| format!("there are: {}", listed(&typed, &all)))
}

fn missing_failure(target: &Target, missing: &MissingAttribute) -> Failure {
    let name = target.name();
    let absent = |what: String| Failure::check(CheckId::BuildAttribute, what);
    let (failure, names) = match (missing.kind, target) {
        (MissingKind::Output, _) => {
            let output = match target {
                Target::Host { output, .. } => *output,
                _ => VmVariant::default(),
            };
            let import = match output {
                VmVariant::Vm | VmVariant::VmWithBootLoader => {
                    "import <nixpkgs/nixos/modules/virtualisation/build-vm.nix>, which NixOS does by itself"
                }
                VmVariant::VmWithDisko => "import disko's module, or leave --disks out: the VM has a plain disk then",
            };
            return absent(format!("{name} has no `system.build.{}`", output.attribute())).hint(import);
        }
        (MissingKind::Derivation, _) => {
            return absent(format!("{name} is neither a NixOS system nor a package"))
                .hint(format!("it has: {}", listed("", &missing.names)));
        }
        (MissingKind::Specialisation, Target::Host { name: host, specialisation: Some(wanted), .. }) => {
            // As they are to be typed.
            let names: Vec<String> = missing.names.iter().map(|special| format!("{host}@{special}")).collect();
            if wanted.is_empty() && !names.is_empty() {
                return Failure::usage(format!("{name} names no specialisation of {host}"))
                    .hint(format!("there are: {}", listed("", &names)));
            }
            (absent(format!("{host} has no specialisation {wanted}").trim_end().to_owned()), names)
        }
        (_, Target::File { file, .. }) => {
            (absent(format!("{} has no system {name}", file.display())), missing.names.clone())
        }
        _ => (absent(format!("the flake has no configuration {name}")), missing.names.clone()),
    };
    failure.hint(if names.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are: {}", listed(&name, &names))
    })
}

/// The same failure as one of the host's own system; what this host cannot do stays what it is.
pub(super) fn as_toplevel(failure: Failure) -> Result<Failure> {
    if diagnosis::is_host_failure(&failure) {
        return Err(failure);
    }
    let what = format!("system.build.toplevel: {}", failure.what);
    Ok(Failure { check: Some(CheckId::BuildToplevel), what, ..failure })
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
    fn answers_in_all_shapes() {
        let answer: MachineAnswer = serde_json::from_str(
            r#"{"runner":{"attr":["config"],"drv":"/nix/store/x.drv","out":null},"toplevel":null,"expectations":null}"#,
        )
        .unwrap();
        assert_eq!(answer.toplevel, None);
        assert_eq!(answer.runner.unwrap().attr, ["config"]);
        let answer: MachineAnswer = serde_json::from_str(
            r#"{"toplevel":{"attr":[],"drv":"/nix/store/x.drv","out":null},"missing":{"kind":"output","names":[]}}"#,
        )
        .unwrap();
        assert!(answer.toplevel.is_some());
        assert_eq!(answer.missing.unwrap().kind, MissingKind::Output);
        let answer: MachineAnswer = serde_json::from_str(r#"{"toplevel":null}"#).unwrap();
        assert!(answer.toplevel.is_none() && answer.missing.is_none());
    }
}
