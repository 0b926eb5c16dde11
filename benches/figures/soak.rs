//! What takes many boots: how often a healthy guest is called broken (`--soak`), and which broken guest is not called so,
//! or for another reason than its own (`--broken`).
//!
//! Each boot is a line of a log. A run that was interrupted goes on where it was, and a number is told once there are
//! enough boots of the very nixbox that is measured.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nixbox::model::Exit;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::harness::{Nixbox, complaints, expected, guest};
use crate::tone_seconds;

/// How many boots of healthy guests a count of false alarms takes.
const BOOTS: usize = 40;
/// Healthy guests, booted in turn.
const HEALTHY: [&str; 3] = ["audio", "pulse", "sway"];
/// The sets of guests whose broken ones are counted.
const SETS: [&str; 2] = ["audio", "desktop"];

/// What came of one boot.
#[derive(Serialize, Deserialize)]
struct Boot {
    /// Which nixbox judged: a hash of its executable.
    nixbox: String,
    guest: String,
    exit: i32,
    cause: Option<String>,
    /// What is wrong with what was said, by `tests/guests#expected`.
    wrong: Vec<String>,
    seconds: f64,
    painted_to_verdict_s: Option<f64>,
    tone_s: Option<f64>,
    /// What was heard of the tones, and what the microphone recorded.
    #[serde(default)]
    heard: Vec<Value>,
}

impl Boot {
    /// Whether there was a verdict on the configuration. What this host could not do counts for nothing, and is done
    /// again.
    fn is_verdict(&self) -> bool {
        matches!(self.exit, 0 | 1 | 3 | 4)
    }

    fn is_healthy(&self) -> bool {
        HEALTHY.contains(&self.guest.as_str())
    }
}

/// What was heard in a run, by the checks that listened.
fn heard(report: &Value) -> Vec<Value> {
    let checks = report["checks"].as_array().into_iter().flatten();
    let listened = checks.filter(|check| check["id"] == "audio.tone" || check["id"] == "audio.microphone");
    listened.map(|check| check["evidence"]["heard"].clone()).filter(Value::is_object).collect()
}

/// All boots of this nixbox so far.
pub(crate) struct Log {
    directory: PathBuf,
    nixbox: String,
    guests: Map<String, Value>,
    boots: Vec<Boot>,
}

