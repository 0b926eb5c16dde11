//! How nix is run.
//!
//! One process group a run, nothing on stdin, the protocol on stderr, the answer on stdout. Nothing is written into
//! the user's tree (`--no-write-lock-file`), nothing is trusted that the user did not say (`--accept-flake-config`),
//! and settings come from the command line or from nix's own configuration, never from a file in the repository.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::log::Log;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::Exit;
use crate::model::timeouts::nix::TERM_GRACE;
use crate::text::quote;

/// Options of nix that nixbox takes under nix's own names, on every command that evaluates.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Options for nix")]
pub struct NixFlags {
    /// Let the evaluation see the environment and files outside the flake
    #[arg(long)]
    pub impure: bool,
    /// Use another flake for an input
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"], action = clap::ArgAction::Append)]
    pub override_input: Vec<String>,
    /// Set a nix option (nix.conf(5))
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], action = clap::ArgAction::Append, allow_hyphen_values = true)]
    pub option: Vec<String>,
    /// Do not use the network: no substituters, cached inputs are fresh enough
    #[arg(long)]
    pub offline: bool,
    /// Consider all cached inputs out of date
    #[arg(long, conflicts_with = "offline")]
    pub refresh: bool,
    /// Apply the settings in the flake's nixConfig (they may add binary caches and run programs)
    #[arg(long)]
    pub accept_flake_config: bool,
    /// Add to the search path for `<name>`
    #[arg(short = 'I', long = "include", value_name = "PATH", action = clap::ArgAction::Append)]
    pub include: Vec<String>,
    /// Show nix's whole stack trace when the evaluation fails
    #[arg(long)]
    pub show_trace: bool,
}

impl NixFlags {
    /// The value of a nix option given by the user; the last one counts.
    pub fn option_value(&self, name: &str) -> Option<&str> {
        self.option.chunks_exact(2).rev().find(|pair| pair[0] == name).map(|pair| pair[1].as_str())
    }

    /// The flags for a command that evaluates. Relative paths are made absolute, since nix may be started elsewhere.
    fn for_evaluation(&self, here: &Path) -> Vec<OsString> {
        let mut args = self.for_store();
        let mut add = |list: &[&str]| args.extend(list.iter().map(OsString::from));
        if self.impure {
            add(&["--impure"]);
        }
        if self.offline {
            add(&["--offline"]);
        }
        if self.refresh {
            add(&["--refresh"]);
        }
        if self.accept_flake_config {
            add(&["--accept-flake-config"]);
        }
        if self.show_trace {
            add(&["--show-trace"]);
        }
        for pair in self.override_input.chunks_exact(2) {
            add(&["--override-input", &pair[0], &absolute(&pair[1], here)]);
        }
        for entry in &self.include {
            let entry = match entry.split_once('=') {
                Some((name, path)) => format!("{name}={}", absolute(path, here)),
                None => absolute(entry, here),
            };
            add(&["-I", &entry]);
        }
        args
    }

    /// The flags for a command that only builds (`nix-store`, which does not know the others).
    fn for_store(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        for pair in self.option.chunks_exact(2) {
            args.extend(["--option", &pair[0], &pair[1]].map(OsString::from));
        }
        args
    }

    /// The flags as the user would type them behind another command.
    pub fn words(&self, here: &Path) -> Vec<String> {
        self.for_evaluation(here).into_iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }
}

/// A path that begins with a dot, from here; everything else (URLs, registry names) as it is.
fn absolute(reference: &str, here: &Path) -> String {
    let is_relative =
        reference == "." || reference.starts_with("./") || reference.starts_with("../") || reference == "..";
    if is_relative { here.join(reference).to_string_lossy().into_owned() } else { reference.to_owned() }
}

/// What nix answered.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// stdout, at most 64 MiB.
    pub stdout: Vec<u8>,
    /// What was kept of its log.
    pub log: Log,
}

/// More than any answer: the options of a large configuration are below a megabyte.
const STDOUT_BYTES: u64 = 64 << 20;
/// Bytes taken of one line of the protocol; the rest of the line is read and dropped.
const LINE_BYTES: usize = 1 << 20;

/// nix, as this run uses it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Nix {
    /// What the user gave.
    pub flags: NixFlags,
    directory: Option<PathBuf>,
    log: Option<Arc<Mutex<LogFile>>>,
    log_path: Option<PathBuf>,
    here: PathBuf,
}

impl Nix {
    /// nix from `PATH`.
    pub fn new(flags: NixFlags) -> Self {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { flags, directory: None, log: None, log_path: None, here }
    }

