//! Many configurations of one flake: evaluated by one nix, and built by one.
//!
//! That a host is broken is its own affair. What nix can catch (`throw`, a failed assertion) leaves the others' answers
//! whole, and only the broken ones are asked for once more, for the words; what it cannot (a type error, no more memory)
//! ends the evaluation, and then each is asked for by itself. A build that fails takes down those that need it.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::StreamExt as _;
use serde::Deserialize;

use super::*;
use crate::resolve::{Flake, Member, Selection, Shard};

/// The expression that asks for many.
const MANY: &str = include_str!("many.nix");
/// Most evaluations at once, where each is by itself: one of a whole system takes a gigabyte or more.
const EVALUATIONS: usize = 4;

/// Which configurations are meant, as the user said.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Patterns (see [`Selection::new`]).
    pub globs: Vec<String>,
    /// Which part of what they let through.
    pub shard: Shard,
}

/// A configuration by its name alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Named {
    /// Which.
    #[serde(flatten)]
    pub member: Member,
    /// The system that it is for, such as `x86_64-linux`, where that was asked for and can be told.
    #[serde(default)]
    pub system: Option<String>,
}

/// Those that are meant, each with what was asked for.
#[derive(Debug, Default, Deserialize)]
pub struct Answers<T> {
    /// The names in `nixosConfigurations`, meant or not.
    pub hosts: Vec<String>,
    /// How many are meant, in all shards together.
    pub meant: usize,
    /// Those of this shard, by host and specialisation.
    pub members: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct One {
    #[serde(flatten)]
    member: Member,
    answer: Tried,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Tried {
    // First, as an answer without any part is one too.
    Failed {
        #[expect(dead_code, reason = "its presence is the answer")]
        failed: bool,
    },
    Answer(Box<Answered>),
}

/// The names of those that are meant, by what of them is cheap to evaluate.
///
/// # Errors
/// `build.eval`, `build.attribute` (exit 3), where the flake has no configurations that could be listed; what this host
/// could not do (exit 5).
pub async fn names(
    flake: &Flake,
    choice: &Choice,
    systems: bool,
    nix: &Nix,
    events: &Events,
) -> Result<Answers<Named>> {
    events.doing(format!("reading {}", flake.shown()));
    let mut arguments = vec!["want = \"names\";".to_owned()];
    if systems {
        arguments.push("systems = true;".to_owned());
    }
    let selection = [arguments.clone(), selected(choice)].concat();
    let answer = ask(flake, &selection, nix, events).await?;
    if answer.status.success() {
        return parsed(&answer);
    }
    // Without the specialisations it is the names of one attribute set.
    let hosts = crate::resolve::names(flake, "nixosConfigurations", nix, events).await?;
    if hosts.is_empty() {
        return Err(diagnosis::evaluation(&answer.log, &flake.source(), &flake.shown()).at(nix.log_path()));
    }
    let alone = hosts.iter().cloned().map(|host| {
        let arguments = [arguments.clone(), vec![format!("only = {};", nix_string(&host))]].concat();
        async move {
            let answer = ask(flake, &arguments, nix, events).await?;
            let itself = Named { member: Member { host, specialisation: None }, system: None };
            // It says why when it is evaluated.
            if answer.status.success() { Ok(parsed::<Named>(&answer)?.members) } else { Ok(vec![itself]) }
        }
    });
    let named: Vec<Result<Vec<Named>>> = futures_util::stream::iter(alone).buffered(evaluations()).collect().await;
    let mut named: BTreeMap<Member, Named> = named
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .concat()
        .into_iter()
        .map(|one| (one.member.clone(), one))
        .collect();
    let all: Vec<Member> = named.keys().cloned().collect();
    let meant = Selection::new(&choice.globs, Shard::default())?.of(all.clone()).len();
    let members = Selection::new(&choice.globs, choice.shard)?.of(all);
    Ok(Answers { hosts, meant, members: members.iter().filter_map(|member| named.remove(member)).collect() })
}

/// Evaluates all that are meant: one evaluation when all is well.
///
/// # Errors
/// What holds for the whole flake: it does not evaluate or has no configurations (exit 3), this host (exit 5).
pub async fn evaluate_many(
    flake: &Flake,
    choice: &Choice,
    nix: &Nix,
    vm_only: bool,
    events: &Events,
) -> Result<Answers<(Member, Result<Evaluated>)>> {
    events.doing(format!("evaluating {}", flake.shown()));
    let mut arguments = selected(choice);
    if vm_only {
        arguments.push("vmOnly = true;".to_owned());
    }
    let answer = ask(flake, &arguments, nix, events).await?;
    let has_settings = nix.flags.accept_flake_config || flake.has_settings();
    let all = Evaluated {
        applies_settings: has_settings && !answer.log.ignores_settings,
        is_unlocked: answer.log.is_unlocked,
        ..Evaluated::default()
    };
    let (hosts, meant, answered) = if answer.status.success() {
        let Answers { hosts, meant, members } = parsed::<One>(&answer)?;
        let members = members.into_iter().map(|one| clean(one, &all, events));
        (hosts, meant, members.collect::<Vec<_>>())
    } else {
        let failure = diagnosis::evaluation(&answer.log, &flake.source(), &flake.shown()).at(nix.log_path());
        if failure.exit == crate::model::Exit::Usage || diagnosis::is_absent(&answer.log) {
            return Err(failure);
        }
        // Where the names cannot be had either, it is nobody's own affair.
        let Answers { hosts, meant, members } = names(flake, choice, false, nix, events).await?;
        events.note("something in a configuration ends nix's evaluation as a whole: each was evaluated by itself");
        (hosts, meant, members.into_iter().map(|one| (one.member, None)).collect())
    };
    let asked = answered.into_iter().map(|(member, evaluated)| async move {
        let evaluated = match evaluated {
            Some(evaluated) => Ok(evaluated),
            None => evaluate(&Target::of(flake, &member), nix, vm_only, events).await,
        };
        (member, evaluated)
    });
    let members = futures_util::stream::iter(asked).buffered(evaluations()).collect().await;
    Ok(Answers { hosts, meant, members })
}

/// How many evaluations go on at once, where each is by itself.
fn evaluations() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(EVALUATIONS))
}

