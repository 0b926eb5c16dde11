//! Scripts in the guest, by its own `/bin/sh` and coreutils.
//!
//! A session is a stream to our script (see [`super::credentials`]), to which a few functions are told once. Then each
//! request is one line, and its answer is framed by a nonce (`frames`). Nothing relies on an end of file.
//!
//! There are two ways to run something. [`Shell::ask`] is for nixbox's own lookups: the session's shell evaluates them,
//! writing straight into the stream, since under TCG a fork takes 5 ms and an exec 12 ms. [`Shell::run`] is for what a user wrote: a session
//! of its own, pipes for stdout and stderr so that both are streamed or bounded, a login-like environment, a deadline
//! that kills the whole group. The killing is done through another session, so no `timeout` is needed in the guest,
//! and when a session's shell dies, systemd kills what is left in its control group.
//!
//! Sessions are kept for the next caller. One that was cancelled, or that broke, never is: it is killed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Error;
use super::credentials::Token;
use super::frames::{End, Frames};
use super::greeting;
use crate::model::timeouts::guest::{SCRIPT_GRACE, SHELL_LIMIT};
use crate::model::{TransportKind, VIRTIO_PORTS, port};
use crate::nonce::nonce;
use crate::text::quoted;
use crate::transport::Transport;

/// The functions that a session is told, with `$D` for its directory.
const PRELUDE: &str = include_str!("prelude.sh");
/// What [`Shell::run`] starts, as `sh -c … DIRECTORY PIDS USER`.
const RUNNER: &str = include_str!("runner.sh");

/// Longer texts travel as a file: the guest's shell reads a line byte by byte.
const INLINE: usize = 1024;
/// Most that can be sent at once, script or stdin, in bytes: it lies in the guest's `/run`.
const PAYLOAD: usize = 16 << 20;
/// How many sessions are kept open when nobody uses them.
const KEPT: usize = 3;
/// How many scripts run at once. A new session costs a guest under TCG half a second: twelve opened at once took 6 s,
/// twelve scripts one after the other in three sessions 0.8 s.
const PARALLEL: usize = 6;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Script {
    /// POSIX shell, without NUL bytes.
    pub text: String,
    /// Who runs it; root when there is none.
    pub user: Option<String>,
    /// What it reads; empty: `/dev/null`. At most 16 MiB.
    pub stdin: Vec<u8>,
    /// How long it may run.
    pub deadline: Duration,
    /// How many bytes of each of stdout and stderr are kept.
    pub limit: usize,
}

impl Script {
    /// As root, without stdin, within 30 s, 1 MiB of each stream.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), user: None, stdin: Vec::new(), deadline: Duration::from_secs(30), limit: 1 << 20 }
    }
}

/// How a script ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code, 128 + signal when killed. 125 when there is no such user.
    pub exit: i32,
    /// The first bytes of stdout.
    pub stdout: Vec<u8>,
    /// The first bytes of stderr.
    pub stderr: Vec<u8>,
    /// How many bytes were left out of both.
    pub cut: u64,
    /// It was killed at its deadline; the rest is what there was until then.
    pub timed_out: bool,
}

/// The guest's shell. Cheap to clone.
#[derive(Clone)]
pub struct Shell {
    inner: Arc<Inner>,
}

struct Inner {
    channel: Arc<dyn Transport>,
    token: Token,
    /// How long opening a session may take.
    patience: Mutex<Duration>,
    /// How many may be in use: one session less than the channel has, so that there is always one to kill with.
    permits: Arc<Semaphore>,
    idle: Mutex<VecDeque<ShellSession>>,
    /// Where sessions have their directories, in the guest.
    base: String,
    /// One killing at a time.
    killing: tokio::sync::Mutex<()>,
}

/// A stream to a shell that knows our functions.
struct ShellSession {
    stream: UnixStream,
    pid: u32,
    directory: String,
}

/// A session in use. Dropped while it is busy, its shell is killed.
struct Lease {
    inner: Arc<Inner>,
    session: Option<ShellSession>,
    /// Held until the session is given back or gone.
    permit: Option<OwnedSemaphorePermit>,
}

impl Shell {
    /// A shell over this channel, with the token that the guest was given. Nothing is opened yet.
    pub fn new(channel: Arc<dyn Transport>, token: Token) -> Self {
        // There early in the boot, when `/` may still be read-only.
        Self::with_base(channel, token, "/run".to_owned())
    }