    /// The nix whose programs (`nix`, `nix-store`) lie in this directory, instead of the one on `PATH`.
    #[must_use]
    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Keeps what nix says in a file, bounded: the first and the last of it. A file that cannot be written is no
    /// reason not to build.
    #[must_use]
    pub fn log_to(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        if let Ok(file) = File::create(&path) {
            self.log = Some(Arc::new(Mutex::new(LogFile {
                file,
                written: 0,
                late: VecDeque::new(),
                late_bytes: 0,
                left_out: false,
            })));
            self.log_path = Some(path);
        }
        self
    }

    /// Where the log is, when it is kept.
    pub fn log_path(&self) -> Option<&Path> {
        self.log_path.as_deref()
    }

    /// The directory that relative names in flags are relative to.
    pub fn here(&self) -> &Path {
        &self.here
    }

    /// nix's name for the system that is built for: `--option system`, else this host's.
    pub fn system(&self) -> String {
        if let Some(system) = self.flags.option_value("system") {
            return system.to_owned();
        }
        let architecture = match std::env::consts::ARCH {
            "x86" => "i686",
            "arm" => "armv7l",
            other => other,
        };
        let kernel = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
        format!("{architecture}-{kernel}")
    }

    /// The store URL that the user or the environment names, if any.
    pub fn store_url(&self) -> Option<String> {
        let from_flags = self.flags.option_value("store").map(str::to_owned);
        from_flags.or_else(|| std::env::var("NIX_REMOTE").ok()).filter(|url| !url.is_empty())
    }

    /// `nix eval --json INSTALLABLE --apply EXPRESSION`, from `directory` when the installable is relative.
    ///
    /// # Errors
    /// Only when nix could not be run; an evaluation error is in the answer.
    pub async fn eval(
        &self,
        installable: &str,
        apply: &str,
        directory: Option<&Path>,
        events: &Events,
    ) -> Result<Answer> {
        let mut args = self.new_style("eval");
        args.extend(["-v", "--json", "--no-write-lock-file"].map(OsString::from));
        args.extend(self.flags.for_evaluation(&self.here));
        args.extend([installable, "--apply", apply].map(OsString::from));
        self.run("nix", args, directory, events).await
    }

    /// `nix eval --impure --json --expr EXPRESSION`.
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub async fn eval_expression(&self, expression: &str, events: &Events) -> Result<Answer> {
        let mut args = self.new_style("eval");
        args.extend(["-v", "--json", "--impure"].map(OsString::from));
        args.extend(self.flags.for_evaluation(&self.here).into_iter().filter(|flag| flag != "--impure"));
        args.extend(["--expr", expression].map(OsString::from));
        self.run("nix", args, None, events).await
    }

    /// `nix flake metadata --json FLAKE`.
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub async fn flake_metadata(&self, flake: &str, directory: Option<&Path>, events: &Events) -> Result<Answer> {
        let mut args = self.new_style("flake");
        args.extend(["metadata", "--json", "--no-write-lock-file"].map(OsString::from));
        args.extend(self.flags.for_evaluation(&self.here));
        args.push(flake.into());
        self.run("nix", args, directory, events).await
    }

    /// Builds (or fetches) store paths and holds each with a root: `root`, `root-2`, …
    ///
    /// `nix-store --realise` takes derivations in one way in all versions (`nix build` wants `DRV` up to 2.14 and
    /// `DRV^*` since), and its exit status tells a failed build (100 to 104, nix-store(1)) from other trouble.
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub async fn realise(&self, paths: &[&str], root: &Path, events: &Events) -> Result<Answer> {
        let mut args: Vec<OsString> =
            ["--log-format", "internal-json", "--keep-going", "--realise"].map(OsString::from).into();
        args.extend(self.flags.for_store());
        if self.flags.offline {
            // `--offline` is of the new command line only; for a build it means this.
            args.extend(["--option", "substitute", "false"].map(OsString::from));
        }
        args.extend([OsStr::new("--add-root"), root.as_os_str(), OsStr::new("--indirect")].map(OsString::from));
        args.extend(paths.iter().map(OsString::from));
        self.run("nix-store", args, None, events).await
    }

    /// `nix build --out-link ROOT INSTALLABLES`: evaluates again, and so applies a nixConfig that the user accepted.
    /// Roots are `root`, `root-1`, …
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub async fn build_installables(
        &self,
        installables: &[String],
        root: &Path,
        directory: Option<&Path>,
        events: &Events,
    ) -> Result<Answer> {
        let mut args = self.new_style("build");
        args.extend(["--no-write-lock-file", "--keep-going", "--out-link"].map(OsString::from));
        args.push(root.into());
        args.extend(self.flags.for_evaluation(&self.here));
        args.extend(installables.iter().map(OsString::from));
        self.run("nix", args, directory, events).await
    }

