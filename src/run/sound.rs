//! What is done to hear a machine: somebody sits down, the servers are asked, tones are played and listened to where
//! they come out, at the host's side of the sound card.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep};

use crate::checks::audio as judging;
use crate::event::Events;
use crate::guest::Guest;
use crate::guest::facts::{Account, Facts};
use crate::guest::sound::{Recording, Seat, ServerKind, Sink, Sound, Tone};
use crate::machine::{Ears, sound as card};
use crate::model::artifact;
use crate::nix::expectations::{Expectations, ExpectedAudio};
use crate::report::artifacts::Artifacts;
use crate::signal::{CaptureAnalysis, Samples, ToneSequence, spectrogram, tone, wav};

/// How long a session may take to open, with hardware virtualisation.
const SIT_DOWN: Duration = Duration::from_secs(10);
/// How long playing may take beyond the sound's own length, with hardware virtualisation.
const PLAY: Duration = Duration::from_secs(8);
/// How long what was played may take to come out of the card when the player has ended: a pipe's buffer, a slow clock.
const DRAIN: Duration = Duration::from_secs(4);
/// How long the card has to be still before no more is awaited. QEMU writes in steps of 10 ms of sound.
const STILL: Duration = Duration::from_millis(700);
/// Between two looks at the capture's length.
const POLL: Duration = Duration::from_millis(50);
/// Most of a capture that is read, in bytes: 40 s. A machine that plays without end is heard at its end.
const CAPTURE: u64 = 7 << 20;
/// The bytes before the first sample, and of a frame.
const HEADER: u64 = 44;
const FRAME: u64 = 4;

/// A machine to be heard.
pub(super) struct Hear<'a> {
    pub(super) expectations: &'a Expectations,
    pub(super) audio: &'a ExpectedAudio,
    /// Whether tones are to be played.
    pub(super) plays: bool,
    /// Whether the microphone is to be tried.
    pub(super) records: bool,
    /// What of the machine's sound gets here.
    pub(super) ears: &'a Ears,
    pub(super) facts: &'a Facts,
    /// Where QEMU writes what comes out of the card.
    pub(super) capture: &'a Path,
    pub(super) scale: f64,
    pub(super) events: &'a Events,
    pub(super) artifacts: Option<&'a Artifacts>,
}

/// Does it once more where what was heard is wrong: a busy host, or what was done beside, spoils one time, what is broken
/// every time. What was wrong the first time is told, too.
async fn again<T>(
    first: Result<T, String>,
    once: impl AsyncFn() -> Result<T, String>,
    heard: impl Fn(&T) -> Option<&CaptureAnalysis>,
) -> Result<(T, Option<String>), String> {
    let first = first?;
    match heard(&first).and_then(judging::spoilt) {
        None => Ok((first, None)),
        Some(wrong) => Ok((once().await?, Some(wrong))),
    }
}

