//! Each rule breaks on facts made for it, and each trap passes.

mod guest;

use self::guest::*;
use crate::audio::facts::{AudioSessionKind, ServerProcess};
use crate::guest::facts::{JournalLine, Unit};
use crate::model::{CheckId, Status};
use crate::signal::{ToneSequence, tone};

#[test]
fn healthy_machines_pass() {
    for guest in [guest(), pulse(true)] {
        let judged = guest.judged();
        let is_well = |(id, (status, _)): (&String, &(Status, String))| {
            *status == Status::Pass || id == "realtime" && *status == Status::Skip
        };
        assert!(judged.len() == 5 && judged.iter().all(is_well), "{judged:#?}");
    }
}

#[test]
fn what_took_time_says_so() {
    let mut guest = guest();
    guest.sound().tone.as_mut().unwrap().took = 4.5;
    guest.sound().recording.as_mut().unwrap().took = 6.5;
    let results = guest.judgement().results;
    let seconds = |id: CheckId| results.iter().find(|result| result.id == id).map(|result| result.seconds);
    assert_eq!((seconds(CheckId::AudioTone), seconds(CheckId::AudioMicrophone)), (Some(4.5), Some(6.5)));
    assert_eq!(seconds(CheckId::AudioServer), Some(0.0));
}

#[test]
fn nothing_that_was_not_observed_passes() {
    let mut guest = guest();
    for name in ["units", "card", "processes"] {
        guest.sound().gaps.insert(name.into(), "no answer".into());
    }
    for id in ["server", "sink", "microphone", "realtime"] {
        guest.is(id, Status::Unknown, "no answer");
    }
    guest.sound = Err("nobody is there".into());
    assert!(guest.judged().values().all(|(status, _)| *status == Status::Unknown), "{:#?}", guest.judged());
}

#[test]
fn servers_that_do_not_serve_fail_with_their_unit() {
    let mut broken = guest();
    *broken.unit("pipewire.service") = Unit { result: "exit-code".into(), ..unit("pipewire.service", "failed") };
    broken.unit("pipewire.socket").active_state = "failed".into();
    broken.sound().server = None;
    let line = JournalLine {
        unit: "pipewire.service".into(),
        message: "can't load libpipewire-module-x".into(),
        ..JournalLine::default()
    };
    broken.sound().journal = vec![line];
    broken.fails(&["server"], "pipewire.service of alice has failed (exit-code)");
    broken.fails(&["server"], "libpipewire-module-x");

    let mut silent = guest();
    silent.sound().server = None;
    silent.sound().no_answer = Some("no answer within 6 s".into());
    silent.fails(&["server"], "runs, but does not answer alice");

    let mut denied = guest();
    denied.expected().system_wide = true;
    denied.facts.units.push(unit("pipewire.service", "inactive"));
    denied.facts.units.push(unit("pipewire.socket", "active"));
    denied.facts.units.push(unit("wireplumber.service", "inactive"));
    denied.expected().pipewire_pulse = false;
    denied.sound().server = None;
    denied.sound().no_answer = Some("can't connect: Permission denied".into());
    denied.fails(&["server"], "alice may not connect to the system-wide pipewire");

    let mut home = guest();
    *home.unit("pipewire-pulse.service") =
        Unit { fragment_path: "/home/alice/.config/x".into(), ..unit("pipewire-pulse.service", "failed") };
    home.fails(&["server"], "/home/alice/.config/x");

    let mut lost = guest();
    lost.sound().no_socket = Some("/run/user/1000/pulse/native".into());
    lost.fails(
        &["server"],
        "PULSE_SERVER sends programs to unix:/run/user/1000/pulse/native, where there is no socket",
    );

    let mut dead = pulse(true);
    dead.sound().units.clear();
    dead.fails(&["server"], "pulseaudio.service of alice is not there");
}