    /// The closure of a derivation, as store paths; empty when it cannot be told.
    pub async fn requisites(&self, drv: &str) -> Vec<String> {
        let args = ["--query", "--requisites", drv].map(OsString::from).into();
        match self.run("nix-store", args, None, &Events::silent()).await {
            Ok(answer) => String::from_utf8_lossy(&answer.stdout).lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }

    fn new_style(&self, command: &str) -> Vec<OsString> {
        ["--extra-experimental-features", "nix-command flakes", "--log-format", "internal-json", command]
            .map(OsString::from)
            .into()
    }

    async fn run(
        &self,
        program: &str,
        args: Vec<OsString>,
        directory: Option<&Path>,
        events: &Events,
    ) -> Result<Answer> {
        let path = self.directory.as_ref().map_or_else(|| PathBuf::from(program), |directory| directory.join(program));
        let mut command = Command::new(&path);
        command.args(&args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its messages are parsed: they must not be translated, and a pager or a prompt has nobody to talk to.
        command.env("LC_ALL", "C.UTF-8").env("GIT_TERMINAL_PROMPT", "0");
        command.current_dir(directory.unwrap_or(&self.here)).process_group(0);
        end_with_us(&mut command);
        self.write(&format!("$ {program} {}", printable(&args)));

        let mut child = command.spawn().map_err(|error| not_run(program, &error))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::host(format!("{program} has no output")));
        };
        let mut running = Running { child: Some(child) };

        let mut log = Log::default();
        log.offline = self.flags.offline;
        let reading = async {
            let mut stderr = BufReader::new(stderr);
            let mut line = Vec::new();
            while read_line(&mut stderr, &mut line).await? {
                if let Some(text) = log.take(&String::from_utf8_lossy(&line), events) {
                    self.write(&text);
                }
            }
            std::io::Result::Ok(())
        };
        let mut answer = Vec::new();
        let answering = async {
            let mut stdout = stdout.take(STDOUT_BYTES);
            stdout.read_to_end(&mut answer).await?;
            // Past the limit it is read and dropped, so that nix does not hang in a write.
            tokio::io::copy(&mut stdout.into_inner(), &mut tokio::io::sink()).await?;
            std::io::Result::Ok(())
        };
        let (read, answered) = tokio::join!(reading, answering);
        let status = running.wait().await;
        self.finish_log();
        for outcome in [read, answered, status.as_ref().map(|_| ()).map_err(|error| std::io::Error::from(error.kind()))]
        {
            outcome.map_err(|error| Failure::host(format!("lost {program}")).why(error))?;
        }
        let status = status.map_err(|error| Failure::host(format!("lost {program}")).why(error))?;
        Ok(Answer { status, stdout: answer, log })
    }

    fn write(&self, text: &str) {
        if let Some(log) = &self.log
            && let Ok(mut log) = log.lock()
        {
            log.line(text);
        }
    }

    fn finish_log(&self) {
        if let Some(log) = &self.log
            && let Ok(mut log) = log.lock()
        {
            log.flush();
        }
    }
}

/// The command line for the log, without the expressions, which are long and always the same.
fn printable(args: &[OsString]) -> String {
    args.iter()
        .map(|arg| arg.to_string_lossy())
        .map(|arg| if arg.len() > 200 { "(…)".to_owned() } else { quote(&arg) })
        .collect::<Vec<_>>()
        .join(" ")
}

fn not_run(program: &str, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        Failure::host(format!("{program} is not on PATH")).hint(
            "install nix (nixos.org/download), or if it is installed, open a new shell so that its profile is read",
        )
    } else {
        Failure::host(format!("{program} could not be started")).why(error)
    }
}