impl Log {
    pub(crate) fn open() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak");
        let executable = fs::read(env!("CARGO_BIN_EXE_nixbox")).expect("nixbox");
        let mut hasher = DefaultHasher::new();
        hasher.write(&executable);
        let nixbox = format!("{:016x}", hasher.finish());
        // The last line of a run that was killed may be half a line.
        let text = fs::read_to_string(directory.join("log.jsonl")).unwrap_or_default();
        let boots = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let boots = boots.filter(|boot: &Boot| boot.nixbox == nixbox).collect();
        Self { directory, nixbox, guests: expected().expect("tests/guests#expected"), boots }
    }

    fn verdicts(&self) -> impl Iterator<Item = &Boot> {
        self.boots.iter().filter(|boot| boot.is_verdict())
    }

    fn healthy(&self) -> usize {
        self.verdicts().filter(|boot| boot.is_healthy()).count()
    }

    /// Boots healthy guests: so many, or as many as are missing.
    pub(crate) fn soak(&mut self, boots: Option<usize>) {
        let boots = boots.unwrap_or_else(|| BOOTS.saturating_sub(self.healthy()));
        for _ in 0..boots {
            let name = HEALTHY[self.healthy() % HEALTHY.len()];
            self.boot(name, &format!("{} of {BOOTS}", self.healthy() + 1));
        }
    }

    /// Boots broken guests that were not yet judged: so many at most.
    pub(crate) fn broken(&mut self, boots: Option<usize>) {
        let (judged, all) = self.broken_guests();
        let left: Vec<String> = all.iter().filter(|name| !judged.contains(*name)).cloned().collect();
        for (index, name) in left.iter().take(boots.unwrap_or(left.len())).enumerate() {
            self.boot(name, &format!("{} of {}", judged.len() + index + 1, all.len()));
        }
    }

    /// Broken guests: those that were judged, and all.
    fn broken_guests(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let broken = |wanted: &Value| wanted["exit"] != 0 && SETS.iter().any(|set| wanted["set"] == *set);
        let all = self.guests.iter().filter(|(_, wanted)| broken(wanted)).map(|(name, _)| name.clone());
        let all: BTreeSet<String> = all.collect();
        let judged = self.verdicts().map(|boot| boot.guest.clone()).filter(|name| all.contains(name)).collect();
        (judged, all)
    }

    fn boot(&mut self, name: &str, count: &str) {
        let wanted = self.guests.get(name).expect("an expected guest").clone();
        let extra = wanted["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let clock = Instant::now();
        let outcome = Nixbox::try_(guest(name)).args(extra).patient().run();
        if outcome.code() == i32::from(Exit::Interrupted.code()) {
            eprintln!("interrupted: the same goes on where this was");
            let code = outcome.code();
            // Its home goes with it.
            drop(outcome);
            std::process::exit(code);
        }
        let report = outcome.report();
        let boot = Boot {
            nixbox: self.nixbox.clone(),
            guest: name.to_owned(),
            exit: outcome.code(),
            cause: report["cause"].as_str().map(str::to_owned),
            wrong: complaints(&wanted, &outcome),
            seconds: clock.elapsed().as_secs_f64(),
            painted_to_verdict_s: report["painted_to_verdict"].as_f64(),
            tone_s: tone_seconds(&report),
            heard: heard(&report),
        };
        fs::create_dir_all(&self.directory).expect("a directory for the log");
        if !boot.wrong.is_empty() {
            self.keep(&boot, outcome.call.home());
        }
        eprintln!(
            "{count}: {name}: exit {}{}",
            boot.exit,
            boot.wrong.iter().map(|what| format!("; {what}")).collect::<String>()
        );
        let line = serde_json::to_string(&boot).expect("JSON") + "\n";
        let log = OpenOptions::new().create(true).append(true).open(self.directory.join("log.jsonl"));
        log.and_then(|mut log: File| log.write_all(line.as_bytes())).expect("the log can be written");
        self.boots.push(boot);
    }

    /// What the rules on pitch, length and dropouts rest on: all plays and recordings in healthy guests.
    pub(crate) fn plays(&self) {
        let plays: Vec<&Value> =
            self.boots.iter().filter(|boot| boot.is_healthy()).flat_map(|boot| &boot.heard).collect();
        let all = |pick: &dyn Fn(&Value) -> Option<f64>| {
            let mut values: Vec<f64> = plays.iter().filter_map(|play| pick(&play["playback"])).collect();
            values.sort_by(f64::total_cmp);
            let at = |share: f64| values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied();
            format!("{:.4?} {:.4?} {:.4?} {:.4?}", at(0.0), at(0.5), at(0.95), at(1.0))
        };
        let dropped = |play: &Value| {
            let dropouts = play["dropouts"].as_array()?;
            Some(dropouts.iter().filter_map(|dropout| dropout["length-s"].as_f64()).sum::<f64>())
        };
        eprintln!("{} plays and recordings; least, median, 95 %, most:", plays.len());
        eprintln!("  pitch off by       {}", all(&|play| Some((play["pitch-ratio"].as_f64()? - 1.0).abs())));
        eprintln!("  pitch spread       {}", all(&|play| play["pitch-spread"].as_f64()));
        eprintln!("  length             {}", all(&|play| play["length-ratio"].as_f64()));
        eprintln!("  without dropouts   {}", all(&|play| play["length-ratio-without-dropouts"].as_f64()));
        eprintln!("  silence, s         {}", all(&dropped));
        eprintln!("  dropouts           {}", all(&|play| Some(play["dropouts"].as_array()?.len() as f64)));
    }

    /// The evidence of what went wrong.
    fn keep(&self, boot: &Boot, home: &Path) {
        let to = self.directory.join(format!("{}-{}-{}", self.nixbox, self.boots.len() + 1, boot.guest));
        let copied = Command::new("cp").arg("-r").arg(home.join("artifacts")).arg(&to).status();
        if copied.is_ok_and(|status| status.success()) {
            eprintln!("its evidence: {}", to.display());
        }
    }

    /// How often a healthy guest was called broken, once there are enough boots or it was.
    pub(crate) fn false_alarms(&self) -> Option<f64> {
        let boots = self.healthy();
        let alarms = self.verdicts().filter(|boot| boot.is_healthy() && boot.exit != 0).count();
        let untold = self.boots.iter().filter(|boot| boot.is_healthy() && !boot.is_verdict()).count();
        eprintln!("false_alarms: {alarms} in {boots} of {BOOTS} boots, {untold} more without a verdict (--soak)");
        (alarms > 0 || boots >= BOOTS).then_some(alarms as f64)
    }

    /// How many broken guests passed, or failed for another reason than their own, once all were tried or one did.
    pub(crate) fn misses(&self) -> Option<f64> {
        let (judged, all) = self.broken_guests();
        // The last word on each.
        let is_missed = |name: &String| {
            self.verdicts().filter(|boot| boot.guest == *name).last().is_some_and(|boot| !boot.wrong.is_empty())
        };
        let missed: Vec<&str> = judged.iter().filter(|name| is_missed(name)).map(String::as_str).collect();
        eprintln!(
            "misses: {} in {} of {} broken guests (--broken) {}",
            missed.len(),
            judged.len(),
            all.len(),
            missed.join(", ")
        );
        (!missed.is_empty() || judged.len() == all.len()).then_some(missed.len() as f64)
    }
}