#[test]
fn a_socket_is_no_service() {
    // Each start takes so long that systemd never gives up.
    let mut loops = guest();
    loops.unit("pipewire-pulse.service").active_state = "activating".into();
    loops.unit("pipewire-pulse.service").sub_state = "auto-restart".into();
    let said = |message: &str, unit: &str| JournalLine {
        unit: unit.into(),
        message: message.into(),
        ..JournalLine::default()
    };
    loops.sound().journal = vec![said("spa.json: error: syntax error in pulse.conf", "pipewire-pulse.service")];
    let words = "pipewire-pulse.service of alice has ended and is about to be restarted: spa.json: error: syntax error";
    loops.fails(&["server"], words);
    // One that its first client starts has not ended.
    let mut waits = guest();
    waits.unit("pipewire-pulse.service").active_state = "inactive".into();
    waits.is("server", Status::Pass, "");

    let plugin = "spa.filter-graph: failed to load plugin 'librnnoise' in '/usr/lib': No such file or directory";
    let module =
        "pw.conf: could not load mandatory module \"libpipewire-module-filter-chain\": No such file or directory";
    let mut filter = guest();
    filter.sound().journal = vec![said(plugin, "pipewire.service"), said(module, "pipewire.service")];
    filter.is("server", Status::Warn, "PipeWire runs without a plugin that its configuration names: spa.filter-graph");
    *filter.unit("pipewire.service") = Unit { result: "exit-code".into(), ..unit("pipewire.service", "failed") };
    filter.sound().server = None;
    filter.fails(
        &["server"],
        "pipewire.service of alice has failed (exit-code): spa.filter-graph: failed to load plugin",
    );

    let mut lua = guest();
    let old = "Old configuration file detected: /etc/wireplumber/main.lua.d/60-alsa.lua";
    lua.sound().journal = vec![said(old, "wireplumber.service")];
    lua.is("server", Status::Warn, "PipeWire does not read a part of its configuration: Old configuration file");
}

#[test]
fn a_missing_tool_is_ours_and_not_the_servers() {
    let mut guest = guest();
    guest.sound().server = None;
    guest.sound().no_answer = Some("the guest has no pw-dump".into());
    guest.is("server", Status::Unknown, "pw-dump");
    guest.is("sink", Status::Skip, "");
}

#[test]
fn two_servers_are_named() {
    let mut both = guest();
    both.expected().pulseaudio = true;
    let second = ServerProcess { name: "pulseaudio".into(), pid: 9, uid: 1000, ..ServerProcess::default() };
    both.sound().processes.push(second.clone());
    both.fails(&["server"], "pulseaudio and pipewire both run for alice");
    // Somebody else's is no fight.
    both.sound().processes.pop();
    both.sound().processes.push(ServerProcess { uid: 1001, ..second });
    both.is("server", Status::Pass, "");
    let mut beside = guest();
    beside.sound().units.push(unit("pulseaudio.service", "failed"));
    beside.fails(&["server"], "pulseaudio.service has failed, though PipeWire is meant to serve");
}

#[test]
fn pipewire_that_is_for_screens_only_has_no_part_in_sound() {
    let mut sink = pulse(true);
    sink.expected().unused_sinks = vec!["combined".into()];
    sink.fails(&["server"], "PipeWire, whose configuration creates the sink combined, is not used for sound");
    let mut both = pulse(true);
    let server = both.sound().processes[0].clone();
    both.sound().processes.push(ServerProcess { name: "pipewire".into(), pid: 77, has_card: false, ..server.clone() });
    both.is("server", Status::Pass, "PulseAudio answers");
    both.sound().processes.push(ServerProcess { name: "wireplumber".into(), pid: 78, has_card: true, ..server });
    both.fails(&["server"], "and wireplumber has the card");
}