/// An answer in which nothing is wrong; `None` where it is to be asked for alone, which finds the words for it.
fn clean(one: One, all: &Evaluated, events: &Events) -> (Member, Option<Evaluated>) {
    let One { member, answer } = one;
    let Tried::Answer(answered) = answer else { return (member, None) };
    let Answered { missing: None, runner: Some(runner), toplevel, expectations } = *answered else {
        return (member, None);
    };
    let toplevel = match toplevel {
        None => None,
        Some(Caught::Value(toplevel)) => Some(toplevel),
        Some(Caught::Failed { .. }) => return (member, None),
    };
    let expectations = match expectations {
        Some(value) if value.get("failed").is_some() => {
            events.note(format!("{member}: what the configuration expects could not be read: it throws"));
            Expectations::default()
        }
        Some(value) => read_promises(value, events),
        None => Expectations::default(),
    };
    let evaluated = Evaluated { runner: Some(runner), toplevel, expectations, ..all.clone() };
    (member, Some(evaluated))
}

fn parsed<T: serde::de::DeserializeOwned>(answer: &command::Answer) -> Result<Answers<T>> {
    serde_json::from_slice(&answer.stdout).map_err(|error| command::unreadable(answer, &error))
}

/// The arguments that say which are meant.
fn selected(choice: &Choice) -> Vec<String> {
    let expressions: Vec<String> =
        Selection::expressions(&choice.globs).iter().map(|expression| nix_string(expression)).collect();
    vec![
        format!("filters = [ {} ];", expressions.join(" ")),
        format!("part = {}; parts = {};", choice.shard.part - 1, choice.shard.of),
    ]
}

