//! What `nixbox demo` does besides a `try`: a window and sound for the user, a login that works, a disk that can be kept.
//!
//! The machine is the same, and so are its checks, except for those that would play sound, type or log in while the user
//! is at it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tokio::time::MissedTickBehavior;

use super::{Run, boot};
use crate::checks;
use crate::cli::DemoArgs;
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::guest::Guest;
use crate::guest::shell::Script;
use crate::host;
use crate::machine::window::{self, HostSession, QemuFeatures};
use crate::machine::{JailOptions, Machine, RunDir, Spec};
use crate::model::timeouts::run::{DEMO_COMMAND_LIMIT, SYNC_INTERVAL};
use crate::model::{CheckId, CheckResult, run_file};
use crate::nix::expectations::Expectations;

/// What a desktop needs to be pleasant, in MiB, where the host has twice as much to spare.
const MEMORY_MIB: u64 = 4096;
/// The password that a demo's user has.
const PASSWORD: &str = "nixbox";
/// How many failed checks the verdict's line names; the report has them all.
const FAILURES_SHOWN: usize = 5;

/// A demo, from the flags to the saved disk.
pub(super) struct Demo {
    arguments: DemoArgs,
    disk: Option<SavedDisk>,
}

/// What this host has to show the machine with.
pub(super) struct HostDisplay {
    session: HostSession,
    features: QemuFeatures,
    gpu: Option<PathBuf>,
    /// What the host's memory has to spare, in MiB.
    spare_mib: u64,
}

impl Demo {
    /// # Errors
    /// The disk to be kept is in use, or its directory is not there.
    pub(super) fn new(arguments: &DemoArgs) -> Result<Self> {
        let disk = arguments.save.as_deref().map(SavedDisk::open).transpose()?;
        Ok(Self { arguments: arguments.clone(), disk })
    }

    /// The checks that are left out: they would play sound or move the pointer while the user is at the machine.
    pub(super) const fn skipped() -> [CheckId; 3] {
        [CheckId::AudioTone, CheckId::AudioMicrophone, CheckId::DesktopPicture]
    }

    /// Looks at what the host has and what the runner's QEMU knows.
    pub(super) async fn probe_host(&self, runner: &Path, jail: &JailOptions) -> HostDisplay {
        let session = HostSession::current();
        let (features, gpu, memory) = tokio::join!(
            window::query_features(runner, jail),
            window::probe_gpu(runner, &session, jail),
            host::memory()
        );
        HostDisplay { session, features, gpu, spare_mib: memory.unwrap_or(0) >> 20 }
    }

    /// Gives the machine a display, sound and input for the user.
    ///
    /// # Errors
    /// The display that was asked for cannot be had.
    pub(super) fn add_devices(
        &self,
        host: &HostDisplay,
        run_dir: &RunDir,
        spec: &mut Spec,
        jail: &mut JailOptions,
        events: &Events,
    ) -> Result<()> {
        let (gpu, display) = (host.gpu.as_deref(), self.arguments.display);
        let devices = window::choose(&host.session, &host.features, display, gpu, run_dir.path()).map_err(|why| {
            Failure::host("the demo cannot be shown that way")
                .why(why)
                .hint("leave --display out, or use --display vnc")
        })?;
        spec.extra.extend(devices.arguments);
        spec.variables.extend(devices.environment);
        spec.nodes.extend(devices.nodes);
        jail.read_only.extend(devices.mounts);
        devices.notes.into_iter().for_each(|note| events.note(note));
        Ok(())
    }

    /// The guest's memory in MiB, where no flag sets it: what is configured, or more where the host has plenty.
    pub(super) fn memory_mib(host: &HostDisplay, configured: u64) -> u64 {
        configured.max(MEMORY_MIB.min(host.spare_mib / 2))
    }

    /// Puts the saved disk where the runner looks for it.
    pub(super) fn restore(&self, run_dir: &RunDir) -> Result<()> {
        match &self.disk {
            Some(disk) => disk.restore(&run_dir.file(run_file::DISK)),
            None => Ok(()),
        }
    }

