//! What a session has of sound: the card, the servers' units, processes, journal, and what the server answers.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::card::{card, processes};
use super::facts::{AudioFacts, ServerState};
use super::journal::{AudioJournalMeaning, mentions_refusal};
use super::server::{self, SoundServer};
use super::session::AudioSession;
use crate::guest::facts::JournalLine;
use crate::guest::{Error, Guest, journal};
use crate::idle::IdleDetector;
use crate::judging::journal::Means as _;
use crate::model::timeouts::audio::{ANSWER_LIMIT, REST, REST_INTERVAL, REST_LIMIT, SINK_INTERVAL, SINK_LIMIT};
use crate::nix::expectations::ExpectedAudio;
use crate::text::bounded;

/// Most bytes of the journal.
const JOURNAL: usize = 8 << 20;
/// Most journal lines.
const LINES: usize = 400;
/// Most lines of programs that were refused.
const REFUSED: usize = 32;

/// Prints the sockets to which a login's environment, as NixOS writes it, sends the clients of PulseAudio, and that are not
/// there.
const PULSE_SERVER: &str = r#"for F in /etc/pam/environment /etc/set-environment; do
 [ -r "$F" ] && sed -n 's/^ *\(export \)\{0,1\}PULSE_SERVER[ =].*unix:\(\/[^"@$ ]*\).*/\2/p' "$F"
done | while read -r S; do [ -S "$S" ] || echo "$S"; done"#;

/// Observes sound in this session. `scale`: how much slower than hardware virtualisation the guest is.
pub(super) async fn observe(
    guest: &Guest,
    session: &AudioSession,
    expected: &ExpectedAudio,
    server: &dyn SoundServer,
    scale: f64,
) -> AudioFacts {
    let answer = ANSWER_LIMIT.mul_f64(scale);
    let mut facts = AudioFacts {
        user: session.user.clone(),
        uid: session.uid,
        session: session.kind,
        off_seat: session.off_seat.clone(),
        ..AudioFacts::default()
    };
    match card(guest, session, answer).await {
        Ok(card) => facts.card = card,
        Err(error) => gap(&mut facts, "card", &error),
    }
    session_started(guest, session, answer).await;
    let limit = Instant::now() + SINK_LIMIT.mul_f64(scale);
    server_answered(guest, session, server, answer, limit, &mut facts).await;
    if lacks_sink(&facts) && rests(guest, answer).await {
        // Once more, as it is now.
        server_answered(guest, session, server, answer, Instant::now(), &mut facts).await;
        facts.rested = lacks_sink(&facts);
    }
    if let Some(script) = server.first_client(expected) {
        drop(session.run(guest, script, answer).await);
    }
    let units: BTreeSet<String> = server::units().map(str::to_owned).collect();
    let lines = journal::desktop_command(&[], &[session.uid], LINES);
    let (manager, processes, journal, no_socket) = tokio::join!(
        guest.user_manager((session.uid, session.gid), &units, answer),
        processes(guest, answer),
        guest.shell().ask(&lines, answer, JOURNAL),
        session.run(guest, PULSE_SERVER, answer),
    );
    // Without an answer nothing is said of it.
    facts.no_socket = no_socket.ok().and_then(|output| no_socket_in(&String::from_utf8_lossy(&output.stdout)));
    match manager {
        Ok(manager) => facts.units = manager.units.into_iter().filter(|unit| units.contains(&unit.name)).collect(),
        Err(error) => gap(&mut facts, "units", &error),
    }
    match processes {
        Ok(processes) => facts.processes = processes,
        Err(error) => gap(&mut facts, "processes", &error),
    }
    match journal {
        Ok(output) => {
            let all = journal::parse(&String::from_utf8_lossy(&output.stdout));
            let is_own =
                |line: &JournalLine| units.contains(&line.unit) || AudioJournalMeaning::NoRealtime.is_in(&line.message);
            let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_own);
            facts.journal = own;
            let refused = |line: &JournalLine| !line.unit.is_empty() && mentions_refusal(&line.message);
            facts.refused = others.into_iter().filter(refused).take(REFUSED).collect();
        }
        Err(error) => gap(&mut facts, "journal", &error),
    }
    facts
}

fn no_socket_in(printed: &str) -> Option<String> {
    printed.lines().next().filter(|path| path.starts_with('/')).map(|path| bounded(path, 200))
}

fn gap(facts: &mut AudioFacts, what: &str, error: &Error) {
    facts.gaps.insert(what.to_owned(), error.to_string());
}

/// What the server says of itself now.
///
/// # Errors
/// It does not answer in time, or the guest has nothing to ask it with.
pub(super) async fn query(
    guest: &Guest,
    session: &AudioSession,
    server: &dyn SoundServer,
    patience: Duration,
) -> Result<ServerState, Error> {
    let (program, script) = server.profile().query;
    let output = session.run(guest, script, patience).await?;
    if output.timed_out {
        return Err(Error::Deadline(format!("no answer within {:.0} s", patience.as_secs_f64())));
    }
    match output.exit {
        0 => {
            let text = String::from_utf8_lossy(&output.stdout);
            let documents = serde_json::Deserializer::from_str(&text).into_iter().map_while(Result::ok);
            Ok(server.read(&documents.collect::<Vec<Value>>()))
        }
        127 => Err(Error::Lacks(program.to_owned())),
        _ => Err(Error::Deadline(bounded(String::from_utf8_lossy(&output.stderr).trim(), 300))),
    }
}