    fn with_base(channel: Arc<dyn Transport>, token: Token, base: String) -> Self {
        let permits = match channel.kind() {
            TransportKind::VirtioSerial => VIRTIO_PORTS
                .iter()
                .find(|(number, _)| *number == port::SHELL)
                .map_or(1, |(_, n)| (*n as usize).saturating_sub(1).max(1)),
            TransportKind::VhostUser | TransportKind::Vsock => PARALLEL,
        };
        Self {
            inner: Arc::new(Inner {
                channel,
                token,
                patience: Mutex::new(Duration::from_secs(30)),
                permits: Arc::new(Semaphore::new(permits)),
                idle: Mutex::default(),
                base,
                killing: tokio::sync::Mutex::new(()),
            }),
        }
    }

    /// Sets how long opening a session may take: 30 s unless told.
    #[cfg(test)]
    fn set_patience(&self, patience: Duration) {
        *self.inner.patience.lock().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    /// Opens `count` sessions beforehand, waiting until the guest answers.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it does not within `patience`.
    pub async fn warm(&self, count: usize, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        let opened = futures_util::future::try_join_all((0..count).map(|_| self.inner.connect(deadline))).await?;
        opened.into_iter().for_each(|session| self.inner.keep(session));
        Ok(())
    }

    /// Evaluates a lookup of nixbox's own as root, without stdin, in the session's shell itself: `text` must be valid, must
    /// not `exit` (that is [`Error::Closed`]) nor leave a process behind; one-letter variables are ours.
    ///
    /// # Errors
    /// The guest could not be asked, or it took longer than `deadline` (then its shell was killed).
    pub async fn ask(&self, text: &str, deadline: Duration, limit: usize) -> Result<Output, Error> {
        self.with_session(Work::Ask { text, deadline, limit }).await
    }

    /// Runs a script. A script that misses its deadline is killed and tells `timed_out`.
    ///
    /// What it leaves running in its process group is killed when it ends.
    ///
    /// # Errors
    /// The guest could not be asked.
    pub async fn run(&self, script: Script) -> Result<Output, Error> {
        let user = script.user.as_deref().unwrap_or("root");
        if user.is_empty() || user.starts_with('-') || user.contains([':', '\n', '\0', '/']) {
            return Err(Error::Unaskable(format!("{user:?} is no user name")));
        }
        if script.text.len() > PAYLOAD || script.stdin.len() > PAYLOAD {
            return Err(Error::Unaskable(format!("a script and its stdin may have {PAYLOAD} bytes each")));
        }
        self.with_session(Work::Run { script: &script, user }).await
    }

    /// Takes a session, uses it, gives it back; again when an idle one turns out to be gone before the script began.
    async fn with_session(&self, work: Work<'_>) -> Result<Output, Error> {
        let text = match work {
            Work::Ask { text, .. } => text,
            Work::Run { script, .. } => &script.text,
        };
        if text.contains('\0') {
            return Err(Error::Unaskable("a script cannot hold a NUL byte".to_owned()));
        }
        for _ in 0..KEPT + 2 {
            let mut lease = self.lease().await?;
            let Some(session) = lease.session.as_mut() else { return Err(Error::Closed) };
            let answer = match work {
                Work::Ask { text, deadline, limit } => {
                    self.inner.quick(session, text, Instant::now() + deadline, limit).await
                }
                Work::Run { script, user } => self.inner.full(session, script, user).await,
            };
            match answer {
                Ok(ShellAnswer::Ended { output, clean: true }) => {
                    lease.give_back();
                    return Ok(output);
                }
                Ok(ShellAnswer::Ended { output, clean: false }) => {
                    lease.destroy().await;
                    return Ok(output);
                }
                // It was an idle session whose shell is gone; the next may be fresh.
                Ok(ShellAnswer::NotBegun) => lease.discard(),
                Err(Error::Closed) => {
                    lease.discard();
                    return Err(Error::Closed);
                }
                Err(error) => {
                    lease.destroy().await;
                    return Err(error);
                }
            }
        }
        Err(Error::Closed)
    }

    async fn lease(&self) -> Result<Lease, Error> {
        let inner = &self.inner;
        let permit = Arc::clone(&inner.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let patience = *inner.patience.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match inner.idle() {
            Some(session) => session,
            None => inner.connect(Instant::now() + patience).await?,
        };
        Ok(Lease { inner: Arc::clone(inner), session: Some(session), permit: Some(permit) })
    }
}

/// What a session is used for.
#[derive(Clone, Copy)]
enum Work<'a> {
    /// [`Shell::ask`].
    Ask { text: &'a str, deadline: Duration, limit: usize },
    /// [`Shell::run`].
    Run { script: &'a Script, user: &'a str },
}

/// What came of one use of a session.
enum ShellAnswer {
    /// The script ended; whether the session can be used again.
    Ended { output: Output, clean: bool },
    /// The stream ended before the script began, or the guest's script runs anew and does not know our functions.
    NotBegun,
}

impl Lease {
    fn give_back(mut self) {
        if let Some(session) = self.session.take() {
            self.inner.keep(session);
        }
    }

    /// Drops the stream; there is nothing to be killed.
    fn discard(mut self) {
        self.session = None;
    }

    async fn destroy(mut self) {
        if let Some(session) = self.session.take() {
            let inner = Arc::clone(&self.inner);
            inner.destroy(session).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current()) else { return };
        let (inner, permit) = (Arc::clone(&self.inner), self.permit.take());
        runtime.spawn(async move {
            inner.destroy(session).await;
            drop(permit);
        });
    }
}

impl Inner {
    fn idle(&self) -> Option<ShellSession> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn keep(&self, session: ShellSession) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push_front(session);
        }
    }