/// SIGKILL of nixbox ends nix too: the kernel sends it SIGTERM, and it ends its builders in an orderly way.
#[cfg(target_os = "linux")]
fn end_with_us(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let arm = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
        // It might have happened between fork and prctl(2).
        if nix::unistd::getppid() != parent {
            return Err(std::io::Error::from(nix::errno::Errno::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, both async-signal-safe; nothing is
    // allocated, no lock is taken.
    unsafe { command.pre_exec(arm) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_us(_: &mut Command) {}

/// A nix that runs. Dropped before its end (Ctrl-C, a deadline), it and its process group are ended.
struct Running {
    child: Option<Child>,
}

impl Running {
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(std::io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        self.child = None;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) else { return };
        // ESRCH: it has ended in this moment.
        let _ = killpg(group, Signal::SIGTERM);
        let end = async move {
            drop(tokio::time::timeout(TERM_GRACE, child.wait()).await);
            // Also when nix itself has ended: what it left in its group goes too.
            let _ = killpg(group, Signal::SIGKILL);
            drop(child.wait().await);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(end)),
            Err(_) => {
                let _ = killpg(group, Signal::SIGKILL);
            }
        }
    }
}

/// Reads a line into `line` without its end; false at the end of the stream. What is past [`LINE_BYTES`] is dropped.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len());
        let room = LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&buffer[..taken.min(room)]);
        reader.consume(end.map_or(taken, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Bytes at the head of `nix.log`, and bytes of what came last.
const LOG_HEAD: u64 = 2 << 20;
const LOG_LATE: usize = 512 << 10;

/// `nix.log`: the head of it as it comes, the end of it when nix has ended.
#[derive(Debug)]
struct LogFile {
    file: File,
    written: u64,
    late: VecDeque<String>,
    late_bytes: usize,
    left_out: bool,
}

impl LogFile {
    fn line(&mut self, text: &str) {
        if self.written < LOG_HEAD {
            // A full disk costs the log, not the run.
            drop(writeln!(self.file, "{text}"));
            self.written += text.len() as u64 + 1;
            return;
        }
        self.late_bytes += text.len();
        self.late.push_back(text.to_owned());
        while self.late_bytes > LOG_LATE
            && let Some(line) = self.late.pop_front()
        {
            self.late_bytes -= line.len();
            self.left_out = true;
        }
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.left_out) {
            drop(writeln!(self.file, "{LEFT_OUT}"));
        }
        for line in std::mem::take(&mut self.late) {
            drop(writeln!(self.file, "{line}"));
        }
        self.late_bytes = 0;
        drop(self.file.flush());
    }
}

const LEFT_OUT: &str = "… (left out)";

/// What an answer that nobody can read means: nix ended well and said something else than asked for.
pub(super) fn unreadable(answer: &Answer, error: &serde_json::Error) -> Failure {
    let start: String = String::from_utf8_lossy(&answer.stdout).chars().take(200).collect();
    Failure::new(Exit::Unknown, "nix's answer could not be read").why(format!("{error}: {start}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        nix: NixFlags,
    }

    fn flags(args: &[&str]) -> NixFlags {
        use clap::Parser as _;
        Cli::try_parse_from([&["x"], args].concat()).unwrap().nix
    }

    #[test]
    fn flags_under_their_own_names() {
        let given =
            ["--impure", "--override-input", "a", "../b", "--option", "max-jobs", "-1", "--offline", "-I", "x=./y"];
        let flags = flags(&given);
        assert_eq!(flags.option_value("max-jobs"), Some("-1"));
        assert_eq!(
            flags.words(Path::new("/h")),
            [
                "--option",
                "max-jobs",
                "-1",
                "--impure",
                "--offline",
                "--override-input",
                "a",
                "/h/../b",
                "-I",
                "x=/h/./y"
            ]
        );
        assert_eq!(flags.for_store(), ["--option", "max-jobs", "-1"]);
        assert_eq!(NixFlags::default().words(Path::new("/h")), Vec::<String>::new());
    }

    #[test]
    fn flags_repeat() {
        let flags = flags(&["--option", "a", "1", "--override-input", "x", "github:a/b", "--option", "a", "2"]);
        assert_eq!(flags.option_value("a"), Some("2"));
        assert_eq!(flags.option.len(), 4);
        assert_eq!(flags.override_input, ["x", "github:a/b"]);
    }

    #[tokio::test]
    async fn lines_are_bounded() {
        let long = [vec![b'x'; LINE_BYTES + 10], b"\nnext\nlast".to_vec()].concat();
        let mut reader = BufReader::new(long.as_slice());
        let mut line = Vec::new();
        assert!(read_line(&mut reader, &mut line).await.unwrap());
        assert_eq!(line.len(), LINE_BYTES);
        assert!(read_line(&mut reader, &mut line).await.unwrap());
        assert_eq!(line, b"next");
        assert!(read_line(&mut reader, &mut line).await.unwrap());
        assert_eq!(line, b"last");
        assert!(!read_line(&mut reader, &mut line).await.unwrap());
    }

    #[test]
    fn the_log_keeps_head_and_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nix.log");
        let nix = Nix::new(NixFlags::default()).log_to(&path);
        let line = "x".repeat(1023);
        for number in 0..4096 {
            nix.write(&format!("{number} {line}"));
        }
        nix.finish_log();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < (LOG_HEAD as usize) + LOG_LATE + 4096, "{}", text.len());
        assert!(text.starts_with("0 x"));
        assert!(text.contains(LEFT_OUT));
        assert!(text.lines().last().unwrap().starts_with("4095 "));
        assert_eq!(text.matches(LEFT_OUT).count(), 1);
    }

    #[tokio::test]
    async fn a_missing_nix_is_the_hosts_fault() {
        let nix = Nix::new(NixFlags::default()).in_directory("/nowhere");
        let failure = nix.eval(".", "x: x", None, &Events::silent()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unknown);
        assert!(failure.hint.unwrap().contains("install nix"));
    }
}