async fn ask(flake: &Flake, arguments: &[String], nix: &Nix, events: &Events) -> Result<command::Answer> {
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
    // tells of a limited number of failures at once, and gives no roots where there was any.
    let mut round = 0;
    while !left.is_empty() {
        events.doing(match left.as_slice() {
            [(_, target, _)] => format!("building {}", target.name()),
            several => format!("building {} configurations", several.len()),
        });
        let root = run_directory.join(if round == 0 { ROOT.to_owned() } else { format!("{ROOT}-{round}-more") });
        round += 1;
        let made = make(&left, nix, &root, events).await?;
        let all = left.len();
        let mut good = Vec::new();
        let causes = diagnosis::causes(&made.answer.log);
        for (index, target, evaluated) in std::mem::take(&mut left) {
            if made.answer.status.success() {
                done.insert(index, made.built(&target, evaluated, nix, &root));
            } else if let Some(failure) = blame(&target, &evaluated, &causes, &made.answer.log, nix).await {
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
            let failure = if causes.is_empty() {
                diagnosis::derivation(&made.answer.log, &target.source(), &target.name(), None)
            } else {
                Failure::host(format!("nix did not build {}, and does not say why", target.name()))
            };
            done.insert(index, Err(failure.at(nix.log_path())));
        }
    }
    Ok(done.into_values().collect())
}

/// One build of several.
struct Made {
    answer: command::Answer,
    /// The numbers of what was built, by derivation.
    numbers: BTreeMap<String, usize>,
    by_name: bool,
}

async fn make(members: &[(usize, Target, Evaluated)], nix: &Nix, root: &Path, events: &Events) -> Result<Made> {
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
    let answer = if by_name {
        let directory = members.iter().find_map(|(_, target, _)| target.flake()?.directory());
        nix.build_installables(&installables, root, directory, events).await?
    } else {
        nix.realise(&paths, root, events).await?
    };
    Ok(Made { answer, numbers, by_name })
}

/// The runner and the host's own system.
fn derivations(evaluated: &Evaluated) -> impl Iterator<Item = &Derivation> {
    evaluated.runner.iter().chain(&evaluated.toplevel)
}

impl Made {
    fn built(&self, target: &Target, evaluated: Evaluated, nix: &Nix, root: &Path) -> Result<Built> {
        let out = |derivation: &Derivation| {
            let number = self.numbers.get(&derivation.drv_path).copied().unwrap_or(0);
            // `nix-store` counts the roots after the first from 2, `nix build` from 1.
            match (number, self.by_name) {
                (0, _) => output(derivation, root, &[]),
                (number, true) => output(derivation, root, &[&number.to_string()]),
                (number, false) => output(derivation, root, &[&(number + 1).to_string()]),
            }
        };
        let Evaluated { runner, toplevel, expectations, .. } = evaluated;
        let Some(runner) = runner else { return Err(Failure::host("there is nothing to build")) };
        let toplevel_out = toplevel.as_ref().and_then(out);
        let runner_out = out(&runner);
        let toplevel_drv = toplevel.map(|toplevel| toplevel.drv_path);
        let mut built = made(target, runner, runner_out, expectations, nix)?;
        (built.toplevel, built.toplevel_drv) = (toplevel_out, toplevel_drv);
        Ok(built)
    }
}

/// Why one of several was not built, where one of these causes is why.
async fn blame(
    target: &Target,
    evaluated: &Evaluated,
    causes: &[diagnosis::Cause],
    log: &log::Log,
    nix: &Nix,
) -> Option<Failure> {
    for (derivation, is_toplevel) in
        evaluated.runner.iter().map(|d| (d, false)).chain(evaluated.toplevel.iter().map(|d| (d, true)))
    {
        let is_there = |out: &String| store_of(Path::new(out), nix).contains(Path::new(out));
        if causes.is_empty() || derivation.out_path.as_ref().is_some_and(is_there) {
            continue;
        }
        let needed = nix.requisites(&derivation.drv_path).await;
        if let Some(cause) = causes.iter().find(|cause| needed.contains(&cause.drv)) {
            let failure = diagnosis::derivation(log, &target.source(), &target.name(), Some(cause)).at(nix.log_path());
            // What this host cannot do is no failure of the system's.
            return Some(if is_toplevel { as_toplevel(failure).unwrap_or_else(|failure| failure) } else { failure });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Vec<(Member, Option<Evaluated>)> {
        let answers: Answers<One> = serde_json::from_str(text).unwrap();
        answers.members.into_iter().map(|one| clean(one, &Evaluated::default(), &Events::silent())).collect()
    }

    #[test]
    fn one_broken_host_does_not_hide_the_others() {
        let runner = r#""runner":{"attr":[],"drv":"/nix/store/a.drv","out":"/nix/store/a"}"#;
        let text = format!(
            r#"{{"hosts":["a"],"meant":5,"members":[
                {{"host":"a","specialisation":null,"answer":{{{runner},"toplevel":null,"expectations":{{"known":true}}}}}},
                {{"host":"a","specialisation":"s","answer":{{"failed":true}}}},
                {{"host":"b","specialisation":null,"answer":{{{runner},"toplevel":{{"failed":true}},"expectations":null}}}},
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
        let text = r#"{"hosts":[],"meant":2,"members":[{"host":"a","specialisation":"x","system":"x86_64-linux"},{"host":"b","specialisation":null}]}"#;
        let answers: Answers<Named> = serde_json::from_str(text).unwrap();
        let told: Vec<_> = answers.members.iter().map(|one| (one.member.to_string(), one.system.as_deref())).collect();
        assert_eq!(told, [("a@x".to_owned(), Some("x86_64-linux")), ("b".to_owned(), None)]);
    }

    #[test]
    fn what_is_meant_is_said_in_nix() {
        let choice = Choice { globs: vec!["we?*".to_owned(), "a.b".to_owned()], shard: "2/3".parse().unwrap() };
        assert_eq!(selected(&choice), [r#"filters = [ "we..*" "a\\.b" ];"#, "part = 1; parts = 3;"]);
    }
}
