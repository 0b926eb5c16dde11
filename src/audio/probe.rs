//! The order of things: a session is opened, the server is asked, tones are played and captured where they come out, at
//! the host's side of the sound card, and the microphone is recorded meanwhile.

use std::path::Path;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::time::Instant;

use super::capture::{drained, length};
use super::card::master_is_off;
use super::facts::{AudioFacts, AudioNode, AudioSessionKind, Recording, TonePlayback};
use super::judge::distortion;
use super::observe::{observe, query};
use super::play::play;
use super::record::record;
use super::server::{SoundServer, SoundServerKind};
use super::session::AudioSession;
use crate::artifacts::Artifacts;
use crate::event::Events;
use crate::guest::Guest;
use crate::guest::facts::{Account, Facts};
use crate::machine::AudioCapture;
use crate::model::artifact;
use crate::model::timeouts::audio::{PLAY_LIMIT, SESSION_LIMIT};
use crate::nix::expectations::{Expectations, ExpectedAudio, ExpectedUser};
use crate::signal::{CaptureAnalysis, Samples, ToneSequence, microphone, spectrogram, tone, wav};

/// A machine whose sound is tested.
pub(crate) struct AudioProbe<'a> {
    pub(crate) expectations: &'a Expectations,
    pub(crate) expected: &'a ExpectedAudio,
    /// Whether tones are to be played.
    pub(crate) plays: bool,
    /// Whether the microphone is to be tested.
    pub(crate) records: bool,
    /// What of the machine's sound is captured.
    pub(crate) connected: &'a AudioCapture,
    pub(crate) facts: &'a Facts,
    /// Who is logged in on the desktop, where one was probed.
    pub(crate) logged_in: Option<&'a str>,
    /// Whether a session that is made for it stays, as a person's would through a switch.
    pub(crate) stays: bool,
    /// Where QEMU writes what comes out of the card.
    pub(crate) capture: &'a Path,
    pub(crate) scale: f64,
    pub(crate) events: &'a Events,
    pub(crate) artifacts: Option<&'a Artifacts>,
}

impl AudioProbe<'_> {
    /// Plays, records, and what else there is to know. The error: why nothing could be probed.
    pub(crate) async fn run(&self, guest: &Guest) -> Result<AudioFacts, String> {
        let user = tested_user(self.expectations, &self.facts.accounts, self.logged_in)
            .ok_or("the configuration has no normal user in whose session sound could be tested")?;
        let patience = SESSION_LIMIT.mul_f64(self.scale);
        self.events.doing(format!("opening a session of {}", user.name));
        let session = AudioSession::open(guest, user, patience).await.map_err(|error| error.to_string())?;
        let server = SoundServerKind::expected(self.expected).server();
        self.events.doing(format!("querying {}", server.profile().name));
        let mut facts = observe(guest, &session, self.expected, server, self.scale).await;
        facts.no_capture.clone_from(&self.connected.no_capture);
        facts.no_microphone.clone_from(&self.connected.no_microphone);
        let running = RunningTest { probe: self, guest, session: &session, server };
        running.exercise(patience, &mut facts).await;
        running.observe_again(patience, &mut facts).await;
        if self.stays && session.kind == AudioSessionKind::Made {
            return Ok(facts);
        }
        let lingers = self.expectations.users.get(&user.name).is_some_and(|user| user.linger);
        session.close(guest, lingers, patience).await;
        Ok(facts)
    }

    /// The evidence: what was captured, cut to where the tones are, and its picture.
    fn keep(&self, samples: &Samples, analysis: &CaptureAnalysis) {
        let Some(artifacts) = self.artifacts else { return };
        let (from, to) = match &analysis.playback {
            Some(playback) => (playback.start_s - 0.3, playback.start_s + playback.length_s + 0.3),
            None => (samples.seconds() - 10.0, samples.seconds()),
        };
        let part = samples.part(from.max(0.0), to.min(from.max(0.0) + 15.0));
        let kept = artifacts.keep(artifact::SOUND, &wav::write(&part)).map_err(|error| error.to_string());
        let drawn = spectrogram::draw(&part).to_png().map_err(|error| error.to_string());
        let drawn =
            drawn.and_then(|png| artifacts.keep(artifact::SPECTROGRAM, &png).map_err(|error| error.to_string()));
        for error in [kept.err(), drawn.err()].into_iter().flatten() {
            self.events.note(format!("the sound card's capture could not be kept: {error}"));
        }
    }
}

