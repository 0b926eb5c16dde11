//! PipeWire, with its session manager and its server for PulseAudio's clients.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::facts::{AudioNode, ServerState};
use super::judge::AudioJudge;
use super::programs::{APLAY, ARECORD, PAPLAY, PARECORD, PW_CAT_PLAY, PW_CAT_RECORD, PW_PLAY, PW_RECORD};
use super::server::{ServerProfile, SoundServer, SoundServerKind};
use super::{MOST, json_text, process_id};
use crate::judging::Finding;
use crate::model::ActiveState;
use crate::nix::expectations::ExpectedAudio;

/// PipeWire.
pub(super) struct PipeWire;

const SERVICE: &str = "pipewire.service";
const SESSION_MANAGER: &str = "wireplumber.service";
const PULSE_SERVICE: &str = "pipewire-pulse.service";
const PULSE_SOCKET: &str = "pipewire-pulse.socket";
/// PulseAudio's own service, which is not to run beside.
const PULSEAUDIO: &str = "pulseaudio.service";
/// The sink that the session manager makes where there is no other.
const FALLBACK: &str = "auto_null";
/// Settings of its clock, as its `context.properties` names them (pipewire.conf(5)).
const CLOCK: &str = "default.clock.";

static PROFILE: ServerProfile = ServerProfile {
    name: "PipeWire",
    process: "pipewire",
    processes: &["pipewire", "wireplumber", "pipewire-pulse"],
    service: SERVICE,
    session_manager: Some(SESSION_MANAGER),
    units: &[SERVICE, "pipewire.socket", SESSION_MANAGER, PULSE_SERVICE, PULSE_SOCKET],
    per_user: &[PULSE_SERVICE, PULSE_SOCKET],
    // Its own listing is large: a pipe, never a file.
    query: ("pw-dump", "command -v pw-dump >/dev/null || exit 127; pw-dump --no-colors"),
    players: &[PW_PLAY, PW_CAT_PLAY, PAPLAY, APLAY],
    recorders: &[PW_RECORD, PW_CAT_RECORD, PARECORD, ARECORD],
    keeps_card_state: false,
};

impl SoundServer for PipeWire {
    fn profile(&self) -> &'static ServerProfile {
        &PROFILE
    }

    fn is_expected(&self, expected: &ExpectedAudio) -> bool {
        expected.pipewire
    }

    fn read(&self, documents: &[Value]) -> ServerState {
        state(documents)
    }

    fn first_client(&self, expected: &ExpectedAudio) -> Option<&'static str> {
        expected.pipewire_pulse.then_some(
            "if command -v pactl >/dev/null; then exec pactl info; else exec systemctl --user start pipewire-pulse.service; fi",
        )
    }

    fn unit_findings(&self, judge: &AudioJudge<'_>) -> Vec<Finding> {
        let (expected, facts) = (judge.expected, judge.facts);
        let is_active = |name: &str| facts.unit(name).is_some_and(|unit| unit.active_state == ActiveState::Active);
        let mut fails: Vec<Finding> = judge.unit_trouble(SERVICE).into_iter().collect();
        // It comes and goes with the server: where that could not be started, it is not to blame.
        let started = judge.unit(SERVICE).is_some_and(|unit| unit.active_state == ActiveState::Active);
        if expected.wireplumber && started {
            fails.extend(judge.unit_trouble(SESSION_MANAGER));
        }
        if expected.pipewire_pulse {
            fails.extend(judge.unit_trouble(PULSE_SERVICE));
            if fails.is_empty() && !is_active(PULSE_SOCKET) && !is_active(PULSE_SERVICE) {
                let what = format!("{PULSE_SOCKET} is not active: PulseAudio clients cannot connect");
                fails.push(Finding::new(PULSE_SOCKET, what));
            }
        }
        fails.extend(beside(judge));
        fails
    }

    /// What is declared under a name that PipeWire does not read has no effect.
    fn setting_findings(&self, expected: &ExpectedAudio, state: &ServerState) -> Vec<Finding> {
        let mut fails = Vec::new();
        for (name, value) in expected.properties.iter().filter(|(name, _)| name.starts_with("clock.")) {
            if let Some(effective) = state.settings.get(name) {
                let what =
                    format!("{name} = {value} is declared, but PipeWire does not read it: {name} is {effective}");
                let right = format!("PipeWire calls it {CLOCK}{}", name.trim_start_matches("clock."));
                fails.push(Finding::new(name, what).hint(right));
            }
        }
        if let (Some(declared), Some(effective)) =
            (expected.properties.get("default.clock.rate"), state.settings.get("clock.rate"))
            && declared != effective
        {
            let what = format!("default.clock.rate = {declared} is declared, but {effective} is in effect");
            let hint = "in `context.properties` of services.pipewire.extraConfig.pipewire.NAME, in quotes: without them \
                        default.clock.rate is a set in sets, which PipeWire does not read";
            fails.push(Finding::new("default.clock.rate", what).hint(hint));
        }
        if let (Some(declared), Some(effective)) =
            (expected.properties.get("default.clock.allowed-rates"), state.settings.get("clock.allowed-rates"))
            && numbers(declared).count() > 0
            && !numbers(declared).any(|rate| numbers(effective).any(|other| other == rate))
        {
            let what = format!("default.clock.allowed-rates = {declared} is declared, but {effective} is in effect");
            fails.push(Finding::new("default.clock.allowed-rates", what));
        }
        fails
    }
}