#[test]
fn no_sink_has_a_cause() {
    let mut missing = guest().only("auto_null");
    missing.server().cards.clear();
    missing.unit("wireplumber.service").load_state = "masked".into();
    missing.unit("wireplumber.service").active_state = "inactive".into();
    missing.fails(&["server", "sink"], "wireplumber.service of alice is masked");
    missing.is("sink", Status::Fail, "without a session manager");

    let mut refused = guest().only("auto_null");
    refused.sound().journal = vec![JournalLine {
        message: "spa.alsa: hw:0p: Rate doesn't match (requested 192000, got 96000)".into(),
        unit: "pipewire.service".into(),
        ..JournalLine::default()
    }];
    refused.fails(&["sink"], "no sink: spa.alsa: hw:0p: Rate doesn't match (requested 192000, got 96000)");

    let mut off = guest().only("auto_null");
    off.server().cards = [("alsa_card.x".to_owned(), "off".to_owned())].into();
    off.fails(&["sink"], "alsa_card.x is off");

    let mut denied = guest().only("auto_null");
    denied.sound().card.allowed = false;
    denied.fails(&["sink"], "alice may not open the devices in /dev/snd");

    let mut taken = guest().only("auto_null");
    let process = ServerProcess { name: "pipewire".into(), uid: 1001, has_card: true, ..ServerProcess::default() };
    taken.sound().processes.push(process);
    taken.fails(&["sink"], "pipewire of bob has the card");

    let mut ends = guest().only("auto_null");
    ends.server().cards.clear();
    for unit in ends.sound().units.iter_mut().filter(|unit| unit.name == "wireplumber.service") {
        unit.service.get_or_insert_default().restarts = 3;
    }
    ends.sound().journal = vec![JournalLine {
        message: "failed to load components: profile 'nosuch' not found in the configuration".into(),
        unit: "wireplumber.service".into(),
        ..JournalLine::default()
    }];
    ends.fails(
        &["sink"],
        "wireplumber.service fails and is restarted again and again: failed to load components: profile 'nosuch'",
    );

    let mut disabled = guest().only("auto_null");
    disabled.server().cards.clear();
    disabled
        .fails(&["sink"], "no sink: wireplumber.service uses none of the cards that the kernel has: a rule disables");

    guest().only("speakers").fails(&["sink"], "the default sink speakers is not connected to a card");
}

#[test]
fn a_busy_host_explains_what_is_not_there_yet() {
    // As four guests at once had it, at 76 to 80 % of the time.
    let null = || guest().only("auto_null");
    null().kept_waiting(78).is("sink", Status::Unknown, "is not connected to a card");
    null().kept_waiting(78).is("sink", Status::Unknown, "host overloaded: the VM waited for a CPU 78 % of that time");
    null().kept_waiting(30).fails(&["sink"], "is not connected to a card");
    let mut off = null();
    off.server().cards = [("alsa_card.x".to_owned(), "off".to_owned())].into();
    off.kept_waiting(78).is("sink", Status::Unknown, "alsa_card.x is off");
    let mut starting = null();
    starting.server().cards.clear();
    starting.unit("wireplumber.service").active_state = "activating".into();
    let starting = starting.kept_waiting(78);
    starting.is("server", Status::Unknown, "wireplumber.service of alice is not running (activating");
    starting.is("sink", Status::Unknown, "without a session manager");
    // Who had nothing left to do has made no sink, however busy the host is.
    let mut rested = null();
    rested.sound().rested = true;
    rested.kept_waiting(78).fails(&["sink"], "is not connected to a card");

    // What is wrong for good is so on any host.
    let mut refused = null();
    refused.server().cards = [("alsa_card.x".to_owned(), "off".to_owned())].into();
    refused.sound().journal = vec![JournalLine {
        message: "spa.alsa: hw:0p: Rate doesn't match (requested 192000, got 96000)".into(),
        unit: "pipewire.service".into(),
        ..JournalLine::default()
    }];
    refused.kept_waiting(78).fails(&["sink"], "it has no sink: spa.alsa: hw:0p: Rate doesn't match");
    let mut denied = null();
    denied.sound().card.allowed = false;
    denied.kept_waiting(78).fails(&["sink"], "alice may not open the devices in /dev/snd");
    let mut failed = null();
    failed.server().cards.clear();
    failed.unit("wireplumber.service").active_state = "failed".into();
    failed.unit("wireplumber.service").result = "exit-code".into();
    failed.kept_waiting(78).fails(&["server", "sink"], "wireplumber.service of alice has failed");
    let mut muted = guest();
    muted.sink().muted = true;
    muted.kept_waiting(78).fails(&["sink"], "is muted");
}