    /// Keeps the disk for the next demo. Returns what was done, to show the user.
    ///
    /// # Errors
    /// It could not be written; then the one of the last demo is untouched.
    pub(super) fn save(&self, run_dir: &RunDir) -> Result<Option<String>> {
        let Some(disk) = &self.disk else { return Ok(None) };
        disk.save(&run_dir.file(run_file::DISK))?;
        Ok(Some(format!("the disk is kept in {} for the next demo with --save", disk.path.display())))
    }

    fn saves(&self) -> bool {
        self.disk.is_some()
    }
}

/// Who is to log in: the user whom the configuration logs in, else a normal user, else root.
fn login_user(expectations: &Expectations) -> &str {
    let normal = expectations.users.iter().find(|(_, user)| user.normal).map(|(name, _)| name.as_str());
    expectations.autologin_user.as_deref().or(normal).unwrap_or("root")
}

impl Run<'_> {
    /// Shows the verdict and how to log in, then leaves the machine to the user until it ends.
    pub(super) async fn present(
        &self,
        demo: &Demo,
        machine: &mut Machine,
        guest: &Guest,
        expectations: &Expectations,
        results: &[CheckResult],
    ) {
        self.events.note(verdict_line(results));
        self.events.note(set_password(guest, expectations).await);
        let mut ticks = tokio::time::interval(SYNC_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = machine.next_event() => if boot::end_by(event).is_some() { return },
                () = self.interrupt.orderly() => break,
                _ = ticks.tick(), if demo.saves() => sync(guest).await,
            }
        }
        if demo.saves() {
            sync(guest).await;
        }
    }
}

/// The verdict in a line.
fn verdict_line(results: &[CheckResult]) -> String {
    let failed: Vec<&CheckResult> = results.iter().filter(|result| result.is_failure()).collect();
    if failed.is_empty() {
        let outcome = checks::verdict(results);
        return match outcome.cause {
            None => format!("it works: {} checks, none failed", results.len()),
            Some(cause) => format!("could not tell whether it works: {cause}"),
        };
    }
    let some: Vec<String> =
        failed.iter().take(FAILURES_SHOWN).map(|check| format!("{}: {}", check.id, check.summary)).collect();
    format!("{} of {} checks failed: {}", failed.len(), results.len(), some.join("; "))
}

/// Sets a password in the running machine, which is thrown away, since nixbox does not know the configured one. Returns
/// how to log in.
async fn set_password(guest: &Guest, expectations: &Expectations) -> String {
    let user = login_user(expectations);
    let is_automatic = expectations.autologin_user.is_some();
    let log_in = if is_automatic { format!("{user} is logged in") } else { format!("log in as {user}") };
    // Through PAM, else (it may have no rules for chpasswd) straight into the shadow file.
    let text =
        "read -r line; say() { printf '%s\\n' \"$line\"; }; say | chpasswd 2>/dev/null || say | chpasswd -c SHA512";
    let mut script = Script::new(text);
    script.stdin = format!("{user}:{PASSWORD}\n").into_bytes();
    script.deadline = DEMO_COMMAND_LIMIT;
    match guest.shell().run(script).await {
        Ok(output) if output.exit == 0 => {
            format!("{log_in}; the password in this VM is {PASSWORD}")
        }
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let other = if is_automatic { "" } else { "; use a login of your configuration" };
            format!("{log_in}; no password could be set: {why}{other}")
        }
        Err(error) => format!("{log_in}; no password could be set: {error}"),
    }
}

/// Writes the guest's caches to its disk. Where that fails, the guest is gone.
async fn sync(guest: &Guest) {
    let mut script = Script::new("exec sync");
    script.deadline = DEMO_COMMAND_LIMIT;
    drop(guest.shell().run(script).await);
}

/// A disk that outlives the demo.
struct SavedDisk {
    path: PathBuf,
    /// Held until the demo ends, so that two demos do not overwrite each other's disk; `None` where there is no disk yet,
    /// or its file system has no locks.
    lock: Option<File>,
}