    /// A new session that knows our functions.
    async fn connect(&self, deadline: Instant) -> Result<ShellSession, Error> {
        loop {
            let (mut stream, pid) = greeting::greet(&*self.channel, port::SHELL, &self.token, deadline).await?;
            let nonce = nonce()?;
            let directory = format!("{}/nixbox-{}", self.base, &nonce[..12]);
            let functions = quote_line(&format!("{}R={}", PRELUDE.replace("$D", &directory), quoted(RUNNER)));
            // A virtio-serial port may be given to us with another's functions; ours replace them.
            let line = format!("{} {nonce} eval {functions}; s=:; quick\n", self.token.ask());
            let told = async {
                stream.write_all(line.as_bytes()).await?;
                self.answer(&mut stream, Frames::new(&nonce, 0)).await
            };
            match timeout_at(deadline, told).await? {
                Ok((End::Exit(0), _)) => return Ok(ShellSession { stream, pid, directory }),
                Ok(_) => return Err(Error::Garbled),
                // The shell may have been killed for its last user's sake.
                Err(Error::Closed) if Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads one answer to its end.
    async fn answer(&self, stream: &mut UnixStream, mut frames: Frames) -> Result<(End, Frames), Error> {
        let end = read_answer(stream, &mut frames).await?;
        Ok((end, frames))
    }

    async fn quick(
        &self,
        session: &mut ShellSession,
        text: &str,
        until: Instant,
        limit: usize,
    ) -> Result<ShellAnswer, Error> {
        let run = async {
            let mut source = quote_line(text);
            if source.len() > INLINE {
                if !self.put(session, "s", text.as_bytes()).await? {
                    return Ok::<_, Error>((None, Frames::new("", 0)));
                }
                source = "'. \"$d/s\"'".to_owned();
            }
            let nonce = nonce()?;
            let mut frames = Frames::new(&nonce, limit);
            let end = self.say(session, &nonce, &format!("s={source}; quick"), &mut frames).await;
            match end {
                Err(Error::Closed) if !frames.begun() => Ok((None, frames)),
                other => Ok((Some(other?), frames)),
            }
        };
        let (end, frames) = timeout_at(until, run)
            .await
            .map_err(|_| Error::Deadline("the guest did not answer a lookup".to_owned()))??;
        finish(end, frames, true, false)
    }

    async fn full(&self, session: &mut ShellSession, script: &Script, user: &str) -> Result<ShellAnswer, Error> {
        // The time to bring what is big is not the script's own.
        let inline = script.text.len() <= INLINE;
        let bring = async {
            Ok::<bool, Error>(
                (inline || self.put(session, "s", script.text.as_bytes()).await?)
                    && (script.stdin.is_empty() || self.put(session, "i", &script.stdin).await?),
            )
        };
        if !timeout_at(Instant::now() + SHELL_LIMIT, bring).await?? {
            return Ok(ShellAnswer::NotBegun);
        }
        let nonce = nonce()?;
        let mut frames = Frames::new(&nonce, script.limit);
        let stdin = if script.stdin.is_empty() { "/dev/null" } else { "$d/i" };
        let text = if inline { quote_line(&script.text) } else { String::new() };
        // An empty script would be the last one's.
        let text = if inline && script.text.is_empty() { ":".to_owned() } else { text };
        let line = format!("U={} T={text} i={stdin} L={}; full", quote_line(user), script.limit);
        let until = Instant::now() + script.deadline;
        match timeout_at(until, self.say(session, &nonce, &line, &mut frames)).await {
            Ok(Err(Error::Closed)) if !frames.begun() => Ok(ShellAnswer::NotBegun),
            Ok(end) => finish(Some(end?), frames, true, false),
            Err(_) => {
                // The script's group first; then, should a process that left it hold the output open, the two processes
                // that carry it.
                for what in ["[ $p != 0 ] && { kill -9 -$p || kill -9 $p; }", "kill -9 $q"] {
                    let kill = format!("read -r p q <{}/p && {what}", session.directory);
                    let rest =
                        async { tokio::join!(self.kill(&kill), read_answer(&mut session.stream, &mut frames)).1 };
                    if let Ok(end) = timeout_at(Instant::now() + SCRIPT_GRACE / 2, rest).await {
                        return match end {
                            Ok(end @ End::Exit(_)) => finish(Some(end), frames, false, true),
                            Ok(_) => Err(Error::Garbled),
                            Err(error) => Err(error),
                        };
                    }
                }
                // Not even that: what came so far is told, and the session is killed.
                finish(Some(End::Exit(128 + 9)), frames, false, true)
            }
        }
    }

    /// Writes a file into the session's directory. False when the guest does not know our functions any more.
    async fn put(&self, session: &mut ShellSession, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let nonce = nonce()?;
        let mut frames = Frames::new(&nonce, 0);
        let sent = async {
            self.request(session, &nonce, &format!("put {name} {}", bytes.len())).await?;
            session.stream.write_all(bytes).await?;
            read_answer(&mut session.stream, &mut frames).await
        };
        match sent.await {
            Ok(End::Exit(0)) => Ok(true),
            Ok(End::Unknown) => Ok(false),
            Ok(_) => Err(Error::Garbled),
            Err(Error::Closed) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One request and its answer.
    async fn say(
        &self,
        session: &mut ShellSession,
        nonce: &str,
        line: &str,
        frames: &mut Frames,
    ) -> Result<End, Error> {
        self.request(session, nonce, line).await?;
        read_answer(&mut session.stream, frames).await
    }

    async fn request(&self, session: &mut ShellSession, nonce: &str, line: &str) -> Result<(), Error> {
        let line = format!("{} {nonce} {line}\n", self.token.ask());
        Ok(session.stream.write_all(line.as_bytes()).await?)
    }

    /// Runs a few words of killing through another session, within [`SCRIPT_GRACE`].
    async fn kill(&self, text: &str) {
        let until = Instant::now() + SCRIPT_GRACE;
        let kill = async {
            let _one = self.killing.lock().await;
            let mut session = match self.idle() {
                Some(session) => session,
                None => self.connect(until).await?,
            };
            self.quick(&mut session, text, until, 0).await?;
            self.keep(session);
            Ok::<(), Error>(())
        };
        // What cannot be killed now goes with the machine.
        drop(timeout_at(until, kill).await);
    }

    /// Ends a session's shell and with it, by systemd, all of its control group.
    async fn destroy(&self, session: ShellSession) {
        let ShellSession { stream, pid, directory } = session;
        // The stream first: on virtio-serial that frees its port for the one that kills.
        drop(stream);
        self.kill(&format!(
            "read -r p q <{directory}/p && [ \"${{p:-0}}\" != 0 ] && {{ kill -9 -$p || kill -9 $p; }}; \
             kill -9 -{pid} || kill -9 {pid}; rm -rf {directory}"
        ))
        .await;
    }
}

/// Reads until the answer's end.
async fn read_answer(stream: &mut UnixStream, frames: &mut Frames) -> Result<End, Error> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Err(Error::Closed),
            count => {
                if let Some(end) = frames.push(&buffer[..count]) {
                    return Ok(end);
                }
            }
        }
    }
}

fn finish(end: Option<End>, frames: Frames, clean: bool, timed_out: bool) -> Result<ShellAnswer, Error> {
    match end {
        None | Some(End::Unknown) => Ok(ShellAnswer::NotBegun),
        Some(End::Garbled) => Err(Error::Garbled),
        Some(End::Exit(exit)) => {
            let (stdout, stderr, cut) = frames.into_parts();
            Ok(ShellAnswer::Ended { output: Output { exit, stdout, stderr, cut, timed_out }, clean })
        }
    }
}

/// A single-quoted word, all on one line: a line's end becomes `$N`, which our script sets.
fn quote_line(text: &str) -> String {
    quoted(text).replace('\n', "'\"$N\"'")
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a test that skips says why, and what it measured")]
mod tests {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::process::Stdio;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use tokio::process::Command;
    use tokio::time::timeout;

    use super::*;
    use crate::guest::credentials::script;

    /// A guest that is this machine: each connection is served by the real script, as a service's process would be.
    struct Local {
        _dir: tempfile::TempDir,
        script: std::path::PathBuf,
        shell: &'static str,
        opened: AtomicUsize,
    }

    impl Transport for Local {
        fn kind(&self) -> TransportKind {
            TransportKind::VhostUser
        }

        fn open(&self, _port: u32) -> BoxFuture<'_, io::Result<UnixStream>> {
            Box::pin(async move {
                self.opened.fetch_add(1, Ordering::Relaxed);
                let (host, guest) = std::os::unix::net::UnixStream::pair()?;
                host.set_nonblocking(true)?;
                let guest = OwnedFd::from(guest);
                let mut command = Command::new(self.shell);
                if self.shell.ends_with("busybox") {
                    command.arg("sh");
                }
                let mut child = command
                    .arg(&self.script)
                    .stdin(Stdio::from(guest.try_clone()?))
                    .stdout(Stdio::from(guest))
                    .stderr(Stdio::null())
                    .process_group(0)
                    .spawn()?;
                tokio::spawn(async move { child.wait().await });
                UnixStream::from_std(host)
            })
        }

        fn accept_notify(&self) -> BoxFuture<'_, io::Result<UnixStream>> {
            Box::pin(std::future::pending())
        }
    }

    fn local_with(shell: &'static str) -> (Arc<Local>, Shell) {
        let dir = tempfile::tempdir().unwrap();
        // Scripts that run as somebody else reach their session's directory.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let token = Token::random().unwrap();
        let file = dir.path().join("nixbox.sh");
        std::fs::write(&file, script(&token)).unwrap();
        let base = dir.path().to_str().unwrap().to_owned();
        let channel = Arc::new(Local { _dir: dir, script: file, shell, opened: AtomicUsize::new(0) });
        let shell = Shell::with_base(Arc::clone(&channel) as Arc<dyn Transport>, token, base);
        shell.set_patience(Duration::from_secs(5));
        (channel, shell)
    }

    fn local() -> (Arc<Local>, Shell) {
        local_with("/bin/sh")
    }

    fn alive(pid: &str) -> bool {
        // A zombie is gone, only not yet waited for.
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until_gone(pid: &str) {
        let gone = async {
            while alive(pid) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.unwrap_or_else(|_| panic!("{pid} is still there"));
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn quoted_words_are_one_line() {
        assert_eq!(quote_line("it's\n$HOME"), "'it'\\''s'\"$N\"'$HOME'");
    }

    #[tokio::test]
    async fn streams_and_exit_code_are_apart() {
        let (_local, shell) = local();
        let text = "printf out; printf 'err\n\n' >&2; exit 7";
        let asked = shell.ask(&format!("( {text} )"), SOON, 100).await.unwrap();
        assert_eq!(
            asked,
            Output { exit: 7, stdout: b"out".into(), stderr: b"err\n\n".into(), cut: 0, timed_out: false }
        );
        assert_eq!(shell.run(Script::new(text)).await.unwrap(), asked);
    }

    #[tokio::test]
    async fn a_session_is_used_again() {
        let (local, shell) = local();
        for n in 0..20 {
            assert_eq!(shell.ask(&format!("echo {n}"), SOON, 100).await.unwrap().stdout, format!("{n}\n").into_bytes());
            shell.run(Script::new("exit 3; ('")).await.unwrap();
        }
        assert_eq!(local.opened.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_lookup_may_call_its_variables_as_it_likes() {
        let (_, shell) = local();
        for text in ["for d in /nowhere; do :; done", "n=1; s=:; x=7; k=9; z=", "echo"] {
            let output = shell.ask(text, SOON, 100).await.unwrap();
            assert_eq!((output.exit, output.cut), (0, 0), "{text}");
        }
    }

    #[tokio::test]
    async fn many_at_once() {
        let (_local, shell) = local();
        let all = (0..40).map(|n| {
            let shell = shell.clone();
            async move { shell.run(Script::new(format!("sleep 0.1; echo {n}"))).await.unwrap().stdout }
        });
        for (n, stdout) in futures_util::future::join_all(all).await.into_iter().enumerate() {
            assert_eq!(stdout, format!("{n}\n").into_bytes());
        }
    }

    #[tokio::test]
    async fn much_binary_output_arrives_whole() {
        let (_local, shell) = local();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect();
        let mut script = Script::new("cat; echo done >&2");
        script.stdin.clone_from(&bytes);
        script.limit = 4 << 20;
        let output = shell.run(script).await.unwrap();
        assert!(output.stdout == bytes, "{} of {}", output.stdout.len(), bytes.len());
        assert_eq!(output.stderr, b"done\n");
    }

    #[tokio::test]
    async fn what_is_too_much_is_cut_and_counted() {
        let (_local, shell) = local();
        let mut script = Script::new("head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2");
        script.limit = 1000;
        let output = shell.run(script).await.unwrap();
        assert_eq!((output.stdout.len(), output.stderr.len(), output.cut), (1000, 1000, 498_000));
        assert_eq!(output.exit, 0);
        let asked = shell.ask("head -c 300000 /dev/zero", SOON, 10).await.unwrap();
        assert_eq!((asked.stdout.len(), asked.cut), (10, 299_990));
    }

    #[tokio::test]
    async fn long_scripts_and_odd_characters() {
        let (_local, shell) = local();
        let odd = "it's \"$HOME\" `x` \\ \\n ä\t ' '' *";
        let line = format!("printf '%s\\n' '{}'\n", odd.replace('\'', r"'\''"));
        for count in [1, 3, 2000] {
            let text = line.repeat(count);
            let expected = format!("{odd}\n").repeat(count).into_bytes();
            assert_eq!(shell.run(Script::new(text.clone())).await.unwrap().stdout, expected);
            assert_eq!(shell.ask(&text, SOON, 1 << 20).await.unwrap().stdout, expected);
        }
        assert!(matches!(shell.run(Script::new("a\0b")).await, Err(Error::Unaskable(_))));
    }

    #[tokio::test]
    async fn a_script_has_its_own_stdin_and_environment() {
        let (_local, shell) = local();
        let output = shell.run(Script::new("cat; echo $HOME $USER $FOO; pwd; set | grep -c TOKEN")).await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "/root root\n/root\n0\n");
    }

    #[tokio::test]
    async fn a_hung_script_is_killed_with_its_children_and_tells_what_it_said() {
        let (_local, shell) = local();
        let mut script = Script::new("echo $$; sleep 1000 & echo $!; trap '' TERM; echo why >&2; wait; sleep 1000");
        script.deadline = Duration::from_millis(300);
        let begun = Instant::now();
        let output = shell.run(script).await.unwrap();
        assert!(output.timed_out && begun.elapsed() < Duration::from_secs(2), "{output:?} {:?}", begun.elapsed());
        assert_eq!(output.stderr, b"why\n");
        for pid in String::from_utf8(output.stdout).unwrap().split_whitespace() {
            until_gone(pid).await;
        }
        assert_eq!(shell.ask("echo next", SOON, 10).await.unwrap().stdout, b"next\n");
    }

    #[tokio::test]
    async fn a_process_that_escapes_and_holds_the_output_open_costs_the_deadline_only() {
        let (_local, shell) = local();
        let mut script = Script::new("setsid sleep 4 & sleep 0.2; echo here; exit 3");
        script.deadline = Duration::from_millis(500);
        let output = shell.run(script).await.unwrap();
        assert_eq!((output.exit, output.stdout, output.timed_out), (3, b"here\n".to_vec(), true));
    }

    #[tokio::test]
    async fn what_a_script_leaves_in_the_background_is_ended_with_it() {
        let (_local, shell) = local();
        let output = shell.run(Script::new("sleep 1000 & echo $!")).await.unwrap();
        assert!(!output.timed_out);
        until_gone(String::from_utf8(output.stdout).unwrap().trim()).await;
    }

    #[tokio::test]
    async fn a_cancelled_use_never_answers_the_next() {
        let (_local, shell) = local();
        for _ in 0..5 {
            let ask = shell.ask("echo stale; sleep 0.2; echo stale", SOON, 100);
            assert!(timeout(Duration::from_millis(50), ask).await.is_err());
            let run = shell.run(Script::new("echo stale; sleep 0.2; echo stale"));
            assert!(timeout(Duration::from_millis(50), run).await.is_err());
            assert_eq!(shell.ask("echo mine", SOON, 100).await.unwrap().stdout, b"mine\n");
            assert_eq!(shell.run(Script::new("echo mine")).await.unwrap().stdout, b"mine\n");
        }
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_is_an_error_and_the_next_works() {
        let (_local, shell) = local();
        assert!(matches!(shell.ask("sleep 1000", Duration::from_millis(200), 9).await, Err(Error::Deadline(_))));
        assert_eq!(shell.ask("echo next", SOON, 10).await.unwrap().stdout, b"next\n");
    }

    #[tokio::test]
    async fn a_shell_that_is_killed_halfway_is_an_error_and_an_idle_one_that_died_is_none() {
        let (_local, shell) = local();
        assert!(matches!(shell.ask("echo half; kill -9 $$", SOON, 10).await, Err(Error::Closed)));
        let pid = String::from_utf8(shell.ask("echo $$", SOON, 10).await.unwrap().stdout).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()), nix::sys::signal::SIGKILL)
            .unwrap();
        assert_eq!(shell.ask("echo next", SOON, 10).await.unwrap().stdout, b"next\n");
    }

    #[tokio::test]
    async fn strangers_are_not_served_and_impostors_not_believed() {
        let (local, _) = local();
        let mut stream = local.open(7100).await.unwrap();
        stream.write_all(b"\nwrong nonce touch /tmp/never\nrm -rf /nowhere\n").await.unwrap();
        assert!(timeout(Duration::from_millis(200), stream.read_u8()).await.is_err(), "it answered");

        // Our half is right, but this guest has been given another.
        let other = Shell::with_base(local, Token::random().unwrap(), "/nowhere".to_owned());
        other.set_patience(Duration::from_millis(300));
        assert!(matches!(other.ask("echo x", SOON, 9).await, Err(Error::Deadline(_))));
    }

    #[tokio::test]
    async fn users() {
        let (_local, shell) = local();
        let mut script = Script::new("id -un; echo $USER; pwd; echo x >/dev/stderr");
        script.user = Some("nobody-of-that-name".to_owned());
        let output = shell.run(script.clone()).await.unwrap();
        assert_eq!(output.exit, 125);
        assert!(String::from_utf8(output.stderr).unwrap().contains("no user nobody-of-that-name"));
        script.user = Some("-x".to_owned());
        assert!(matches!(shell.run(script.clone()).await, Err(Error::Unaskable(_))));
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can run a script as somebody else");
            return;
        }
        script.user = Some("daemon".to_owned());
        let output = shell.run(script).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "daemon\ndaemon\n/usr/sbin\n", "{output:?}");
        assert_eq!(output.stderr, b"x\n");
    }

    #[tokio::test]
    async fn every_shell_there_is() {
        for path in ["/bin/dash", "/bin/bash", "/usr/bin/busybox"] {
            if !std::path::Path::new(path).exists() {
                eprintln!("skipped: {path} is not here");
                continue;
            }
            let (_local, shell) = local_with(path);
            let mut script = Script::new("cat; printf 'e\\n' >&2; exit 9");
            script.stdin = vec![b'x'; 100_000];
            let output = shell.run(script).await.unwrap();
            assert_eq!((output.exit, output.stdout.len(), &output.stderr[..]), (9, 100_000, &b"e\n"[..]), "{path}");
            let begun = Instant::now();
            for _ in 0..50 {
                shell.ask("true", SOON, 9).await.unwrap();
            }
            eprintln!("{path}: {:?} a round trip", begun.elapsed() / 50);
        }
    }
}