/// The user whose sound is tested: who is logged in on the desktop, which has the seat, else who the configuration logs
/// in, else who lingers, else a normal user; of several the first by number, as on the desktop.
fn tested_user<'a>(
    expectations: &Expectations,
    accounts: &'a [Account],
    logged_in: Option<&str>,
) -> Option<&'a Account> {
    let account = |name: &str| accounts.iter().find(|account| account.name == name);
    let desktop = expectations.desktop.as_ref().and_then(|desktop| desktop.autologin_user.as_deref());
    let named = desktop.or(expectations.autologin_user.as_deref());
    let first = |is_meant: fn(&ExpectedUser) -> bool| {
        let is_it = |account: &&Account| {
            expectations.users.get(&account.name).is_some_and(|user| user.normal && is_meant(user))
        };
        accounts.iter().filter(is_it).min_by_key(|account| account.uid)
    };
    let known = logged_in.and_then(account).or_else(|| named.and_then(account));
    known.or_else(|| first(|user| user.linger)).or_else(|| first(|_| true)).filter(|account| account.uid != 0)
}

/// Does it once more where what arrived is wrong: a busy host, or what was done beside, spoils one attempt, what is broken
/// every one. What was wrong at the first is kept, too.
async fn twice<T>(
    first: Result<T, String>,
    once: impl AsyncFn() -> Result<T, String>,
    analysis: impl Fn(&T) -> Option<&CaptureAnalysis>,
) -> Result<(T, Option<String>), String> {
    let first = first?;
    match analysis(&first).and_then(distortion) {
        None => Ok((first, None)),
        Some(wrong) => Ok((once().await?, Some(wrong))),
    }
}

/// A probe in its session.
struct RunningTest<'a> {
    probe: &'a AudioProbe<'a>,
    guest: &'a Guest,
    session: &'a AudioSession,
    server: &'a dyn SoundServer,
}

