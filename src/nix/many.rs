//! Many configurations of one flake: evaluated by one nix, and built by one.
//!
//! That one host is broken is no failure of the others. What nix can catch (`throw`, a failed assertion) leaves the others' answers
//! whole, and only the broken ones are asked for once more, for the words; what it cannot (a type error, no more memory)
//! ends the evaluation, and then each is asked for by itself. A build that fails takes down those that need it.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::StreamExt as _;
use serde::Deserialize;

use super::attributes::attribute_names;
use super::build::{ROOT, built_runner, out_path};
use super::command::{Nix, NixOutput, OnFailure};
use super::diagnosis::{self, FailedDerivation};
use super::evaluate::{EXPECTATIONS, MACHINE, MachineAnswer, TryEval, as_toplevel, evaluate, nix_string};
use super::filter::{ConfigurationFilter, ConfigurationName};
use super::flake::Flake;
use super::log::NixLog;
use super::store::Store;
use super::target::Target;
use super::{Built, Derivation, Evaluated, expectations};
use crate::event::Events;
use crate::failure::{Failure, Result};

/// The expression that asks for many.
const MANY: &str = include_str!("many.nix");
/// Most evaluations at once, where each is by itself: one of a whole system takes a gigabyte or more.
const EVALUATIONS: usize = 4;

/// A configuration by its name alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ListedConfiguration {
    /// Which.
    #[serde(flatten)]
    pub name: ConfigurationName,
    /// The system that it is for, such as `x86_64-linux`, where that was asked for and is known.
    #[serde(default)]
    pub system: Option<String>,
}

/// The configurations that a filter lets through, each with what was asked for.
#[derive(Debug, Default, Deserialize)]
pub struct MatchedConfigurations<T> {
    /// The names in `nixosConfigurations`, whether they match or not.
    pub hosts: Vec<String>,
    /// How many match, in all shards together.
    pub total: usize,
    /// Those of this shard, by host and specialisation.
    pub members: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct ConfigurationAnswer {
    #[serde(flatten)]
    name: ConfigurationName,
    answer: TryEval<Box<MachineAnswer>>,
}

/// The names of those that match, which is cheap to evaluate.
///
/// # Errors
/// `build.eval`, `build.attribute` (exit 3), where the flake has no configurations that could be listed; what this host
/// could not do (exit 5).
pub async fn names(
    flake: &Flake,
    filter: &ConfigurationFilter,
    systems: bool,
    nix: &Nix,
    events: &Events,
) -> Result<MatchedConfigurations<ListedConfiguration>> {
    events.doing(format!("reading {}", flake.shown()));
    let mut arguments = vec!["want = \"names\";".to_owned()];
    if systems {
        arguments.push("systems = true;".to_owned());
    }
    let selection = [arguments.clone(), selected(filter)].concat();
    let output = ask(flake, &selection, nix, events).await?;
    if output.status.success() {
        return output.parsed();
    }
    // Without the specialisations it is the names of one attribute set.
    let hosts = attribute_names(flake, "nixosConfigurations", nix, events).await?;
    if hosts.is_empty() {
        return Err(diagnosis::evaluation(&output.log, &flake.source(), &flake.shown()).at(nix.log_path()));
    }
    let alone = hosts.iter().cloned().map(|host| {
        let arguments = [arguments.clone(), vec![format!("only = {};", nix_string(&host))]].concat();
        async move {
            let output = ask(flake, &arguments, nix, events).await?;
            let itself = ListedConfiguration { name: ConfigurationName { host, specialisation: None }, system: None };
            // It says why when it is evaluated.
            if output.status.success() {
                Ok(output.parsed::<MatchedConfigurations<ListedConfiguration>>()?.members)
            } else {
                Ok(vec![itself])
            }
        }
    });
    let listed: Vec<Result<Vec<ListedConfiguration>>> =
        futures_util::stream::iter(alone).buffered(evaluations()).collect().await;
    let listed = listed.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let matching = filter.matching(listed, |one| &one.name)?;
    Ok(MatchedConfigurations { hosts, total: matching.len(), members: filter.shard.part_of(matching) })
}

/// Evaluates all that match: one evaluation when all is well.
///
/// # Errors
/// What holds for the whole flake: it does not evaluate or has no configurations (exit 3), this host (exit 5).
pub async fn evaluate_many(
    flake: &Flake,
    filter: &ConfigurationFilter,
    nix: &Nix,
    vm_only: bool,
    events: &Events,
) -> Result<MatchedConfigurations<(ConfigurationName, Result<Evaluated>)>> {
    events.doing(format!("evaluating {}", flake.shown()));
    let nix = &nix.clone().reading(flake.source());
    let mut arguments = selected(filter);
    if vm_only {
        arguments.push("vmOnly = true;".to_owned());
    }
    let output = ask(flake, &arguments, nix, events).await?;
    let has_settings = nix.flags.accept_flake_config || flake.has_settings();
    let all = Evaluated {
        applies_settings: has_settings && !output.log.ignores_settings,
        is_unlocked: output.log.is_unlocked,
        ..Evaluated::default()
    };
    let (hosts, total, answered) = if output.status.success() {
        let MatchedConfigurations { hosts, total, members } =
            output.parsed::<MatchedConfigurations<ConfigurationAnswer>>()?;
        let members = members.into_iter().map(|one| clean(one, &all, events));
        (hosts, total, members.collect::<Vec<_>>())
    } else {
        let failure = diagnosis::evaluation(&output.log, &flake.source(), &flake.shown()).at(nix.log_path());
        if failure.exit == crate::model::Exit::Usage || diagnosis::is_absent(&output.log) {
            return Err(failure);
        }
        // Where the names cannot be evaluated either, it is the whole flake that fails.
        let MatchedConfigurations { hosts, total, members } = names(flake, filter, false, nix, events).await?;
        events.note("something in one configuration aborts nix's whole evaluation: each was evaluated separately");
        (hosts, total, members.into_iter().map(|one| (one.name, None)).collect())
    };
    let asked = answered.into_iter().map(|(name, evaluated)| async move {
        let evaluated = match evaluated {
            Some(evaluated) => Ok(evaluated),
            None => evaluate(&Target::of(flake, &name), nix, vm_only, events).await,
        };
        (name, evaluated)
    });
    let members = futures_util::stream::iter(asked).buffered(evaluations()).collect().await;
    Ok(MatchedConfigurations { hosts, total, members })
}

/// How many evaluations go on at once, where each is by itself.
fn evaluations() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(EVALUATIONS))
}