/// The numbers of a list, however it is written.
fn numbers(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty())
}

/// PulseAudio that runs, or is to run, in the same session.
fn beside(judge: &AudioJudge<'_>) -> Option<Finding> {
    let facts = judge.facts;
    let runs = |name: &str| facts.processes.iter().any(|process| process.name == name && process.uid == facts.uid);
    if judge.expected.pulseaudio {
        let what = format!("pulseaudio and pipewire both run for {}: each takes the card from the other", facts.user);
        let hint = "enable one of services.pulseaudio and services.pipewire.audio";
        return (runs("pulseaudio") && runs("pipewire")).then(|| Finding::new(PULSEAUDIO, what).hint(hint));
    }
    let has_failed = facts.unit(PULSEAUDIO)?.active_state == ActiveState::Failed;
    (has_failed || runs("pulseaudio")).then(|| {
        let state = if has_failed { "has failed" } else { "runs" };
        let what = format!("{PULSEAUDIO} {state}, though PipeWire is meant to serve PulseAudio clients");
        Finding::new(PULSEAUDIO, what).detail(judge.last_lines(PULSEAUDIO))
    })
}

/// `pw-dump`'s list of objects.
fn state(documents: &[Value]) -> ServerState {
    let mut state = ServerState { kind: SoundServerKind::Pipewire, ..ServerState::default() };
    let routes = routes(documents);
    let feeding = feeding(documents);
    // Later documents hold changes of earlier ones; one is the rule.
    for object in documents.iter().filter_map(Value::as_array).flatten() {
        let kind = object["type"].as_str().unwrap_or_default();
        let properties = &object["info"]["props"];
        if kind.ends_with(":Metadata") {
            read_metadata(object, &mut state);
        } else if kind.ends_with(":Node") {
            let list = match properties["media.class"].as_str() {
                Some("Audio/Sink") => &mut state.sinks,
                Some("Audio/Source") => &mut state.sources,
                _ => continue,
            };
            if list.len() < MOST {
                let mut node = node(object, &routes);
                // What is played into it goes on to another node: a loopback, a filter.
                node.null &= node.name == FALLBACK || object["id"].as_u64().is_none_or(|id| !feeding.contains(&id));
                list.push(node);
            }
        } else if kind.ends_with(":Device") && properties["media.class"] == "Audio/Device" && state.cards.len() < MOST {
            let profile = &param(object, "Profile")["name"];
            state.cards.insert(json_text(&properties["device.name"]), json_text(profile));
        } else if kind.ends_with(":Client") {
            state.clients.extend(process_id(&properties["application.process.id"]));
        }
    }
    state
}

/// The nodes from which a link leads to another one.
fn feeding(documents: &[Value]) -> BTreeSet<u64> {
    let objects = documents.iter().filter_map(Value::as_array).flatten().take(MOST * MOST);
    let links = objects.filter(|object| object["type"].as_str().is_some_and(|kind| kind.ends_with(":Link")));
    links.filter_map(|link| link["info"]["output-node-id"].as_u64()).collect()
}

/// The first value of a parameter.
fn param<'a>(object: &'a Value, name: &str) -> &'a Value {
    &object["info"]["params"][name][0]
}

/// The default nodes, and the settings in effect.
fn read_metadata(object: &Value, state: &mut ServerState) {
    let entries: Vec<&Value> = object["metadata"].as_array().into_iter().flatten().collect();
    match object["props"]["metadata.name"].as_str() {
        Some("default") => {
            let named = |key: &str| {
                let entry = entries.iter().find(|entry| entry["key"] == key);
                entry.map(|entry| json_text(&entry["value"]["name"])).filter(|name| !name.is_empty())
            };
            (state.default_sink, state.default_source) = (named("default.audio.sink"), named("default.audio.source"));
        }
        Some("settings") => {
            let pairs = entries.iter().take(MOST).map(|entry| (json_text(&entry["key"]), json_text(&entry["value"])));
            state.settings.extend(pairs);
        }
        _ => {}
    }
}

/// Whether routes of the cards are muted, and how loud they are, by device and profile device.
type Routes = BTreeMap<(u64, u64), (bool, Vec<f64>)>;

