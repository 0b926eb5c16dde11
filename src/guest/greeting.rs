//! The first words on a stream: both sides show their half of the run's token.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::Error;
use super::credentials::Token;
use crate::model::timeouts::guest::{GREETING_ATTEMPT, GREETING_INTERVAL};
use crate::nonce::nonce;
use crate::transport::Transport;

/// Pauses between attempts. Nothing tells when a guest begins to listen: its kernel resets what comes before.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// Opens a stream to our script in the guest and makes sure that it is ours; gives the stream and the script's pid.
///
/// # Errors
/// [`Error::Deadline`] with the last attempt's reason.
pub(super) async fn greet(
    channel: &dyn Transport,
    port: u32,
    token: &Token,
    deadline: Instant,
) -> Result<(UnixStream, u32), Error> {
    let mut pause = PAUSE.0;
    let mut last = "no attempt was made".to_owned();
    while Instant::now() < deadline {
        let until = deadline.min(Instant::now() + GREETING_ATTEMPT);
        match timeout_at(until, channel.open(port)).await {
            Ok(Ok(mut stream)) => {
                pause = PAUSE.0;
                match ping(&mut stream, token, deadline).await {
                    Ok(pid) => return Ok((stream, pid)),
                    Err(error) => last = error.to_string(),
                }
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "the connection was not answered".to_owned(),
        }
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(PAUSE.1);
    }
    Err(Error::Deadline(format!("the guest does not answer on port {port}: {last}")))
}

/// Asks until there is an answer.
async fn ping(stream: &mut UnixStream, token: &Token, deadline: Instant) -> Result<u32, Error> {
    let nonce = nonce()?;
    // The line's end before it ends what a cancelled use left half said.
    let question = format!("\n{} {nonce} printf '%s %s %s\\n' \"$a\" \"$n\" \"$$\"\n", token.ask());
    let answer = format!("{} {nonce} ", token.answer());
    let mut lines = Lines::default();
    loop {
        timeout_at(deadline, stream.write_all(question.as_bytes())).await??;
        let until = deadline.min(Instant::now() + GREETING_INTERVAL);
        match timeout_at(until, lines.find(stream, &answer)).await {
            Ok(rest) => return rest?.parse().map_err(|_| Error::Garbled),
            Err(_) if Instant::now() >= deadline => return Err(Error::Deadline("the guest's shell is silent".into())),
            Err(_) => {}
        }
    }
}

/// Says one last line and makes sure that it was heard; from then on the stream is the command's. True when the
/// command is there.
///
/// Only after [`greet`]: by then no question is under way that the command would read.
///
/// # Errors
/// No answer in time, or the stream ended.
pub(super) async fn become_command(
    stream: &mut UnixStream,
    token: &Token,
    program: &str,
    arguments: &str,
    deadline: Instant,
) -> Result<bool, Error> {
    let nonce = nonce()?;
    let line = format!(
        "{} {nonce} if command -v {program} >/dev/null; then printf '%s %s go\\n' \"$a\" \"$n\"; \
         exec {program} {arguments}; else printf '%s %s no\\n' \"$a\" \"$n\"; fi\n",
        token.ask()
    );
    timeout_at(deadline, stream.write_all(line.as_bytes())).await??;
    let answer = format!("{} {nonce} ", token.answer());
    let rest = timeout_at(deadline, Lines::default().find(stream, &answer)).await??;
    Ok(rest == "go")
}

/// Lines of a stream, read so that nothing after the wanted one is taken: the guest waits for us then.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Drops everything up to a line that has `beginning` in it, and gives that line's rest.
    async fn find(&mut self, stream: &mut UnixStream, beginning: &str) -> Result<String, Error> {
        let mut buffer = [0; 4096];
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
                self.pending.drain(..=end);
                // What a cancelled use left unread may stand before it on the same line.
                if let Some((_, rest)) = line.split_once(beginning) {
                    return Ok(rest.trim_end().to_owned());
                }
            }
            // Binary left-overs need not hold a line's end: only the last bytes can be the line's beginning.
            if self.pending.len() > 16 << 10 {
                self.pending.drain(..8 << 10);
            }
            match stream.read(&mut buffer).await? {
                0 => return Err(Error::Closed),
                count => self.pending.extend_from_slice(&buffer[..count]),
            }
        }
    }
}