/// An answer in which nothing is wrong; `None` where it is to be asked for alone, which finds the words for it.
fn clean(one: ConfigurationAnswer, all: &Evaluated, events: &Events) -> (ConfigurationName, Option<Evaluated>) {
    let ConfigurationAnswer { name, answer } = one;
    let TryEval::Value(answer) = answer else { return (name, None) };
    let MachineAnswer { missing: None, runner: Some(runner), toplevel, expectations } = *answer else {
        return (name, None);
    };
    let expectations = expectations::read(expectations, &name.to_string(), events);
    let evaluated = Evaluated { runner: Some(runner), toplevel, expectations, ..all.clone() };
    (name, Some(evaluated))
}

/// The arguments that say which are asked for.
fn selected(filter: &ConfigurationFilter) -> Vec<String> {
    let expressions: Vec<String> = filter.expressions().iter().map(|expression| nix_string(expression)).collect();
    vec![
        format!("filters = [ {} ];", expressions.join(" ")),
        format!("part = {}; parts = {};", filter.shard.part - 1, filter.shard.of),
    ]
}

async fn ask(flake: &Flake, arguments: &[String], nix: &Nix, events: &Events) -> Result<NixOutput> {
    let given = format!("machine = ({MACHINE}\n); expectations = ({EXPECTATIONS}\n);");
    let expression = format!("({MANY}\n)\n{{ {given} {} }}", arguments.join(" "));
    nix.eval(&flake.installable("nixosConfigurations"), &expression, flake.directory(), events).await
}

