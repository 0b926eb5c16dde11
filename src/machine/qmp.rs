//! QMP: qapi's types over a connection of our own, which ignores what it does not know and can be cancelled anywhere.
//!
//! QEMU may be any version, patched by the flake, or not QEMU at all: lines are bounded, events are read loosely, and
//! whatever is not understood is ignored (QEMU's docs/interop/qmp-spec.rst).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qapi::qmp::{self, QmpCommand};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Longest line that is read, in bytes; the longest known answer (`query-qmp-schema`) has a quarter of it.
const LINE_LIMIT: usize = 1 << 20;
/// How many events wait to be read before further ones are dropped: a QEMU that floods must not grow us.
const EVENTS_KEPT: usize = 256;

/// QEMU's events, as far as they matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QmpEvent {
    /// The machine stops for good; with `-action shutdown=pause` QEMU stays.
    Shutdown {
        /// Why.
        cause: ShutdownCause,
        /// Whether the guest asked for it.
        by_guest: bool,
    },
    /// The guest's kernel panicked, as pvpanic reports.
    Panicked,
    /// The machine is paused.
    Stop,
    /// The machine goes on.
    Resume,
    /// A disk failed.
    IoError {
        /// Whether it was full.
        no_space: bool,
    },
    /// The connection has ended.
    Closed,
}

/// Why a machine stopped (QEMU's `ShutdownCause`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShutdownCause {
    /// The guest's kernel panicked.
    GuestPanic,
    /// The guest reset the machine.
    GuestReset,
    /// The user closed the window.
    HostUi,
    /// Another one, by QEMU's name: `guest-shutdown`, `host-qmp-quit`, …
    Other(String),
}

impl ShutdownCause {
    fn from_name(name: &str) -> Self {
        match name {
            "guest-panic" => Self::GuestPanic,
            "guest-reset" => Self::GuestReset,
            "host-ui" => Self::HostUi,
            // It comes from the flake's QEMU, so it is bounded.
            other => Self::Other(other.chars().take(64).collect()),
        }
    }
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU refused it, with its description.
    #[error("QEMU refused: {0}")]
    Refused(String),
    /// The connection has ended.
    #[error("QEMU has closed the connection")]
    Closed,
    /// It took too long.
    #[error("no answer from QEMU within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// The answer is not of the expected shape.
    #[error("QEMU's answer was not understood")]
    Unexpected(#[source] anyhow::Error),
}

impl QmpError {
    fn unexpected(error: impl Into<anyhow::Error>) -> Self {
        Self::Unexpected(error.into())
    }
}

type QmpAnswer = std::result::Result<Value, String>;

/// Commands that wait for their answers, by id.
#[derive(Debug, Default)]
struct Pending(Mutex<Option<HashMap<u64, oneshot::Sender<QmpAnswer>>>>);

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<QmpAnswer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to QEMU.
#[derive(Debug)]
pub struct Qmp {
    pending: Arc<Pending>,
    // A task writes: a command that is cancelled halfway must not leave half a line behind.
    lines: mpsc::Sender<Vec<u8>>,
    next_id: AtomicU64,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Qmp {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Takes a command's entry out of [`Pending`] when its future is dropped.
struct Waiting<'a>(&'a Pending, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(pending) = &mut *self.0.lock() {
            pending.remove(&self.1);
        }
    }
}

impl Qmp {
    /// Reads QEMU's greeting and leaves the negotiation mode.
    ///
    /// # Errors
    /// When the other side is no QMP server, closes, or takes longer than `limit`.
    pub async fn negotiate(
        stream: UnixStream,
        limit: Duration,
    ) -> std::result::Result<(Self, mpsc::Receiver<QmpEvent>), QmpError> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let greeting = tokio::time::timeout(limit, read_line(&mut read))
            .await
            .map_err(|_| QmpError::TimedOut(limit))?
            .map_err(QmpError::unexpected)?
            .ok_or(QmpError::Closed)?;
        let greeting: Value = serde_json::from_slice(&greeting).map_err(QmpError::unexpected)?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::unexpected(anyhow::anyhow!("it did not begin with QMP's greeting")));
        }

        let pending = Arc::new(Pending(Mutex::new(Some(HashMap::new()))));
        let (events, received) = mpsc::channel(EVENTS_KEPT);
        let (lines, mut to_write) = mpsc::channel::<Vec<u8>>(16);
        let reader = tokio::spawn({
            let pending = Arc::clone(&pending);
            async move {
                while let Ok(Some(line)) = read_line(&mut read).await {
                    dispatch(&line, &pending, &events);
                }
                // Commands that wait get their error, and so do later ones.
                pending.lock().take();
                drop(events.send(QmpEvent::Closed).await);
            }
        });
        let writer = tokio::spawn(async move {
            while let Some(line) = to_write.recv().await {
                if write.write_all(&line).await.is_err() {
                    break;
                }
            }
        });
        let qmp = Self { pending, lines, next_id: AtomicU64::new(1), tasks: [reader, writer] };
        qmp.execute(&qmp::qmp_capabilities { enable: None }, limit).await?;
        Ok((qmp, received))
    }

    /// Runs a command. Dropping the future leaves the connection as it was; the answer is then ignored.
    ///
    /// # Errors
    /// When QEMU refuses, closes the connection, answers in an unknown shape or not within `limit`.
    pub async fn execute<C: QmpCommand>(&self, command: &C, limit: Duration) -> std::result::Result<C::Ok, QmpError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let arguments = serde_json::to_value(command).map_err(QmpError::unexpected)?;
        let line = serde_json::json!({ "execute": C::NAME, "arguments": arguments, "id": id });
        let mut line = serde_json::to_vec(&line).map_err(QmpError::unexpected)?;
        line.push(b'\n');

        let (sender, receiver) = oneshot::channel();
        match &mut *self.pending.lock() {
            Some(pending) => drop(pending.insert(id, sender)),
            None => return Err(QmpError::Closed),
        }
        let _waiting = Waiting(&self.pending, id);
        let answer = tokio::time::timeout(limit, async {
            self.lines.send(line).await.map_err(|_| QmpError::Closed)?;
            receiver.await.map_err(|_| QmpError::Closed)
        });
        match answer.await {
            Err(_) => Err(QmpError::TimedOut(limit)),
            Ok(answer) => match answer? {
                Ok(value) => serde_json::from_value(value).map_err(QmpError::unexpected),
                Err(description) => Err(QmpError::Refused(description)),
            },
        }
    }
}