#[test]
fn muted_is_told_apart_from_broken() {
    let mut muted = guest();
    muted.sink().muted = true;
    muted.fails(&["sink"], "is muted");
    let mut low = guest();
    low.sink().volumes = vec![0.0, 0.0];
    low.fails(&["sink"], "is at volume 0");
    // A new card, as PulseAudio finds it, is no fault.
    let mut new = pulse(false);
    new.sink().muted = true;
    new.is("sink", Status::Warn, "is muted");
    new.is("tone", Status::Pass, "");
    let mut kept = pulse(true);
    kept.sink().muted = true;
    kept.fails(&["sink"], "is muted");
}

#[test]
fn what_the_sandbox_lacks_is_excluded() {
    let mut undriven = guest().only("auto_null");
    undriven.sound().card.driven = false;
    undriven.is_excluded("sink", "no driver");
    undriven.is_excluded("tone", "");
    undriven.is_excluded("microphone", "");

    let mut uncaptured = guest();
    uncaptured.sound().tone = None;
    uncaptured.sound().recording = None;
    let why = "the runner brings a sound card (hda-duplex) without an id";
    (uncaptured.sound().no_capture, uncaptured.sound().no_microphone) = (Some(why.into()), Some(why.into()));
    uncaptured.is_excluded("tone", why);
    uncaptured.is_excluded("microphone", why);
    uncaptured.is("sink", Status::Pass, "");

    let mut lingering = guest().only("auto_null");
    lingering.sound().session = AudioSessionKind::Lingering;
    lingering.sound().card.allowed = false;
    lingering.sound().processes[0].realtime = false;
    lingering.is_excluded("sink", "has no session at the seat");
    lingering.is_excluded("microphone", "has no session at the seat");
    lingering.is_excluded("realtime", "has no session at the seat");
}

#[test]
fn tones_that_arrive_otherwise_are_named_so() {
    guest().playing(same, quiet).fails(&["tone"], "the right channel is silent");
    guest().playing(quiet, same).fails(&["tone"], "the left channel is silent");
    guest().playing(at_speed(0.919), at_speed(0.919)).fails(&["tone"], "the pitch is off by -8.1 %");
    guest().playing(at_speed(0.5), at_speed(0.5)).fails(&["tone"], "at 0.50 times the right speed");
    guest().playing(quiet, quiet).fails(&["tone"], "only silence came out of the card");
    guest().playing(torn_by(0.4, 0.4), torn_by(0.4, 0.4)).fails(&["tone"], "dropouts");

    let swapped = tone::render(&ToneSequence::default(), RATE);
    let (left, right) = (swapped.left().to_vec(), swapped.right().to_vec());
    guest().playing(move |_| right.clone(), move |_| left.clone()).fails(&["tone"], "left and right are swapped");

    let mut off = guest().playing(quiet, quiet);
    off.sound().card.off = vec!["Master".into()];
    off.fails(&["tone"], "its mixer control Master is muted (amixer sset Master unmute)");
    let mut nothing = guest();
    nothing.sound().tone.as_mut().unwrap().analysis = None;
    nothing.fails(&["tone"], "nothing came out of the card");
    let mut hung = guest();
    hung.sound().tone.as_mut().unwrap().hung = true;
    hung.fails(&["tone"], "pw-play did not end");
}