impl RunningTest<'_> {
    /// Plays and records where that can be done.
    async fn exercise(&self, patience: Duration, facts: &mut AudioFacts) {
        let has_sink = facts.sink().is_some_and(|sink| !sink.null);
        let plays = self.probe.plays && facts.card.driven && has_sink && facts.no_capture.is_none();
        // What is muted gives nothing, and stays as the user has it.
        let gives = |source: &AudioNode| !source.null && (self.is_new_card() || !source.is_quiet());
        let records = self.probe.records
            && facts.card.records
            && facts.no_microphone.is_none()
            && facts.source().is_some_and(gives);
        if plays || records {
            self.probe.events.doing("playing tones, recording from the microphone");
        }
        let play = async || self.play(facts).await;
        let record = async || self.record(facts).await;
        // Both ways at once, as a card can; each alone where that did not go well.
        let (tone, recording) =
            tokio::join!(OptionFuture::from(plays.then(&play)), OptionFuture::from(records.then(&record)));
        let tone = match tone {
            Some(tone) => Some(twice(tone, play, |tone| tone.analysis.as_ref()).await),
            None => None,
        };
        let recording = match recording {
            Some(recording) => Some(twice(recording, record, |recording| recording.analysis.as_ref()).await),
            None => None,
        };
        match tone {
            Some(Ok((tone, first_attempt))) => facts.tone = Some(TonePlayback { first_attempt, ..tone }),
            Some(Err(error)) => drop(facts.gaps.insert("tone".to_owned(), error)),
            None => {}
        }
        match recording {
            Some(Ok((recording, first_attempt))) => facts.recording = Some(Recording { first_attempt, ..recording }),
            Some(Err(error)) => drop(facts.gaps.insert("microphone".to_owned(), error)),
            None => {}
        }
        if plays {
            // A session's start may have set it since the card was probed.
            match master_is_off(self.guest, patience).await {
                Some(true) if facts.card.off.is_empty() => facts.card.off.push("Master".to_owned()),
                Some(false) => facts.card.off.clear(),
                _ => {}
            }
        }
    }

    /// A user's login may go on while tones are played, and mute: where nothing but silence came, the sinks and sources
    /// of now are judged. Who was refused by the server may have become its client since.
    async fn observe_again(&self, patience: Duration, facts: &mut AudioFacts) {
        let is_silent = |analysis: &Option<CaptureAnalysis>| analysis.as_ref().is_none_or(|analysis| analysis.silent);
        let silent = facts.tone.as_ref().is_some_and(|tone| is_silent(&tone.analysis))
            || facts.recording.as_ref().is_some_and(|recording| is_silent(&recording.analysis));
        let silent = silent && !self.is_new_card();
        if !silent && facts.refused.is_empty() {
            return;
        }
        let Ok(state) = query(self.guest, self.session, self.server, patience).await else { return };
        if !silent {
            // A sink that nothing plays into may be suspended by now: only the clients are of now.
            if let Some(known) = &mut facts.server {
                known.clients = state.clients;
            }
            return;
        }
        facts.server = Some(state);
        if facts.source().is_some_and(AudioNode::is_quiet) {
            facts.recording = None;
        }
    }

    /// Whether the server has the card as its driver left it: silent until it is turned up.
    fn is_new_card(&self) -> bool {
        self.server.profile().has_new_card(self.probe.expected)
    }

    fn deadline(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds) + PLAY_LIMIT.mul_f64(self.probe.scale)
    }

    /// What the guest records of the microphone.
    async fn record(&self, facts: &AudioFacts) -> Result<Recording, String> {
        let clock = Instant::now();
        let seconds = microphone::recording_s();
        let loud = self.is_new_card() && facts.source().is_some_and(AudioNode::is_quiet);
        let recorded = record(self.guest, self.session, self.server, seconds, loud, self.deadline(seconds)).await;
        let (recording, bytes) = recorded.map_err(|error| error.to_string())?;
        let analyse = move || wav::read(&bytes).ok().map(|capture| microphone::analyse(&capture.samples));
        let analysis = tokio::task::spawn_blocking(analyse).await.map_err(|error| error.to_string())?;
        Ok(Recording { analysis, took: clock.elapsed().as_secs_f64(), ..recording })
    }

    /// What comes out of the card when tones are played.
    async fn play(&self, facts: &AudioFacts) -> Result<TonePlayback, String> {
        let (clock, capture) = (Instant::now(), self.probe.capture);
        let sequence = ToneSequence::default();
        let file = wav::write(&tone::render(&sequence, tone::RATE));
        let loud = self.is_new_card() && facts.sink().is_some_and(|sink| sink.muted);
        let before = length(capture);
        let played = play(self.guest, self.session, self.server, file, loud, self.deadline(sequence.length_s())).await;
        let played = played.map_err(|error| error.to_string())?;
        let captured = drained(capture, before, &sequence, self.probe.scale).await?;
        if let Some((samples, analysis)) = &captured {
            self.probe.keep(samples, analysis);
        }
        let analysis = captured.map(|(_, analysis)| analysis);
        Ok(TonePlayback { analysis, took: clock.elapsed().as_secs_f64(), ..played })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::expectations::ExpectedDesktop;

    #[test]
    fn sound_is_tested_for_who_has_the_seat() {
        let user = |linger| ExpectedUser { normal: true, linger, ..ExpectedUser::default() };
        let users = [("alice".to_owned(), user(false)), ("bob".to_owned(), user(false))];
        let users = Expectations { users: users.into(), ..Expectations::default() };
        let account = |name: &str, uid| Account { name: name.to_owned(), uid, ..Account::default() };
        let accounts = [account("root", 0), account("alice", 1001), account("bob", 1000)];
        let tested = |expectations: &Expectations, logged_in: Option<&str>| {
            tested_user(expectations, &accounts, logged_in).map(|account| account.name.clone())
        };
        // The desktop logs in the lowest number, and so does sound alone.
        assert_eq!(tested(&users, None).as_deref(), Some("bob"));
        assert_eq!(tested(&users, Some("alice")).as_deref(), Some("alice"));
        assert_eq!(tested(&users, Some("nobody")).as_deref(), Some("bob"));
        let mut lingering = users.clone();
        lingering.users.insert("alice".to_owned(), user(true));
        assert_eq!(tested(&lingering, None).as_deref(), Some("alice"));
        let desktop = ExpectedDesktop { autologin_user: Some("alice".to_owned()), ..ExpectedDesktop::default() };
        let named = Expectations { desktop: Some(desktop), ..users.clone() };
        assert_eq!(tested(&named, None).as_deref(), Some("alice"));
        assert_eq!(tested(&named, Some("bob")).as_deref(), Some("bob"));
        let root = Expectations { autologin_user: Some("root".to_owned()), ..users };
        assert_eq!((tested(&root, None), tested(&Expectations::default(), None)), (None, None));
    }
}