/// A message from QEMU.
#[derive(Deserialize)]
struct Message {
    event: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<Value>,
    id: Option<Value>,
}

/// Passes on one line: an answer to its command, a known event; the rest is dropped.
fn dispatch(line: &[u8], pending: &Pending, events: &mpsc::Sender<QmpEvent>) {
    let Ok(message) = serde_json::from_slice::<Message>(line) else { return };
    if let Some(name) = message.event {
        if let Some(event) = event(&name, &message.data) {
            drop(events.try_send(event));
        }
        return;
    }
    let Some(id) = message.id.as_ref().and_then(Value::as_u64) else { return };
    let answer = match (message.returned, message.error) {
        (_, Some(error)) => Err(error.get("desc").and_then(Value::as_str).unwrap_or("it did not say why").to_owned()),
        (returned, None) => Ok(returned.unwrap_or_default()),
    };
    if let Some(sender) = pending.lock().as_mut().and_then(|pending| pending.remove(&id)) {
        drop(sender.send(answer));
    }
}

/// Reads an event loosely: an enum value that is new to qapi's types is no reason to lose it.
fn event(name: &str, data: &Value) -> Option<QmpEvent> {
    Some(match name {
        "SHUTDOWN" => QmpEvent::Shutdown {
            cause: ShutdownCause::from_name(data.get("reason").and_then(Value::as_str).unwrap_or("none")),
            by_guest: data.get("guest").and_then(Value::as_bool).unwrap_or(false),
        },
        "GUEST_PANICKED" => QmpEvent::Panicked,
        "STOP" => QmpEvent::Stop,
        "RESUME" => QmpEvent::Resume,
        "BLOCK_IO_ERROR" => {
            QmpEvent::IoError { no_space: data.get("nospace").and_then(Value::as_bool).unwrap_or(false) }
        }
        _ => return None,
    })
}

