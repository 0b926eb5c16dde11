//! Recorded facts of guests as fixtures: `tests/fixtures/facts/NAME.json.gz` is what nixbox judged of a guest, packed
//! (fields of units and journal lines that have their default are left out, the second observation holds only what
//! differs from the first), so that those of all guests take a few MiB. Handmade ones are plain JSON.

#![allow(dead_code, reason = "one test binary writes them, the other reads them")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde_json::Value;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where they lie.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/facts")
}

/// Lists of objects whose fields have serde defaults.
const LISTS: [&str; 2] = ["units", "journal"];

/// Writes a recorded guest's. The same facts are the same bytes.
pub(crate) fn write(directory: &Path, name: &str, mut fixture: Value) -> Result<()> {
    if let Some(observations) = fixture.get_mut("observations") {
        pack(observations);
    }
    let file = File::create(directory.join(format!("{name}.json.gz")))?;
    let mut writer = GzBuilder::new().mtime(0).write(file, Compression::best());
    serde_json::to_writer(&mut writer, &fixture)?;
    writer.write_all(b"\n")?;
    writer.finish()?;
    Ok(())
}

/// Reads one, recorded or handmade.
pub(crate) fn read(path: &Path) -> Result<Value> {
    let mut text = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(BufReader::new(File::open(path)?)).read_to_end(&mut text)?;
    } else {
        text = fs::read(path)?;
    }
    let mut fixture: Value = serde_json::from_slice(&text)?;
    if let Some(observations) = fixture.get_mut("observations") {
        unpack(observations);
    }
    Ok(fixture)
}

fn pack(observations: &mut Value) {
    let first = observations["first"].clone();
    if let Some(later) = observations.get_mut("later").and_then(Value::as_object_mut) {
        for list in LISTS {
            if let Some(Value::Array(entries)) = later.get_mut(list) {
                let known = first[list].as_array();
                entries.retain(|entry| !known.is_some_and(|known| known.contains(entry)));
            }
        }
        later.retain(|key, value| LISTS.contains(&key.as_str()) || first.get(key) != Some(value));
    }
    for facts in ["first", "later"] {
        for list in LISTS {
            let entries =
                observations.get_mut(facts).and_then(|facts| facts.get_mut(list)).and_then(Value::as_array_mut);
            entries.into_iter().flatten().for_each(without_defaults);
        }
    }
}

fn without_defaults(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    fields.values_mut().for_each(without_defaults);
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        // A unit that is a service says so by having this, whatever is in it.
        Value::Object(_) => true,
    });
}

fn unpack(observations: &mut Value) {
    let first = observations["first"].clone();
    let Some(later) = observations.get_mut("later").and_then(Value::as_object_mut) else { return };
    for (key, value) in first.as_object().into_iter().flatten() {
        let changed = later.entry(key.clone()).or_insert_with(|| value.clone());
        let (Value::Array(changed), Value::Array(all)) = (changed, value) else { continue };
        match key.as_str() {
            "units" => {
                let is_changed = |unit: &Value| changed.iter().any(|other| other["name"] == unit["name"]);
                let kept: Vec<Value> = all.iter().filter(|unit| !is_changed(unit)).cloned().collect();
                changed.extend(kept);
            }
            "journal" => {
                let new = std::mem::replace(changed, all.clone());
                changed.extend(new);
            }
            _ => {}
        }
    }
}
