//! The microphone, recorded in the guest by what it has.

use std::time::Duration;

use super::facts::Recording;
use super::programs::{DefaultNode, RECORDED_BYTES_PER_S, branches, names, unmute};
use super::server::SoundServer;
use super::session::AudioSession;
use crate::guest::{Error, Guest};
use crate::text::bounded;

/// The file that is recorded into, in the user's runtime directory.
const FILE: &str = "nixbox-recording.wav";

/// Records until there are `seconds` of sound, and brings it here: a WAV file, or less. `loud`: unmutes the default
/// source meanwhile.
///
/// # Errors
/// The guest could not be asked, or has nothing that records.
pub(super) async fn record(
    guest: &Guest,
    session: &AudioSession,
    server: &dyn SoundServer,
    seconds: f64,
    loud: bool,
    deadline: Duration,
) -> Result<(Recording, Vec<u8>), Error> {
    let output = session.run(guest, &script(server, seconds, loud, deadline), deadline * 2).await?;
    if output.exit == 127 && output.stdout.is_empty() {
        return Err(Error::Lacks(format!("{RECORDER} (pw-record, parecord, arecord)")));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (recorder, stderr) = stderr.split_once('\n').unwrap_or((&stderr, ""));
    let recording = Recording {
        recorder: bounded(recorder, 40),
        stderr: bounded(stderr.trim(), 400),
        bytes: output.stdout.len() as u64,
        unmuted: loud,
        ..Recording::default()
    };
    Ok((recording, output.stdout))
}

/// What a guest lacks that cannot record.
pub(super) const RECORDER: &str = "program that records a sound";

/// Records with the first recorder that is there, which it names on stderr. A recorder that is told to end writes what it
/// has; one that is not ends with the shell.
fn script(server: &dyn SoundServer, seconds: f64, loud: bool, deadline: Duration) -> String {
    let recorders = server.profile().recorders;
    let (before, after) = unmute(DefaultNode::Source, loud);
    let bytes = (seconds * f64::from(RECORDED_BYTES_PER_S)) as u64;
    let tenths = deadline.as_secs_f64() * 10.0;
    format!(
        "F=$XDG_RUNTIME_DIR/{FILE}\nrm -f \"$F\"\n{before}\nfor P in {names}; do\n command -v \"$P\" >/dev/null || continue\n \
         echo \"$P\" >&2\n case $P in\n{branches} esac\n R=$! N=0\n \
         while [ $N -lt {tenths:.0} ] && kill -0 $R 2>/dev/null; do\n  S=$(stat -c %s \"$F\" 2>/dev/null)\n  \
         [ \"${{S:-0}}\" -ge {bytes} ] && break\n  sleep 0.1\n  N=$((N + 1))\n done\n kill $R 2>/dev/null\n wait $R 2>/dev/null\n \
         {after}\n cat \"$F\" 2>/dev/null\n rm -f \"$F\"\n exit 0\ndone\nexit 127",
        names = names(recorders),
        branches = branches(recorders, " &"),
    )
}