/// One line without its end; `None` at the end of the stream.
async fn read_line(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let buffer = read.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(&buffer[..taken]);
        read.consume(taken);
        if line.len() > LINE_LIMIT {
            return Err(io::Error::other("a line from QEMU is too long"));
        }
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const GREETING: &str =
        r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 99}}, "capabilities": []}}"#;

    /// The other end, played line by line.
    struct Fake(BufReader<UnixStream>);

    impl Fake {
        async fn says(&mut self, line: &str) {
            self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }
        async fn hears(&mut self) -> Value {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            serde_json::from_str(&line).unwrap()
        }
    }

    async fn link() -> (Qmp, mpsc::Receiver<QmpEvent>, Fake) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut fake = Fake(BufReader::new(theirs));
        let play = async {
            fake.says(GREETING).await;
            let hello = fake.hears().await;
            assert_eq!(hello["execute"], "qmp_capabilities");
            fake.says(&format!(r#"{{"return": {{}}, "id": {}}}"#, hello["id"])).await;
        };
        let (linked, ()) = tokio::join!(Qmp::negotiate(ours, LIMIT), play);
        let (qmp, events) = linked.unwrap();
        (qmp, events, fake)
    }

    #[tokio::test]
    async fn the_unknown_is_ignored() {
        let (qmp, mut events, mut fake) = link().await;
        fake.says(r#"{"event": "FROM_THE_FUTURE", "data": {"x": []}}"#).await;
        fake.says("not json at all").await;
        fake.says(r#"{"return": {}, "id": 4711}"#).await;
        fake.says(r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-on-fire"}}"#).await;
        let expected = QmpEvent::Shutdown { cause: ShutdownCause::Other("guest-on-fire".into()), by_guest: true };
        assert_eq!(events.recv().await.unwrap(), expected);
        let status = qmp::query_status {};
        let (answer, ()) = tokio::join!(qmp.execute(&status, LIMIT), async {
            let asked = fake.hears().await;
            fake.says(&format!(
                r#"{{"return": {{"running": true, "status": "running", "new": 1}}, "id": {}}}"#,
                asked["id"]
            ))
            .await;
        });
        assert!(answer.unwrap().running);
    }

    #[tokio::test]
    async fn a_cancelled_command_leaves_the_connection_alone() {
        let (qmp, _events, mut fake) = link().await;
        let status = qmp::query_status {};
        let cancelled = tokio::time::timeout(Duration::from_millis(20), qmp.execute(&status, LIMIT)).await;
        assert!(cancelled.is_err());
        let first = fake.hears().await;
        assert!(qmp.pending.lock().as_ref().unwrap().is_empty());
        fake.says(&format!(r#"{{"return": {{"running": true, "status": "running"}}, "id": {}}}"#, first["id"])).await;
        let (answer, ()) = tokio::join!(qmp.execute(&status, LIMIT), async {
            let second = fake.hears().await;
            fake.says(&format!(r#"{{"return": {{"running": false, "status": "paused"}}, "id": {}}}"#, second["id"]))
                .await;
        });
        assert!(!answer.unwrap().running);
    }

    #[tokio::test]
    async fn a_refusal_comes_with_qemus_description() {
        let (qmp, _events, mut fake) = link().await;
        let quit = qmp::quit {};
        let (answer, ()) = tokio::join!(qmp.execute(&quit, LIMIT), async {
            let asked = fake.hears().await;
            fake.says(&format!(r#"{{"error": {{"class": "NewClass", "desc": "no"}}, "id": {}}}"#, asked["id"])).await;
        });
        assert!(matches!(answer, Err(QmpError::Refused(description)) if description == "no"));
    }

    #[tokio::test]
    async fn the_end_reaches_all() {
        let (qmp, mut events, mut fake) = link().await;
        let status = qmp::query_status {};
        let (answer, ()) = tokio::join!(qmp.execute(&status, LIMIT), async {
            fake.hears().await;
            drop(fake);
        });
        assert!(matches!(answer, Err(QmpError::Closed)));
        assert_eq!(events.recv().await, Some(QmpEvent::Closed));
        assert!(matches!(qmp.execute(&status, LIMIT).await, Err(QmpError::Closed)));
    }

    #[tokio::test]
    async fn what_is_no_qemu_is_reported() {
        for text in ["HTTP/1.1 400\n".to_owned(), "{}\n".to_owned(), "x".repeat(LINE_LIMIT + 2)] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let (answer, _) = tokio::join!(Qmp::negotiate(ours, LIMIT), theirs.write_all(text.as_bytes()));
            assert!(matches!(answer, Err(QmpError::Unexpected(_))));
        }
    }

    #[tokio::test]
    async fn a_flood_of_events_is_bounded() {
        let (qmp, mut events, mut fake) = link().await;
        for _ in 0..2000 {
            fake.says(r#"{"event": "STOP"}"#).await;
        }
        drop(fake);
        let mut seen = 0;
        // Only once the reader has seen the end is all that was kept in the channel.
        while qmp.pending.lock().is_some() {
            tokio::task::yield_now().await;
        }
        while events.recv().await.is_some_and(|event| event == QmpEvent::Stop) {
            seen += 1;
        }
        assert!(seen <= EVENTS_KEPT + 1, "{seen}");
    }
}
