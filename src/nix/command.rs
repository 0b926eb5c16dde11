//! How nix is run.
//!
//! One process group a run, nothing on stdin, the protocol on stderr, the answer on stdout. Nothing is written into
//! the user's tree (`--no-write-lock-file`), nothing is trusted that the user did not say (`--accept-flake-config`),
//! and settings come from the command line or from nix's own configuration, never from a file in the repository.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::diagnosis::SourceTree;
use super::flags::NixFlags;
use super::log::NixLog;
use super::log_file::LogFile;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::model::timeouts::nix::TERM_GRACE;
use crate::text::quote;

/// What one run of nix printed, and how it ended.
#[derive(Debug)]
pub struct NixOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// stdout, at most 64 MiB.
    pub stdout: Vec<u8>,
    /// What was kept of its log.
    pub log: NixLog,
}

/// More than any output: the options of a large configuration are below a megabyte.
const STDOUT_BYTES: u64 = 64 << 20;
/// Bytes taken of one line of the protocol; the rest of the line is read and dropped.
const LINE_BYTES: usize = 1 << 20;

/// nix, as this run uses it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Nix {
    /// What the user gave.
    pub flags: NixFlags,
    directory: Option<PathBuf>,
    log: Option<Arc<LogFile>>,
    here: PathBuf,
    source: SourceTree,
}

/// What a build does after the first derivation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It ends: there is nothing more to be learnt.
    Stop,
    /// It builds what does not need that one: others wait for it.
    GoOn,
}

impl Nix {
    /// nix from `PATH`.
    pub fn new(flags: NixFlags) -> Self {
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { flags, directory: None, log: None, here, source: SourceTree::default() }
    }

    /// The nix whose programs (`nix`, `nix-store`) lie in this directory, instead of the one on `PATH`.
    #[must_use]
    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The tree whose files are evaluated, so that what nix notes of them names them by their place in it.
    #[must_use]
    pub fn reading(mut self, source: SourceTree) -> Self {
        self.source = source;
        self
    }