/// Builds all that were evaluated, as far as each can be built. The roots lie in `run_directory`, and go with it.
///
/// Answers in the order of `members`; with each that fails the derivation that failed and the end of its log.
///
/// # Errors
/// When nix could not be run.
pub async fn build_many(
    members: Vec<(Target, Evaluated)>,
    nix: &Nix,
    run_directory: &Path,
    events: &Events,
) -> Result<Vec<Result<Built>>> {
    let mut done: BTreeMap<usize, Result<Built>> = BTreeMap::new();
    let numbered = members.into_iter().enumerate();
    let mut left: Vec<(usize, Target, Evaluated)> = numbered.map(|(index, (target, of))| (index, target, of)).collect();
    // Each round but the last finds out at least one that does not build. Most often there is one round, or two: nix
    // reports a limited number of failures at once, and gives no roots where there was any.
    let mut round = 0;
    while !left.is_empty() {
        events.doing(match left.as_slice() {
            [(_, target, _)] => format!("building {}", target.name()),
            several => format!("building {} configurations", several.len()),
        });
        let root = run_directory.join(if round == 0 { ROOT.to_owned() } else { format!("{ROOT}-{round}-more") });
        round += 1;
        let batch = BatchBuild::run(&left, nix, &root, events).await?;
        let all = left.len();
        let mut good = Vec::new();
        let failed = diagnosis::failed_derivations(&batch.output.log);
        for (index, target, evaluated) in std::mem::take(&mut left) {
            if batch.output.status.success() {
                done.insert(index, batch.built(&target, evaluated, nix, &root));
            } else if let Some(failure) = blame(&target, &evaluated, &failed, &batch.output.log, nix).await {
                done.insert(index, Err(failure));
            } else {
                good.push((index, target, evaluated));
            }
        }
        if good.len() < all {
            left = good;
            continue;
        }
        // Nothing that is needed failed by itself: it is nix, or this host.
        for (index, target, _) in good {
            let failure = if failed.is_empty() {
                diagnosis::derivation(&batch.output.log, &target.source(), &target.name(), None)
            } else {
                Failure::host(format!("nix did not build {} and does not say why", target.name()))
            };
            done.insert(index, Err(failure.at(nix.log_path())));
        }
    }
    Ok(done.into_values().collect())
}

/// One build of several.
struct BatchBuild {
    output: NixOutput,
    /// The numbers of what was built, by derivation.
    numbers: BTreeMap<String, usize>,
    by_name: bool,
}

/// The runner and the host's own system.
fn derivations(evaluated: &Evaluated) -> impl Iterator<Item = &Derivation> {
    evaluated.runner.iter().chain(&evaluated.toplevel)
}

impl BatchBuild {
    async fn run(members: &[(usize, Target, Evaluated)], nix: &Nix, root: &Path, events: &Events) -> Result<Self> {
        let by_name = members.iter().any(|(_, _, evaluated)| evaluated.applies_settings);
        let (mut numbers, mut paths, mut installables) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (_, target, evaluated) in members {
            for derivation in derivations(evaluated) {
                // A host and its specialisations share the host's own system.
                if numbers.contains_key(&derivation.drv_path) {
                    continue;
                }
                numbers.insert(derivation.drv_path.clone(), paths.len());
                paths.push(derivation.drv_path.as_str());
                installables.extend(target.installable(&derivation.attr));
            }
        }
        let output = if by_name {
            let directory = members.iter().find_map(|(_, target, _)| target.flake()?.directory());
            nix.build_installables(&installables, root, OnFailure::GoOn, directory, events).await?
        } else {
            nix.realise(&paths, root, OnFailure::GoOn, events).await?
        };
        Ok(Self { output, numbers, by_name })
    }

    fn built(&self, target: &Target, evaluated: Evaluated, nix: &Nix, root: &Path) -> Result<Built> {
        let out = |derivation: &Derivation| {
            let number = self.numbers.get(&derivation.drv_path).copied().unwrap_or(0);
            // `nix-store` counts the roots after the first from 2, `nix build` from 1.
            match (number, self.by_name) {
                (0, _) => out_path(derivation, root, &[]),
                (number, true) => out_path(derivation, root, &[&number.to_string()]),
                (number, false) => out_path(derivation, root, &[&(number + 1).to_string()]),
            }
        };
        let Evaluated { runner, toplevel, expectations, .. } = evaluated;
        let Some(runner) = runner else { return Err(Failure::host("there is nothing to build")) };
        let toplevel_out = toplevel.as_ref().and_then(out);
        let runner_out = out(&runner);
        let toplevel_drv = toplevel.map(|toplevel| toplevel.drv_path);
        let mut built = built_runner(target, runner, runner_out, expectations, nix)?;
        (built.toplevel, built.toplevel_drv) = (toplevel_out, toplevel_drv);
        Ok(built)
    }
}

