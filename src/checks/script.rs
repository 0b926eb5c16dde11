//! What the guest was asked to run: `script.*`, `services.http`, `services.timers`.

use crate::config::{self, HttpSettings, ScriptSettings};
use crate::guest::facts::{HttpAnswer, JournalLine, ScriptOutcome, Unit};
use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::unit::{self, is_failed};
use crate::judging::{Finding, JudgeContext, Judgement, conclude, contention, plan, sandbox, text};
use crate::model::{CheckId, CheckResult, Excuse, Lack, NetworkPolicy, Status, Witness};
use crate::nix::STORE_DIR;

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    http(cx, out);
    timers(cx, out);
    for (name, script) in &cx.plan.scripts {
        let id = CheckId::script(name);
        let result = match (cx.now.scripts.get(name), cx.unknown(id, &["scripts"])) {
            (Some(outcome), _) => judge_script(cx, id, name, script, outcome),
            (None, Some(unknown)) => unknown,
            (None, None) => CheckResult::new(id, Status::Unknown, "the script was not run"),
        };
        out.results.push(result);
    }
}

/// Whether the reason why something could not be run is that it did not end in time, which is its own doing.
fn is_late(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["deadline", "timed out", "timeout", "in time", "too long"].iter().any(|words| error.contains(words))
}

/// Why an output is not what was expected.
fn mismatch(
    what: &str,
    text: &str,
    equals: Option<&str>,
    contains: Option<&str>,
    regex: Option<&str>,
) -> Option<String> {
    let shown = |text: &str| {
        let first: String = text.trim().lines().next().unwrap_or("").chars().take(120).collect();
        if text.trim().is_empty() { "nothing".to_owned() } else { format!("{:?}", text::clean(&first)) }
    };
    if let Some(expected) = equals
        && text.trim_end() != expected.trim_end()
    {
        return Some(format!("{what} is {}, expected {}", shown(text), shown(expected)));
    }
    if let Some(expected) = contains
        && !text.contains(expected)
    {
        return Some(format!("{what} does not contain {}: it is {}", shown(expected), shown(text)));
    }
    let pattern = regex?;
    match config::compile(pattern) {
        Ok(compiled) if compiled.is_match(text) => None,
        Ok(_) => Some(format!("{what} does not match {pattern:?}: it is {}", shown(text))),
        Err(_) => Some(format!("{pattern:?} is no regular expression")),
    }
}

/// What is wrong with how a script ended, if it ended by itself.
fn wrong_end(script: &ScriptSettings, outcome: &ScriptOutcome) -> Option<String> {
    if outcome.exit != script.exit.0 {
        let said = outcome.stderr.trim().lines().last().or(outcome.stdout.trim().lines().last());
        let said = said.map_or_else(String::new, |line| format!(": {line}"));
        return Some(format!("exit code {}, expected {}{said}", outcome.exit, script.exit.0));
    }
    let (equals, contains) = (script.equals.as_deref(), script.contains.as_deref());
    mismatch("stdout", &outcome.stdout, equals, contains, script.regex.as_deref())
}

/// Whether a script ended as it should, so that it need not be tried again.
pub fn is_as_expected(script: &ScriptSettings, outcome: &ScriptOutcome) -> bool {
    outcome.error.is_none() && wrong_end(script, outcome).is_none()
}

/// What is wrong with an answer, if there was one.
fn wrong_content(request: &HttpSettings, answer: &HttpAnswer) -> Option<String> {
    let fine = match request.status {
        Some(status) => answer.status == status.0,
        None => (200..400).contains(&answer.status),
    };
    if fine {
        return mismatch("the body", &answer.body, None, request.contains.as_deref(), request.regex.as_deref());
    }
    let expected = request.status.map_or_else(|| "200 to 399".to_owned(), |status| status.0.to_string());
    Some(format!("status {}, expected {expected}", answer.status))
}

/// Whether an answer is as it should be, so that the request need not be made again.
pub fn is_answered(request: &HttpSettings, answer: &HttpAnswer) -> bool {
    answer.status != 0 && wrong_content(request, answer).is_none()
}