    /// Keeps what nix prints in a file, bounded: the first and the last of it. A file that cannot be written is no
    /// reason not to build.
    #[must_use]
    pub fn log_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = LogFile::create(path.into()).map(Arc::new).or(self.log);
        self
    }

    /// Where the log is, when it is kept.
    pub fn log_path(&self) -> Option<&Path> {
        self.log.as_deref().map(LogFile::path)
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
    /// Only when nix could not be run; an evaluation error is in the output.
    pub async fn eval(
        &self,
        installable: &str,
        apply: &str,
        directory: Option<&Path>,
        events: &Events,
    ) -> Result<NixOutput> {
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
    pub async fn eval_expression(&self, expression: &str, events: &Events) -> Result<NixOutput> {
        let mut args = self.new_style("eval");
        args.extend(["-v", "--json", "--impure"].map(OsString::from));
        args.extend(self.flags.for_evaluation(&self.here).into_iter().filter(|flag| flag != "--impure"));
        args.extend(["--expr", expression].map(OsString::from));
        self.run("nix", args, None, events).await
    }

    /// The names of a flake's outputs; `None` where they cannot be had.
    pub(crate) async fn outputs(&self, flake: &str, events: &Events) -> Option<Vec<String>> {
        let flake = super::evaluate::nix_string(flake);
        let expression = format!("builtins.attrNames (builtins.getFlake {flake}).outputs");
        let output = self.eval_expression(&expression, events).await.ok()?;
        output.status.success().then(|| output.parsed().ok()).flatten()
    }

    /// `nix flake metadata --json FLAKE`.
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub async fn flake_metadata(&self, flake: &str, directory: Option<&Path>, events: &Events) -> Result<NixOutput> {
        let mut args = self.new_style("flake");
        args.extend(["metadata", "--json", "--no-write-lock-file"].map(OsString::from));
        args.extend(self.flags.for_evaluation(&self.here));
        args.push(flake.into());
        self.run("nix", args, directory, events).await
    }

    /// Builds (or fetches) store paths and holds each with a root: `root`, `root-2`, …
    ///
    /// `nix-store --realise` takes derivations in one way in all versions (`nix build` wants `DRV` up to 2.14 and
    /// `DRV^*` since), and its exit status distinguishes a failed build (100 to 104, nix-store(1)) from other trouble.
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub async fn realise(
        &self,
        paths: &[&str],
        root: &Path,
        on_failure: OnFailure,
        events: &Events,
    ) -> Result<NixOutput> {
        let mut args: Vec<OsString> = ["--log-format", "internal-json", "--realise"].map(OsString::from).into();
        args.extend(on_failure.flag());
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
        on_failure: OnFailure,
        directory: Option<&Path>,
        events: &Events,
    ) -> Result<NixOutput> {
        let mut args = self.new_style("build");
        args.extend(["--no-write-lock-file", "--out-link"].map(OsString::from));
        args.push(root.into());
        args.extend(on_failure.flag());
        args.extend(self.flags.for_evaluation(&self.here));
        args.extend(installables.iter().map(OsString::from));
        self.run("nix", args, directory, events).await
    }

    /// `nix path-info --recursive --json PATHS`.
    ///
    /// # Errors
    /// Only when nix could not be run.
    pub(super) async fn path_info(&self, paths: &[String], format: &[&str]) -> Result<NixOutput> {
        let mut args = self.new_style("path-info");
        args.extend(["--recursive", "--json"].map(OsString::from));
        args.extend(format.iter().map(OsString::from));
        args.extend(self.flags.for_store());
        args.extend(paths.iter().map(OsString::from));
        self.run("nix", args, None, &Events::silent()).await
    }

    /// The closure of a derivation, as store paths; empty when it is not known.
    pub async fn requisites(&self, drv: &str) -> Vec<String> {
        let args = ["--query", "--requisites", drv].map(OsString::from).into();
        match self.run("nix-store", args, None, &Events::silent()).await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect(),
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
    ) -> Result<NixOutput> {
        let mut command = self.command(program, &args);
        command.stderr(Stdio::piped()).current_dir(directory.unwrap_or(&self.here));
        let mut child = command.spawn().map_err(|error| not_started(program, error))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Failure::host(format!("{program} has no output")));
        };
        let mut process = NixProcess { child: Some(child) };

        let mut log = NixLog::default();
        log.offline = self.flags.offline;
        log.source = self.source.clone();
        log.overridden = self.flags.override_input.iter().step_by(2).cloned().collect();
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
        let mut printed = Vec::new();
        let receiving = async {
            let mut stdout = stdout.take(STDOUT_BYTES);
            stdout.read_to_end(&mut printed).await?;
            // Past the limit it is read and dropped, so that nix does not hang in a write.
            tokio::io::copy(&mut stdout.into_inner(), &mut tokio::io::sink()).await?;
            std::io::Result::Ok(())
        };
        let (read, received) = tokio::join!(reading, receiving);
        let status = process.wait().await;
        if let Some(log) = &self.log {
            log.finish();
        }
        let status = read.and(received).and(status);
        let status = status
            .map_err(|error| Failure::host(format!("the output of {program} could not be read")).because(error))?;
        Ok(NixOutput { status, stdout: printed, log })
    }

    /// Starts a program whose output is a stream; its words go nowhere.
    pub(super) fn start(&self, program: &str, args: &[OsString]) -> Result<(ChildStdout, NixProcess)> {
        let mut command = self.command(program, args);
        command.stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| not_started(program, error))?;
        let stream = child.stdout.take().ok_or_else(|| Failure::host(format!("{program} has no output")))?;
        Ok((stream, NixProcess { child: Some(child) }))
    }

    fn command(&self, program: &str, args: &[OsString]) -> Command {
        let is_nix = program.starts_with("nix");
        let directory = self.directory.as_ref().filter(|_| is_nix);
        let path = directory.map_or_else(|| PathBuf::from(program), |directory| directory.join(program));
        let mut command = Command::new(&path);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).current_dir(&self.here).process_group(0);
        // Its messages are parsed: they must not be translated, and a pager or a prompt is answered by no user.
        command.env("LC_ALL", "C.UTF-8").env("GIT_TERMINAL_PROMPT", "0");
        // nix runs git in other repositories than that of a git which has started us.
        for name in crate::git::OF_A_CALLER {
            command.env_remove(name);
        }
        end_with_us(&mut command);
        self.write(&format!("$ {program} {}", printable(args)));
        command
    }

    fn write(&self, text: &str) {
        if let Some(log) = &self.log {
            log.line(text);
        }
    }
}

impl OnFailure {
    fn flag(self) -> Option<OsString> {
        (self == Self::GoOn).then(|| "--keep-going".into())
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

fn not_started(program: &str, error: std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        Failure::host(format!("{program} is not on PATH")).hint(
            "install nix (nixos.org/download), or if it is installed, open a new shell so that its profile is read",
        )
    } else {
        Failure::host(format!("{program} could not be started")).because(error)
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
pub(super) struct NixProcess {
    child: Option<Child>,
}

impl NixProcess {
    pub(super) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(std::io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        self.child = None;
        Ok(status)
    }
}

impl Drop for NixProcess {
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

impl NixOutput {
    /// stdout as the JSON that was asked for.
    ///
    /// # Errors
    /// nix ended well and printed something else: a host's failure, not the configuration's.
    pub(super) fn parsed<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.stdout).map_err(|error| {
            let start: String = String::from_utf8_lossy(&self.stdout).chars().take(200).collect();
            let error = anyhow::Error::new(error).context(format!("{start:?}"));
            Failure::host("nix printed something other than the JSON it was asked for").because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_missing_nix_is_this_hosts_failure() {
        let nix = Nix::new(NixFlags::default()).in_directory("/nowhere");
        let failure = nix.eval(".", "x: x", None, &Events::silent()).await.unwrap_err();
        assert_eq!(failure.exit, crate::model::Exit::Unknown);
        assert!(failure.hint.unwrap().contains("install nix"));
    }
}
