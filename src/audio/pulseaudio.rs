//! PulseAudio proper.

use std::collections::BTreeMap;

use serde_json::Value;

use super::facts::{AudioNode, ServerState};
use super::judge::AudioJudge;
use super::programs::{APLAY, ARECORD, PACAT, PAPLAY, PAREC, PARECORD};
use super::server::{ServerProfile, SoundServer, SoundServerKind};
use super::{MOST, json_text, process_id};
use crate::judging::{Finding, text};
use crate::nix::expectations::ExpectedAudio;

/// PulseAudio.
pub(super) struct PulseAudio;

const SERVICE: &str = "pulseaudio.service";

static PROFILE: ServerProfile = ServerProfile {
    name: "PulseAudio",
    process: "pulseaudio",
    processes: &["pulseaudio"],
    service: SERVICE,
    session_manager: None,
    units: &[SERVICE, "pulseaudio.socket"],
    per_user: &[],
    query: (
        "pactl",
        "command -v pactl >/dev/null || exit 127; \
         for A in info 'list sinks' 'list cards' 'list sources' 'list clients'; do pactl -f json $A || exit; echo; done",
    ),
    players: &[PAPLAY, PACAT, APLAY],
    recorders: &[PARECORD, PAREC, ARECORD],
    keeps_card_state: true,
};

impl SoundServer for PulseAudio {
    fn profile(&self) -> &'static ServerProfile {
        &PROFILE
    }

    fn is_expected(&self, expected: &ExpectedAudio) -> bool {
        expected.pulseaudio
    }

    fn read(&self, documents: &[Value]) -> ServerState {
        state(documents)
    }

    fn unit_findings(&self, judge: &AudioJudge<'_>) -> Vec<Finding> {
        judge.unit_trouble(SERVICE).into_iter().chain(unused_sink(judge)).chain(pipewire_has_card(judge)).collect()
    }
}

/// A sink that was declared for PipeWire: applications play to PulseAudio, and never see it.
fn unused_sink(judge: &AudioJudge<'_>) -> Option<Finding> {
    let sinks = &judge.expected.unused_sinks;
    let first = sinks.first()?;
    let what = format!(
        "PulseAudio serves the session; PipeWire, whose configuration creates the sink {}, is not used for sound",
        text::list(sinks)
    );
    Some(Finding::new(first, what).hint("services.pulseaudio.enable = false, services.pipewire.pulse.enable = true"))
}

/// PipeWire, meant for screens only, that has taken the card.
fn pipewire_has_card(judge: &AudioJudge<'_>) -> Option<Finding> {
    let facts = judge.facts;
    let is_theirs = |name: &str| ["pipewire", "wireplumber"].contains(&name);
    let other = facts.processes.iter().find(|it| is_theirs(&it.name) && it.has_card && it.uid == facts.uid)?;
    let runs = facts.processes.iter().any(|it| it.name == "pulseaudio" && it.uid == facts.uid);
    let what = format!("pulseaudio and {} both run for {}, and {} has the card", other.name, facts.user, other.name);
    let hint = "enable one of services.pulseaudio and services.pipewire for sound";
    runs.then(|| Finding::new(other.name.as_str(), what).hint(hint))
}

/// `pactl -f json`: info, sinks, cards, sources, clients.
fn state(documents: &[Value]) -> ServerState {
    let list = |index: usize| documents.get(index).and_then(Value::as_array).into_iter().flatten().take(MOST);
    let default = |key: &str| documents.first().map(|info| json_text(&info[key])).filter(|name| !name.is_empty());
    // The monitor of a sink is called after it.
    let is_monitor = |source: &&Value| source["name"].as_str().is_some_and(|name| name.ends_with(".monitor"));
    ServerState {
        kind: SoundServerKind::Pulseaudio,
        default_sink: default("default_sink_name"),
        sinks: list(1).map(node).collect(),
        default_source: default("default_source_name"),
        sources: list(3).filter(|source| !is_monitor(source)).map(node).collect(),
        cards: list(2).map(|card| (json_text(&card["name"]), json_text(&card["active_profile"]))).collect(),
        settings: BTreeMap::new(),
        clients: list(4).filter_map(|client| process_id(&client["properties"]["application.process.id"])).collect(),
    }
}

fn node(node: &Value) -> AudioNode {
    let volumes = node["volume"].as_object().into_iter().flat_map(|volumes| volumes.values());
    AudioNode {
        name: json_text(&node["name"]),
        null: node["driver"] == "module-null-sink.c" || node["driver"] == "module-null-sink",
        muted: node["mute"].as_bool().unwrap_or(false),
        volumes: volumes.filter_map(|volume| Some(volume["value"].as_f64()? / 65536.0)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pactl_prints_is_read() {
        let state = state(&[
            serde_json::json!({"default_sink_name": "auto_null"}),
            serde_json::json!([{"name": "auto_null", "driver": "module-null-sink.c", "mute": false,
                "volume": {"front-left": {"value": 65536}, "front-right": {"value": 32768}}}]),
            serde_json::json!([]),
        ]);
        assert!(state.sinks[0].null);
        let mut volumes = state.sinks[0].volumes.clone();
        volumes.sort_by(f64::total_cmp);
        assert_eq!(volumes, [0.5, 1.0]);
        assert_eq!(super::state(&[Value::Null]).default_sink, None);
    }
}