#[test]
fn a_hosts_hiccups_are_a_note() {
    let hiccups = guest().playing(torn_by(0.03, 0.5), torn_by(0.03, 0.5));
    hiccups.is("tone", Status::Pass, "dropouts (at ");
    // Late by a ring of the card's: what was in it is skipped, in one place and without a silence.
    let skipped = |values: &[f64]| {
        let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
        [&values[..at(1.1)], &values[at(1.35)..]].concat()
    };
    guest().playing(skipped, skipped).is("tone", Status::Pass, "of the sound was skipped");
    // Pieces of each are gone: the pitches that are left differ by chance.
    let mut scattered = guest();
    let analysis = scattered.sound().tone.as_mut().unwrap().analysis.as_mut().unwrap();
    let playback = analysis.playback.as_mut().unwrap();
    (playback.pitch_ratio, playback.pitch_spread, playback.length_ratio_without_dropouts) = (1.0133, 0.03, 0.61);
    scattered.is("tone", Status::Pass, "39.0 % of the sound was skipped");
    scattered.sound().tone.as_mut().unwrap().first_attempt = Some("the right channel is silent".into());
    scattered.is("tone", Status::Pass, "at the first attempt the right channel is silent");
    // Every tone shorter at the right pitch is no hiccup.
    let mut short = ToneSequence::default();
    for (i, tone) in short.tones.iter_mut().enumerate() {
        (tone.start_s, tone.length_s) = (i as f64 * 0.47, 0.38);
    }
    let sent = tone::render(&short, RATE);
    let (left, right) = (sent.left().to_vec(), sent.right().to_vec());
    guest()
        .playing(move |_| left.clone(), move |_| right.clone())
        .fails(&["tone"], "of the right time, at the right pitch");
    // Quiet is how a user may have it: WirePlumber begins at 0.4.
    let soft = |values: &[f64]| values.iter().map(|value| value * 0.05).collect();
    guest().playing(soft, soft).is("tone", Status::Pass, "6 tones played by pw-play");
    let loud = |values: &[f64]| values.iter().map(|value| (value * 8.0).clamp(-1.0, 1.0)).collect();
    guest().playing(loud, loud).is("tone", Status::Pass, "clipped");
}

#[test]
fn a_client_that_was_refused_and_never_came_back_is_named() {
    let refused = |pid, message: &str| JournalLine {
        unit: "mpd.service".into(),
        pid,
        message: message.into(),
        ..JournalLine::default()
    };
    let words = "output: Failed to open \"My Output\" (pulse); failed to connect: Connection refused";
    let mut early = pulse(true);
    early.sound().refused = vec![refused(900, words), refused(900, words)];
    early.fails(&["tone"], "mpd.service was refused because the sound server was not running yet");
    // It has tried again since; or it was refused by somebody else.
    early.sound().server.as_mut().unwrap().clients = [900].into();
    early.is("tone", Status::Pass, "");
    early.sound().server.as_mut().unwrap().clients.clear();
    early.sound().refused = vec![refused(900, "database: connect to 127.0.0.1:5432: Connection refused")];
    early.is("tone", Status::Pass, "");
}