impl Hear<'_> {
    /// Plays and listens. The error: why nothing could be looked at.
    pub(super) async fn hear(&self, guest: &Guest) -> Result<Sound, String> {
        let person = self.person().ok_or("the configuration has no normal user whose session could play")?;
        let patience = SIT_DOWN.mul_f64(self.scale);
        self.events.doing(format!("sitting down as {}", person.name));
        let seat = guest.sit_down(person, patience).await.map_err(|error| error.to_string())?;
        let kind = if self.audio.pipewire { ServerKind::Pipewire } else { ServerKind::Pulseaudio };
        self.events.doing("asking the sound servers");
        let mut sound = guest.sound(&seat, kind, self.audio.pipewire_pulse, self.scale).await;
        sound.unheard.clone_from(&self.ears.unheard);
        sound.no_microphone.clone_from(&self.ears.no_microphone);
        let is_silent = sound.sink().is_none_or(|sink| sink.null);
        let plays = self.plays && sound.card.driven && !is_silent && sound.unheard.is_none();
        // What is muted has nothing to say, and stays as the person has it.
        let speaks = |source: &Sink| !source.null && (self.new_card(kind) || !source.muted && !source.is_turned_down());
        let records =
            self.records && sound.card.records && sound.no_microphone.is_none() && sound.source().is_some_and(speaks);
        let play = async || self.play(guest, &seat, kind, &sound).await;
        let record = async || self.record(guest, &seat, kind, &sound).await;
        if plays || records {
            self.events.doing("playing tones, recording from the microphone");
        }
        // Both ways at once, as a card can; each alone where that did not go well.
        let (tone, recording) =
            tokio::join!(OptionFuture::from(plays.then(&play)), OptionFuture::from(records.then(&record)));
        let tone = match tone {
            Some(tone) => Some(again(tone, play, |tone| tone.heard.as_ref()).await),
            None => None,
        };
        let recording = match recording {
            Some(recording) => Some(again(recording, record, |it| it.heard.as_ref()).await),
            None => None,
        };
        match tone {
            Some(Ok((tone, first))) => sound.tone = Some(Tone { first, ..tone }),
            Some(Err(error)) => drop(sound.gaps.insert("tone".to_owned(), error)),
            None => {}
        }
        match recording {
            Some(Ok((recording, first))) => sound.recording = Some(Recording { first, ..recording }),
            Some(Err(error)) => drop(sound.gaps.insert("microphone".to_owned(), error)),
            None => {}
        }
        if plays {
            // A session's start may have set it since the card was looked at.
            match guest.master_is_off(patience).await {
                Some(true) if sound.card.off.is_empty() => sound.card.off.push("Master".to_owned()),
                Some(false) => sound.card.off.clear(),
                _ => {}
            }
        }
        self.ask_again(guest, &seat, kind, patience, &mut sound).await;
        let lingers = self.expectations.users.get(&person.name).is_some_and(|user| user.linger);
        guest.leave(&seat, lingers, patience).await;
        Ok(sound)
    }

    /// Whose sound: who is logged in by the configuration, else a normal user.
    fn person(&self) -> Option<&Account> {
        let account = |name: &str| self.facts.accounts.iter().find(|account| account.name == name);
        let desktop = self.expectations.desktop.as_ref().and_then(|desktop| desktop.autologin_user.as_deref());
        let named = desktop.or(self.expectations.autologin_user.as_deref()).and_then(account);
        let lingers = || {
            self.expectations
                .users
                .iter()
                .filter(|(_, user)| user.normal && user.linger)
                .find_map(|(name, _)| account(name))
        };
        let normal =
            || self.expectations.users.iter().filter(|(_, user)| user.normal).find_map(|(name, _)| account(name));
        named.or_else(lingers).or_else(normal).filter(|account| account.uid != 0)
    }

    /// Somebody's login may go on while it is listened to, and mute: where nothing but silence came, the sinks and
    /// sources of now are judged. Who was refused by the server may have become its client since.
    async fn ask_again(&self, guest: &Guest, seat: &Seat, kind: ServerKind, patience: Duration, sound: &mut Sound) {
        let is_silent = |heard: &Option<CaptureAnalysis>| heard.as_ref().is_none_or(|heard| heard.silent);
        let silent = sound.tone.as_ref().is_some_and(|tone| is_silent(&tone.heard))
            || sound.recording.as_ref().is_some_and(|recording| is_silent(&recording.heard));
        let silent = silent && !self.new_card(kind);
        if !silent && sound.refused.is_empty() {
            return;
        }
        let Ok(server) = guest.server(seat, kind, patience).await else { return };
        if !silent {
            // A sink that nothing plays into may be suspended by now: only the clients are of now.
            if let Some(known) = &mut sound.server {
                known.clients = server.clients;
            }
            return;
        }
        sound.server = Some(server);
        if sound.source().is_some_and(|source| source.muted || source.is_turned_down()) {
            sound.recording = None;
        }
    }

    /// Whether the server has the card as its driver left it: silent until somebody turns it up. PulseAudio believes
    /// the card.
    fn new_card(&self, kind: ServerKind) -> bool {
        kind == ServerKind::Pulseaudio && !self.audio.alsa_persistence
    }

    /// What the machine hears.
    async fn record(&self, guest: &Guest, seat: &Seat, kind: ServerKind, sound: &Sound) -> Result<Recording, String> {
        let clock = Instant::now();
        let seconds = card::recording_s();
        let deadline = Duration::from_secs_f64(seconds) + PLAY.mul_f64(self.scale);
        let unmute =
            self.new_card(kind) && sound.source().is_some_and(|source| source.muted || source.is_turned_down());
        let (recording, bytes) =
            guest.record(seat, kind, seconds, unmute, deadline).await.map_err(|error| error.to_string())?;
        let heard = move || wav::read(&bytes).ok().map(|capture| card::hear_spoken(&capture.samples));
        let heard = tokio::task::spawn_blocking(heard).await.map_err(|error| error.to_string())?;
        Ok(Recording { heard, took: clock.elapsed().as_secs_f64(), ..recording })
    }

    async fn play(&self, guest: &Guest, seat: &Seat, kind: ServerKind, sound: &Sound) -> Result<Tone, String> {
        let clock = Instant::now();
        let sequence = ToneSequence::default();
        let file = wav::write(&tone::render(&sequence, tone::RATE));
        let deadline = Duration::from_secs_f64(sequence.length_s()) + PLAY.mul_f64(self.scale);
        let unmute = self.new_card(kind) && sound.sink().is_some_and(|sink| sink.muted);
        let before = length(self.capture);
        let tone = guest.play(seat, kind, &file, unmute, deadline).await.map_err(|error| error.to_string())?;
        let heard = self.drained(before, &sequence).await?;
        Ok(Tone { heard, took: clock.elapsed().as_secs_f64(), ..tone })
    }

    /// Waits until all is out, or nothing more comes, and analyses it.
    async fn drained(&self, before: u64, sequence: &ToneSequence) -> Result<Option<CaptureAnalysis>, String> {
        let deadline = Instant::now() + DRAIN.mul_f64(self.scale);
        let mut last = (length(self.capture), Instant::now());
        // Enough for the whole sequence and a little more.
        let enough = (sequence.length_s() * 1.1 * 44_100.0) as u64 * FRAME;
        loop {
            let now = length(self.capture);
            if now != last.0 {
                last = (now, Instant::now());
            }
            let still = last.1.elapsed() >= STILL;
            if still || Instant::now() >= deadline {
                break;
            }
            if now.saturating_sub(before) > enough {
                let heard = listen(self.capture, before, sequence).await?;
                if heard.as_ref().is_some_and(|(_, heard)| heard.playback.as_ref().is_some_and(|it| it.complete)) {
                    break;
                }
            }
            sleep(POLL).await;
        }
        let Some((samples, heard)) = listen(self.capture, before, sequence).await? else { return Ok(None) };
        self.keep(&samples, &heard);
        Ok(Some(heard))
    }

    /// The evidence: what was heard, cut to where it was, and its picture.
    fn keep(&self, samples: &Samples, heard: &CaptureAnalysis) {
        let Some(artifacts) = self.artifacts else { return };
        let (from, to) = match &heard.playback {
            Some(playback) => (playback.start_s - 0.3, playback.start_s + playback.length_s + 0.3),
            None => (samples.seconds() - 10.0, samples.seconds()),
        };
        let part = samples.part(from.max(0.0), to.min(from.max(0.0) + 15.0));
        let kept = artifacts.keep(artifact::SOUND, &wav::write(&part)).map_err(|error| error.to_string());
        let drawn = spectrogram::draw(&part).to_png().map_err(|error| error.to_string());
        let drawn =
            drawn.and_then(|png| artifacts.keep(artifact::SPECTROGRAM, &png).map_err(|error| error.to_string()));
        for error in [kept.err(), drawn.err()].into_iter().flatten() {
            self.events.note(format!("what was heard could not be kept: {error}"));
        }
    }
}

/// How long the capture is, in bytes.
fn length(capture: &Path) -> u64 {
    std::fs::metadata(capture).map_or(0, |data| data.len())
}

/// What was captured since `before`, and what of the sequence is in it; `None` when nothing came out at all.
async fn listen(
    capture: &Path,
    before: u64,
    sequence: &ToneSequence,
) -> Result<Option<(Samples, CaptureAnalysis)>, String> {
    let (path, sequence) = (capture.to_owned(), sequence.clone());
    let work = move || -> Result<Option<(Samples, CaptureAnalysis)>, String> {
        let end = length(&path);
        // A whole number of frames.
        let from = before.max(HEADER).max(end.saturating_sub(CAPTURE));
        let from = from - (from - HEADER) % FRAME;
        if end <= from {
            return Ok(None);
        }
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let mut bytes = vec![0; HEADER as usize];
            file.read_exact(&mut bytes)?;
            file.seek(SeekFrom::Start(from))?;
            file.take(CAPTURE).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| format!("what came out of the card cannot be read: {error}"))?;
        let capture =
            wav::read(&bytes).map_err(|error| format!("what came out of the card cannot be read: {error}"))?;
        let heard = tone::analyse(&capture.samples, &sequence);
        Ok(Some((capture.samples, heard)))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