fn judge_script(
    cx: &JudgeContext<'_>,
    id: CheckId,
    name: &str,
    script: &ScriptSettings,
    outcome: &ScriptOutcome,
) -> CheckResult {
    let output = || text::clean_all(outcome.stdout.lines().chain(outcome.stderr.lines()));
    let wrong = if let Some(error) = &outcome.error {
        if !is_late(error) {
            return CheckResult::new(id, Status::Unknown, text::clean(&format!("could not be run: {error}")));
        }
        let limit = script.deadline().as_secs_f64() * cx.context.scale();
        Some(format!("did not end within {}", text::seconds(limit)))
    } else {
        wrong_end(script, outcome)
    };
    let attempts = outcome.attempts.max(1);
    let mut result = match wrong {
        Some(wrong) => {
            let tries = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
            let finding = Finding::new(name, format!("{name}: {wrong}{tries}"))
                .detail(output())
                .evidence("exit", outcome.exit)
                .evidence("attempts", attempts)
                .time_limit(outcome.error.is_some().then(|| cx.since_boot()));
            conclude(cx, id, vec![finding], Vec::new(), String::new)
        }
        None => {
            let took = text::seconds(outcome.seconds);
            let tries = if attempts > 1 { format!(" at attempt {attempts}") } else { String::new() };
            CheckResult::new(id, Status::Pass, format!("as expected{tries}, {took}"))
        }
    };
    result.flaky = result.status == Status::Pass && attempts > 1;
    result.took(outcome.seconds)
}

fn http(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesHttp;
    if cx.plan.http.is_empty() {
        return;
    }
    let mut fails = Vec::new();
    let mut missing = None;
    for (name, request) in &cx.plan.http {
        match cx.now.http.get(name) {
            Some(answer) => fails.extend(wrong_answer(cx, name, request, answer, out)),
            None => missing = Some(name),
        }
    }
    let result = match missing.filter(|_| fails.is_empty()) {
        Some(name) => cx
            .unknown(id, &["http"])
            .unwrap_or_else(|| CheckResult::new(id, Status::Unknown, format!("the request {name:?} was not made"))),
        None => {
            let count = cx.plan.http.len();
            conclude(cx, id, fails, Vec::new(), || match count {
                1 => "the request was answered as expected".to_owned(),
                many => format!("all {many} requests were answered as expected"),
            })
        }
    };
    out.results.push(result);
}

fn wrong_answer(
    cx: &JudgeContext<'_>,
    name: &str,
    request: &HttpSettings,
    answer: &HttpAnswer,
    out: &mut Judgement,
) -> Option<Finding> {
    let url = request.url.0.as_str();
    let wrong = if answer.status == 0 {
        let error = answer.error.as_deref().unwrap_or("no answer");
        let host = cx.plan.expectations.host_name.as_deref();
        if cx.context.network == NetworkPolicy::Off && sandbox::shows_no_outside(error, host) {
            let why = format!("{url} is not reachable with --network off: \"{error}\"");
            out.exclude(&format!("request {name}"), Excuse::new(Lack::Outside, Witness::line(error), why));
            return None;
        }
        format!("no answer: {error}")
    } else {
        wrong_content(request, answer)?
    };
    let finding = Finding::new(name, format!("{name}: {} {url}: {wrong}", request.method.0))
        .detail(text::clean_all(answer.body.lines().take(6)))
        .evidence("status", answer.status)
        .evidence("url", url)
        .time_limit(answer.error.as_deref().is_some_and(is_late).then(|| cx.since_boot()));
    let Some(unit) = served_by(cx, url) else { return Some(finding) };
    let said = unit::error_line(&cx.now.journal, &unit.name).filter(|line| Meaning::SpeaksOfError.is_in(line));
    let finding = finding.detail(said.map(|line| text::clean(&format!("{}: {line}", unit.name))));
    Some(match cx.not_restarted(unit) {
        Some(hint) => finding.hint(hint),
        None => finding,
    })
}

/// The unit whose program listens on the port of a URL of this machine's.
fn served_by<'a>(cx: &JudgeContext<'a>, url: &str) -> Option<&'a Unit> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let named = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port: u16 = named.unwrap_or(if scheme == "https" { 443 } else { 80 });
    let listener = cx.now.listeners.iter().find(|listener| listener.port == port && !listener.process.is_empty())?;
    unit::running(cx.now, &listener.process).next()
}

