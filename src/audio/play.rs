//! Tones, played in the guest by what it has.

use std::time::Duration;

use super::facts::TonePlayback;
use super::programs::{DefaultNode, branches, names, unmute};
use super::server::SoundServer;
use super::session::AudioSession;
use crate::guest::{Error, Guest};
use crate::text::bounded;

/// The file that is played, in the user's runtime directory.
const FILE: &str = "nixbox-tone.wav";

/// Puts a WAV file into the session and plays it. `loud`: unmutes the default sink meanwhile.
///
/// # Errors
/// The guest could not be asked, or has nothing that plays.
pub(super) async fn play(
    guest: &Guest,
    session: &AudioSession,
    server: &dyn SoundServer,
    wav: Vec<u8>,
    loud: bool,
    deadline: Duration,
) -> Result<TonePlayback, Error> {
    let upload = format!("cat > \"$XDG_RUNTIME_DIR/{FILE}\"");
    let output = session.run_with(guest, &upload, wav, deadline).await?;
    if output.exit != 0 {
        let why = bounded(&String::from_utf8_lossy(&output.stderr), 200);
        return Err(Error::Deadline(format!("the tones could not be put into the guest: {why}")));
    }
    let clock = tokio::time::Instant::now();
    let output = session.run(guest, &script(server, loud), deadline).await?;
    if output.exit == 127 && output.stdout.is_empty() {
        return Err(Error::Lacks("program that plays a sound (pw-play, paplay, aplay)".to_owned()));
    }
    let player = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
    Ok(TonePlayback {
        player: bounded(&player, 40),
        exit: output.exit,
        stderr: bounded(String::from_utf8_lossy(&output.stderr).trim(), 400),
        seconds: clock.elapsed().as_secs_f64(),
        hung: output.timed_out,
        unmuted: loud,
        ..TonePlayback::default()
    })
}

/// Plays with the first player that is there, which it names.
fn script(server: &dyn SoundServer, loud: bool) -> String {
    let players = server.profile().players;
    let (before, after) = unmute(DefaultNode::Sink, loud);
    format!(
        "F=$XDG_RUNTIME_DIR/{FILE}\n{before}\nfor P in {names}; do\n command -v \"$P\" >/dev/null || continue\n echo \"$P\"\n \
         case $P in\n{branches} esac\n E=$?\n {after}\n rm -f \"$F\"\n exit $E\ndone\nexit 127",
        names = names(players),
        branches = branches(players, ""),
    )
}