#[test]
fn a_microphone_gives_its_tones_or_it_is_said_why_not() {
    guest().recorded(quiet, quiet).fails(&["microphone"], "gives only silence");
    guest().recorded(at_speed(0.5), at_speed(0.5)).fails(&["microphone"], "at 0.50 times the right speed");
    guest().recorded(same, quiet).fails(&["microphone"], "the right channel is silent");
    // Each of its tones cut, by a guest that was late, each otherwise.
    let late = |values: &[f64]| {
        let at = |seconds: f64| (seconds * f64::from(RATE)) as usize;
        [&values[..at(0.1)], &values[at(0.3)..at(0.7)], &values[at(0.745)..at(1.2)], &values[at(1.236)..]].concat()
    };
    guest().recorded(late, late).is("microphone", Status::Pass, "of the sound was skipped");
    let mut nothing = guest();
    nothing.sound().recording.as_mut().unwrap().analysis = None;
    nothing.fails(&["microphone"], "pw-record recorded 600000 bytes");

    let mut sourceless = guest();
    sourceless.sound().recording = None;
    sourceless.server().sources.clear();
    sourceless.server().cards = [("alsa_card.x".to_owned(), "output:analog-stereo".to_owned())].into();
    sourceless.fails(&["microphone"], "alsa_card.x has the profile output:analog-stereo");

    // Off as the user wants it.
    let mut muted = guest();
    muted.sound().recording = None;
    muted.server().sources[0].muted = true;
    muted.is("microphone", Status::Warn, "is muted");
    // Nothing to record with is not tested; trouble while it was recorded is not known.
    let mut lacking = guest();
    lacking.sound().recording = None;
    lacking.sound().gaps.insert("microphone".into(), "the guest has no program that records a sound (arecord)".into());
    lacking.is_excluded("microphone", "no program that records is installed");
    lacking.sound().gaps.insert("microphone".into(), "the shell was closed".into());
    lacking.is("microphone", Status::Unknown, "the shell was closed");
    // Who has no sink has one failure, not two.
    guest().only("auto_null").is("microphone", Status::Skip, "no sink (see audio.sink)");
}

#[test]
fn scheduling_and_settings_are_compared_with_what_is_expected() {
    let mut slow = guest();
    slow.sound().processes[0].realtime = false;
    slow.facts.units[0].active_state = "inactive".into();
    slow.fails(&["realtime"], "rtkit-daemon.service is inactive");
    let mut by_portal = guest();
    by_portal.sound().processes[0].realtime = false;
    let words = "Realtime error: Could not get pidns for pid 495: Could not fstatat ns/pid: Not a directory";
    let line =
        JournalLine { unit: "xdg-desktop-portal.service".into(), message: words.into(), ..JournalLine::default() };
    by_portal.sound().journal.push(line);
    let words = format!("rtkit is expected: xdg-desktop-portal.service, which it asks for it, says: {words}");
    by_portal.fails(&["realtime"], &words);
    // Who was logged in on the VM's serial console first; any other terminal is the configuration's own.
    slow.sound().off_seat = Some("ttyS0".into());
    slow.is_excluded("realtime", "logged in on the VM's serial console (ttyS0) first");
    slow.sound().off_seat = Some("pts/0".into());
    slow.fails(&["realtime"], "rtkit-daemon.service is inactive");
    // A session manager's realtime thread is not the server's; another user's server is not this one.
    let other = ServerProcess { uid: 1001, ..guest().sound().processes[0].clone() };
    slow.sound().processes.push(other);
    slow.fails(&["realtime"], "pipewire has no realtime thread");
    slow.expected().rtkit = false;
    slow.is_excluded("realtime", "expects no realtime scheduling");

    let declared = |key: &str, value: &str| {
        let mut guest = guest();
        guest.expected().properties.insert(key.into(), value.into());
        guest
    };
    declared("clock.quantum", "2048")
        .fails(&["realtime"], "clock.quantum = 2048 is declared, but PipeWire does not read it");
    declared("default.clock.rate", "96000").fails(&["realtime"], "96000 is declared, but 48000 is in effect");
    let rates = |declared_rates: &str, effective: &str| {
        let mut guest = declared("default.clock.allowed-rates", declared_rates);
        guest.server().settings.insert("clock.allowed-rates".into(), effective.into());
        guest
    };
    rates("44100 96000", "[ 48000 ]").fails(&["realtime"], "default.clock.allowed-rates = 44100 96000 is declared");
    rates("44100 48000", "[ 44100, 48000 ]").is("realtime", Status::Pass, "48000 Hz");
    rates("48000 96000", "[ 48000 ]").is("realtime", Status::Pass, "48000 Hz");
    // PipeWire itself raises it on a virtual machine.
    declared("default.clock.quantum", "256").is("realtime", Status::Pass, "quantum 1024");
}