/// A sink or a source. A node that was made after its route had been set does not know of it (measured, 1.4): it says
/// full, and silence comes out.
fn node(object: &Value, routes: &Routes) -> AudioNode {
    let properties = &object["info"]["props"];
    let props = param(object, "Props");
    let whole = props["volume"].as_f64().unwrap_or(1.0);
    let mut volumes: Vec<f64> = channel_volumes(props).map(|volume| volume * whole).collect();
    let mut muted = props["mute"].as_bool().unwrap_or(false);
    if let (Some(device), Some(port)) = (properties["device.id"].as_u64(), properties["card.profile.device"].as_u64())
        && let Some((off, loudness)) = routes.get(&(device, port))
    {
        muted |= off;
        if !loudness.is_empty() && loudness.iter().sum::<f64>() < volumes.iter().sum() {
            volumes.clone_from(loudness);
        }
    }
    let name = json_text(&properties["node.name"]);
    let null = properties["factory.name"] == "support.null-audio-sink" || name == FALLBACK;
    AudioNode { name, null, muted, volumes }
}

/// `channelVolumes` of some properties.
fn channel_volumes(props: &Value) -> impl Iterator<Item = f64> + '_ {
    props["channelVolumes"].as_array().into_iter().flatten().filter_map(Value::as_f64)
}

fn routes(documents: &[Value]) -> Routes {
    let devices = documents.iter().filter_map(Value::as_array).flatten().take(MOST * MOST);
    let routes =
        devices.filter_map(|device| Some((device["id"].as_u64()?, device["info"]["params"]["Route"].as_array()?)));
    let routes = routes.flat_map(|(id, routes)| routes.iter().take(MOST).map(move |route| (id, route)));
    let read = |(id, route): (u64, &Value)| {
        let props = &route["props"];
        let muted = props["mute"].as_bool().unwrap_or(false);
        Some(((id, route["device"].as_u64()?), (muted, channel_volumes(props).collect())))
    };
    routes.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read() {
        let dump = serde_json::json!([
            {"type": "PipeWire:Interface:Metadata", "props": {"metadata.name": "default"},
             "metadata": [{"subject": 0, "key": "default.audio.sink", "value": {"name": "alsa_output.x"}}]},
            {"type": "PipeWire:Interface:Metadata", "props": {"metadata.name": "settings"},
             "metadata": [{"key": "clock.rate", "value": 48000}]},
            {"type": "PipeWire:Interface:Node", "info": {"props": {"media.class": "Audio/Sink", "node.name": "alsa_output.x"},
             "params": {"Props": [{"mute": true, "volume": 1.0, "channelVolumes": [0.064, 0.0]}]}}},
            {"type": "PipeWire:Interface:Device", "info": {"props": {"media.class": "Audio/Device", "device.name": "alsa_card.x"},
             "params": {"Profile": [{"name": "off"}]}}},
            {"type": "PipeWire:Interface:Node", "info": null}
        ]);
        let state = state(&[dump]);
        assert_eq!(state.default_sink.as_deref(), Some("alsa_output.x"));
        assert_eq!(state.settings["clock.rate"], "48000");
        assert_eq!(state.cards["alsa_card.x"], "off");
        assert!(state.sinks[0].muted && !state.sinks[0].null);
        assert_eq!(state.sinks[0].volumes, [0.064, 0.0]);
        assert_eq!(super::state(&[]), ServerState::default());
    }

    #[test]
    fn a_null_sink_that_leads_on_throws_nothing_away() {
        let null = |name: &str, link: Value| {
            let dump = serde_json::json!([
                {"id": 31, "type": "PipeWire:Interface:Node", "info": {"props": {"media.class": "Audio/Sink",
                 "node.name": name, "factory.name": "support.null-audio-sink"}}},
                {"id": 60, "type": "PipeWire:Interface:Link", "info": link}
            ]);
            state(&[dump]).sinks[0].null
        };
        let on = serde_json::json!({"output-node-id": 31, "input-node-id": 49});
        assert!(!null("speakers", on.clone()));
        // What others play into it stays there; nothing is behind the fallback, whoever listens.
        assert!(null("speakers", serde_json::json!({"output-node-id": 49, "input-node-id": 31})));
        assert!(null("speakers", Value::Null) && null("auto_null", on));
    }

    #[test]
    fn the_route_counts_where_the_node_does_not_know_of_it() {
        let sink = |route: Value| {
            let dump = serde_json::json!([
                {"id": 43, "type": "PipeWire:Interface:Device", "info": {"props": {"media.class": "Audio/Device"},
                 "params": {"Route": [{"index": 0, "direction": "Output", "device": 1, "props": route}]}}},
                {"id": 49, "type": "PipeWire:Interface:Node", "info": {
                 "props": {"media.class": "Audio/Sink", "node.name": "x", "device.id": 43, "card.profile.device": 1},
                 "params": {"Props": [{"mute": false, "volume": 1.0, "channelVolumes": [1.0, 1.0]}]}}}
            ]);
            let sink = state(&[dump]).sinks.remove(0);
            (sink.muted, sink.volumes)
        };
        assert_eq!(sink(serde_json::json!({"mute": false, "channelVolumes": [0.0, 0.0]})), (false, vec![0.0, 0.0]));
        assert_eq!(sink(serde_json::json!({"mute": true, "channelVolumes": [1.0, 1.0]})), (true, vec![1.0, 1.0]));
        assert_eq!(sink(Value::Null), (false, vec![1.0, 1.0]));
    }
}