impl SavedDisk {
    fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let shown = path.display();
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !parent.is_dir() {
            return Err(Failure::usage(format!("--save {shown}: there is no directory {}", parent.display())));
        }
        let lock = match File::open(&path) {
            Ok(file) => {
                if !file.metadata().is_ok_and(|data| data.is_file()) {
                    return Err(Failure::usage(format!("--save {shown}: this is not a regular file")));
                }
                match file.try_lock() {
                    Ok(()) => Some(file),
                    Err(fs::TryLockError::WouldBlock) => {
                        return Err(Failure::usage(format!("--save {shown}: another demo uses this disk"))
                            .hint("wait for its end, or save to another file"));
                    }
                    // Not every file system has locks.
                    Err(fs::TryLockError::Error(_)) => None,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::usage(format!("--save {shown}: it cannot be read")).because(error)),
        };
        Ok(Self { path, lock })
    }

    fn restore(&self, to: &Path) -> Result<()> {
        if self.lock.is_none() && !self.path.exists() {
            return Ok(());
        }
        // Blocks are shared where the file system can, so that this takes no time and no space.
        fs::copy(&self.path, to).map(drop).map_err(|error| {
            Failure::host(format!("the saved disk {} cannot be used", self.path.display())).because(error)
        })
    }

    fn save(&self, from: &Path) -> Result<()> {
        let failed = |error: io::Error| {
            Failure::host(format!("the disk could not be kept in {}", self.path.display()))
                .because(error)
                .hint("what was there before is untouched")
        };
        let mut name = self.path.clone().into_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let written = fs::copy(from, &part).and_then(|_| File::open(&part)?.sync_all());
        let written = written.and_then(|()| fs::rename(&part, &self.path));
        if written.is_err() {
            // It may not exist.
            drop(fs::remove_file(&part));
        }
        written.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exit, Status};
    use crate::nix::expectations::ExpectedUser;

    #[test]
    fn the_user_is_who_is_logged_in_or_could_be() {
        let mut expectations = Expectations::default();
        assert_eq!(login_user(&expectations), "root");
        expectations.users.insert("daemon".into(), ExpectedUser::default());
        expectations.users.insert("zoe".into(), ExpectedUser { normal: true, ..ExpectedUser::default() });
        assert_eq!(login_user(&expectations), "zoe");
        expectations.autologin_user = Some("kiosk".into());
        assert_eq!(login_user(&expectations), "kiosk");
    }

    #[test]
    fn a_saved_disk_is_whole_or_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (saved, disk) = (dir.path().join("my demo.qcow2"), dir.path().join("disk"));
        let first = SavedDisk::open(&saved).unwrap();
        first.restore(&disk).unwrap();
        assert!(!disk.exists(), "the runner makes a new one");
        fs::write(&disk, "one").unwrap();
        first.save(&disk).unwrap();
        let second = SavedDisk::open(&saved).unwrap();
        let refused = SavedDisk::open(&saved).err().unwrap();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.what.contains("another demo"), "{refused}");
        fs::remove_file(&disk).unwrap();
        second.restore(&disk).unwrap();
        assert_eq!(fs::read_to_string(&disk).unwrap(), "one");
        second.save(&dir.path().join("nowhere")).unwrap_err();
        assert_eq!(fs::read_to_string(&saved).unwrap(), "one");
        assert!(!dir.path().join("my demo.qcow2.part").exists());
        assert_eq!(SavedDisk::open(&dir.path().join("no/such")).err().unwrap().exit, Exit::Usage);
        assert_eq!(SavedDisk::open(dir.path()).err().unwrap().exit, Exit::Usage);
    }

    #[test]
    fn the_verdict_fits_in_a_line() {
        let result = |id: CheckId, status| CheckResult::new(id, status, format!("what {id} says"));
        let good = [result(CheckId::BootTarget, Status::Pass), result(CheckId::UsersLogin, Status::Pass)];
        assert_eq!(verdict_line(&good), "it works: 2 checks, none failed");
        let bad = [result(CheckId::BootTarget, Status::Pass), result(CheckId::UsersLogin, Status::Fail)];
        assert_eq!(verdict_line(&bad), "1 of 2 checks failed: users.login: what users.login says");
    }
}