fn timers(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesTimers;
    if cx.plan.timers.is_empty() {
        return;
    }
    let mut fails = Vec::new();
    let mut missing = None;
    let mut well = 0;
    for timer in &cx.plan.timers {
        let Some(outcome) = cx.now.timers.get(timer) else {
            missing = Some(timer);
            continue;
        };
        let service = plan::service_of(timer);
        let triggered = cx.now.units.iter().find(|unit| unit.triggered_by.contains(timer));
        let unit = triggered.or_else(|| cx.unit(&service));
        let name = unit.map_or(service.as_str(), |unit| unit.name.as_str());
        let failed = unit.is_some_and(is_failed);
        if outcome.exit == 0 && outcome.error.is_none() && !failed {
            well += 1;
            continue;
        }
        if let Some(unit) = unit
            && let Some(why) = sandbox::excuse(cx, unit)
        {
            out.exclude(name, why.through(format_args!("run for {timer}")));
            continue;
        }
        let how = match (unit.filter(|_| failed), &outcome.error) {
            (Some(unit), _) => format!(", failed: {}", unit::describe_failure(cx.now, unit)),
            (None, Some(error)) => match error.strip_prefix(name).and_then(|rest| rest.strip_prefix(" failed: ")) {
                Some(result) => format!(", failed: {}", describe_run(name, result, outcome)),
                None => format!(": {error}"),
            },
            (None, None) => {
                let said = outcome.stderr.trim().lines().last().map_or_else(String::new, |line| format!(": {line}"));
                format!(": could not be started, exit code {}{said}", outcome.exit)
            }
        };
        let mut lines = unit::tail(cx.now, name, 8);
        if lines.is_empty() {
            lines = text::clean_all(outcome.stderr.lines().chain(outcome.stdout.lines()));
        }
        let late = outcome.error.as_deref().is_some_and(is_late).then(|| cx.since_boot());
        let limit = unit.filter(|_| failed).and_then(|unit| contention::limit(cx.now, unit)).or(late);
        fails.push(
            Finding::new(timer, format!("{name}, run once for {timer}{how}"))
                .detail(lines)
                .evidence("timer", text::clean(timer))
                .evidence("exit", outcome.exit)
                .time_limit(limit),
        );
    }
    let result = match missing.filter(|_| fails.is_empty()) {
        Some(timer) => cx.unknown(id, &["timers"]).unwrap_or_else(|| {
            CheckResult::new(id, Status::Unknown, text::clean(&format!("the service of {timer} was not run")))
        }),
        None => conclude(cx, id, fails, Vec::new(), || format!("the services of all {well} timers succeeded")),
    };
    out.results.push(result);
}

/// How a service that was run ended, by its result and its lines in the journal:
/// `exit code 159: …/logrotate-start: line 3: Bad system call`.
fn describe_run(name: &str, result: &str, outcome: &ScriptOutcome) -> String {
    // A signal is told as a shell would.
    let words = match (result, outcome.exit) {
        ("exit-code", code) if code != 0 => format!("exit code {code}"),
        ("signal", code) if code > 128 => format!("killed by {}", unit::signal_name(code - 128)),
        ("core-dump", code) if code > 128 => format!("dumped core on {}", unit::signal_name(code - 128)),
        ("timeout", _) => "timed out".to_owned(),
        _ => format!("result {result}"),
    };
    // PID 1's lines name the unit.
    let own = outcome.stdout.lines().filter(|line| !line.contains(name));
    let own: Vec<JournalLine> = own
        .map(|line| JournalLine { unit: name.to_owned(), message: line.to_owned(), ..JournalLine::default() })
        .collect();
    match unit::error_line(&own, name) {
        Some(line) => format!("{words}: {}", without_directory(&line)),
        None => words,
    }
}

/// A line that begins with a program of the store without its directory, its words with one space between.
fn without_directory(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
    match first.rsplit_once('/') {
        Some((directory, program)) if directory.starts_with(STORE_DIR) => format!("…/{program}{rest}"),
        _ => line,
    }
}

#[cfg(test)]
mod tests;