/// Why one of several was not built, where one of these is why.
async fn blame(
    target: &Target,
    evaluated: &Evaluated,
    failed: &[FailedDerivation],
    log: &NixLog,
    nix: &Nix,
) -> Option<Failure> {
    for (derivation, is_toplevel) in
        evaluated.runner.iter().map(|d| (d, false)).chain(evaluated.toplevel.iter().map(|d| (d, true)))
    {
        let exists = |out: &Path| Store::of(out, nix).contains(out);
        if failed.is_empty() || derivation.out_path.as_ref().map(Path::new).is_some_and(exists) {
            continue;
        }
        let needed = nix.requisites(&derivation.drv_path).await;
        if let Some(one) = failed.iter().find(|one| needed.contains(&one.drv)) {
            let failure = diagnosis::derivation(log, &target.source(), &target.name(), Some(one)).at(nix.log_path());
            // What this host cannot do is no failure of its toplevel.
            return Some(if is_toplevel { as_toplevel(failure).unwrap_or_else(|failure| failure) } else { failure });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Vec<(ConfigurationName, Option<Evaluated>)> {
        let answers: MatchedConfigurations<ConfigurationAnswer> = serde_json::from_str(text).unwrap();
        answers.members.into_iter().map(|one| clean(one, &Evaluated::default(), &Events::silent())).collect()
    }

    #[test]
    fn one_broken_host_does_not_hide_the_others() {
        let runner = r#""runner":{"attr":[],"drv":"/nix/store/a.drv","out":"/nix/store/a"}"#;
        let text = format!(
            r#"{{"hosts":["a"],"total":5,"members":[
                {{"host":"a","specialisation":null,"answer":{{{runner},"toplevel":null,"expectations":{{"known":true}}}}}},
                {{"host":"a","specialisation":"s","answer":{{"failed":true}}}},
                {{"host":"b","specialisation":null,"answer":{{"failed":true}}}},
                {{"host":"c","specialisation":null,"answer":{{"missing":{{"kind":"output","names":[]}}}}}},
                {{"host":"d","specialisation":null,"answer":{{{runner},"toplevel":null,"expectations":{{"failed":true}}}}}}]}}"#
        );
        let answers = answers(&text);
        let known: Vec<_> = answers
            .iter()
            .map(|(member, evaluated)| {
                (member.to_string(), evaluated.as_ref().map(|evaluated| evaluated.expectations.known))
            })
            .collect();
        let expected = [("a", Some(true)), ("a@s", None), ("b", None), ("c", None), ("d", Some(false))];
        assert_eq!(known, expected.map(|(name, known)| (name.to_owned(), known)));
    }

    #[test]
    fn names_with_and_without_a_system() {
        let text = r#"{"hosts":[],"total":2,"members":[{"host":"a","specialisation":"x","system":"x86_64-linux"},{"host":"b","specialisation":null}]}"#;
        let answers: MatchedConfigurations<ListedConfiguration> = serde_json::from_str(text).unwrap();
        let listed: Vec<_> = answers.members.iter().map(|one| (one.name.to_string(), one.system.as_deref())).collect();
        assert_eq!(listed, [("a@x".to_owned(), Some("x86_64-linux")), ("b".to_owned(), None)]);
    }

    #[test]
    fn a_filter_is_passed_to_nix() {
        let filter =
            ConfigurationFilter { globs: vec!["we?*".to_owned(), "a.b".to_owned()], shard: "2/3".parse().unwrap() };
        assert_eq!(selected(&filter), [r#"filters = [ "we..*" "a\\.b" ];"#, "part = 1; parts = 3;"]);
    }
}