/// Waits until what the session starts has started: it may still set volumes.
async fn session_started(guest: &Guest, session: &AudioSession, patience: Duration) {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if guest.user_manager_has_started((session.uid, session.gid), patience).await.is_ok_and(|started| started) {
            return;
        }
        sleep(SINK_INTERVAL).await;
    }
}

/// Whether the server answers and has made no sink of a card that is there.
fn lacks_sink(facts: &AudioFacts) -> bool {
    facts.card.driven && facts.server.is_some() && facts.sink().is_none_or(|sink| sink.null)
}

/// Whether the guest comes to rest where nobody asks it anything but that: whoever would make a sink then is not just late.
async fn rests(guest: &Guest, patience: Duration) -> bool {
    let deadline = Instant::now() + REST_LIMIT;
    let mut idle = IdleDetector::probed();
    while Instant::now() < deadline {
        if idle.observe(guest.cpu_time(patience).await.ok()) >= REST {
            return true;
        }
        sleep(REST_INTERVAL).await;
    }
    false
}

/// Queries the server until it has a sink: its socket may start it, and a session manager makes the sinks when it has
/// found the cards.
async fn server_answered(
    guest: &Guest,
    session: &AudioSession,
    server: &dyn SoundServer,
    patience: Duration,
    deadline: Instant,
    facts: &mut AudioFacts,
) {
    loop {
        (facts.server, facts.no_answer) = match query(guest, session, server, patience).await {
            Ok(state) => (Some(state), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let observation = SinkObservation {
            answers: facts.server.is_some(),
            has_sink: facts.sink().is_some_and(|sink| !sink.null),
            has_card: facts.card.driven,
            timed_out: Instant::now() >= deadline,
        };
        if decide(&observation) == SinkStep::Judge {
            return;
        }
        sleep(SINK_INTERVAL).await;
    }
}

/// What is known of a server that may not have its sinks yet.
struct SinkObservation {
    answers: bool,
    /// Its default sink is no null sink.
    has_sink: bool,
    /// The kernel has a card of which a sink could be made.
    has_card: bool,
    timed_out: bool,
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
enum SinkStep {
    /// Query it again.
    Wait,
    /// Take it as it is.
    Judge,
}

fn decide(observation: &SinkObservation) -> SinkStep {
    let SinkObservation { answers, has_sink, has_card, timed_out } = *observation;
    if has_sink || timed_out || answers && !has_card { SinkStep::Judge } else { SinkStep::Wait }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_sink_is_waited_for_where_there_can_be_one() {
        let (wait, judge) = (SinkStep::Wait, SinkStep::Judge);
        let table = [
            ((false, false, true, false), &wait),
            ((true, false, true, false), &wait),
            ((true, true, true, false), &judge),
            // Without a card it only has to answer.
            ((false, false, false, false), &wait),
            ((true, false, false, false), &judge),
            ((false, false, true, true), &judge),
            ((true, false, true, true), &judge),
        ];
        for ((answers, has_sink, has_card, timed_out), step) in table {
            let observation = SinkObservation { answers, has_sink, has_card, timed_out };
            assert_eq!(decide(&observation), *step, "{answers} {has_sink} {has_card} {timed_out}");
        }
    }

    #[test]
    fn where_clients_of_pulseaudio_are_sent() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("native");
        let _listener = UnixListener::bind(&here).unwrap();
        let asked = |line: &str| {
            let file = dir.path().join("environment");
            std::fs::write(&file, format!("PATH DEFAULT=\"/bin\"\n{line}\n")).unwrap();
            let script = PULSE_SERVER.replace("/etc/pam/environment", &file.display().to_string());
            let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
            no_socket_in(&String::from_utf8(output.stdout).unwrap())
        };
        let gone = "/run/user/999999/pulse/native";
        assert_eq!(asked(&format!("PULSE_SERVER   DEFAULT=\"unix:{gone}\"")).as_deref(), Some(gone));
        assert_eq!(asked(&format!("export PULSE_SERVER=\"unix:{gone}\"")).as_deref(), Some(gone));
        for fine in [
            format!("PULSE_SERVER DEFAULT=\"unix:{}\"", here.display()),
            "PULSE_SERVER DEFAULT=\"unix:@{XDG_RUNTIME_DIR}/pulse/native\"".into(),
            "export PULSE_SERVER=\"tcp:192.0.2.1:4713\"".into(),
            "MY_PULSE_SERVER DEFAULT=\"unix:/gone\"".into(),
        ] {
            assert_eq!(asked(&fine), None, "{fine}");
        }
    }
}
