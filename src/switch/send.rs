//! What the guest's store does not show of the target is sent to it: a store that is an image holds the closure of what
//! the machine was built with, and no more.
//!
//! It goes through a pipe in the guest into its own nix, or into tar where it has none, which both write into the store as
//! it is mounted there: below it, in the layers of an overlay, nothing may change while it is mounted
//! (Documentation/filesystems/overlayfs.rst). NixOS mounts the store read-only over itself: nix and we write through a
//! mount of our own that is not.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;

use crate::event::{Event, Events};
use crate::failure::{Failure, Result};
use crate::guest::shell::Script;
use crate::guest::{Error, Guest};
use crate::model::UNIT_PREFIX;
use crate::model::timeouts::switch::{CHUNK_LIMIT, RECEIVE_LIMIT};
use crate::nix::{ExportFormat, Nix, Store};

/// Where it is received, in the guest.
const DIRECTORY: &str = "/run/nixbox-receive";
/// The unit that receives, but for the prefix.
const UNIT: &str = "receive.service";
/// How much is sent at once, in bytes: it lies in the guest's memory for an instant.
const CHUNK: usize = 4 << 20;
/// Most that a list of paths may have, in bytes.
const LIST: usize = 8 << 20;

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// How many store paths.
    pub(crate) paths: usize,
    /// How many bytes of stream.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Sends store paths to a guest.
pub(crate) struct Sender<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) nix: &'a Nix,
    pub(crate) store: &'a Store,
    pub(crate) patience: Duration,
    pub(crate) events: &'a Events,
}

impl Sender<'_> {
    /// Sends what the guest lacks of a toplevel's closure, and only that.
    ///
    /// # Errors
    /// This host's or the guest's: nix does not know the toplevel, the guest has neither nix nor tar, its disk is full.
    pub(crate) async fn send(&self, toplevel: &str) -> Result<Sent> {
        let closure = self.nix.requisites(toplevel).await;
        if closure.is_empty() {
            return Err(Failure::host(format!("nix does not know what {toplevel} is made of")));
        }
        let missing = self.missing(&closure).await.map_err(|error| cannot(&error.to_string()))?;
        if missing.is_empty() {
            return Ok(Sent::default());
        }
        let format = self.begin().await.map_err(|error| cannot(&error.to_string()))?;
        let clock = Instant::now();
        let bytes = self.stream(&missing, format).await?;
        Ok(Sent { paths: missing.len(), bytes, took: clock.elapsed() })
    }

    /// Which of these paths the guest does not show, in their order.
    async fn missing(&self, closure: &[String]) -> std::result::Result<Vec<String>, Error> {
        let mut script = Script::new("while read -r p; do [ -e \"$p\" ] || [ -L \"$p\" ] || echo \"$p\"; done");
        script.stdin = closure.join("\n").into_bytes();
        script.stdin.push(b'\n');
        (script.deadline, script.limit) = (self.patience, LIST);
        let output = self.guest.shell().run(script).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        // What the guest says is not trusted: only what was asked for is sent.
        let said: std::collections::BTreeSet<&str> = said.lines().collect();
        Ok(closure.iter().filter(|path| said.contains(path.as_str())).cloned().collect())
    }

    /// Begins to receive; by which program.
    async fn begin(&self) -> std::result::Result<ExportFormat, Error> {
        // Nobody but the pipe's writers keeps it open; the shell that holds one end lets go when it is told to.
        let receive = format!(
            "cd {DIRECTORY} || exit 1\n\
             R <in 9>&- & p=$!; echo $p >pid\n\
             exec 9>in\n\
             read -r x <told\n\
             exec 9>&-\n\
             wait $p; echo $? >new; mv new end"
        );
        let text = format!(
            "rm -rf {DIRECTORY}; mkdir -m 700 {DIRECTORY} && mkfifo {DIRECTORY}/in {DIRECTORY}/told || exit 1\n\
             if n=$(command -v nix-store); then echo nix; R=\"$n --import\"\n\
             elif t=$(command -v tar) && u=$(command -v unshare) && m=$(command -v mount); then echo tar\n\
             R=\"$u -m /bin/sh -c '$m -o remount,rw,bind /nix/store 2>/dev/null; exec $t -x -p -C / -f -'\"\n\
             else exit 3; fi\n\
             printf '%s\\n' \"#!/bin/sh\" \"R() {{ $R; }}\" >{DIRECTORY}/sh\n\
             cat >>{DIRECTORY}/sh\n\
             exec systemd-run --quiet --collect --no-block --unit={UNIT_PREFIX}{UNIT} \
             -p StandardOutput=file:{DIRECTORY}/output -p StandardError=inherit /bin/sh {DIRECTORY}/sh >&2"
        );
        let mut script = Script::new(text);
        script.stdin = receive.into_bytes();
        script.deadline = self.patience;
        let output = self.guest.shell().run(script).await?;
        match (output.exit, output.stdout.trim_ascii()) {
            (0, b"nix") => Ok(ExportFormat::Nix),
            (0, b"tar") => Ok(ExportFormat::Tar),
            (3, _) => Err(Error::Lacks("nix-store, nor tar with unshare".to_owned())),
            _ => Err(Error::Lacks(format!("way to receive: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        }
    }

    /// Sends the paths; returns how many bytes that took.
    async fn stream(&self, paths: &[String], format: ExportFormat) -> Result<u64> {
        let mut export = self.nix.export(paths, format, self.store)?;
        let mut chunk = vec![0; CHUNK];
        let mut sent = 0_u64;
        loop {
            let mut filled = 0;
            while filled < CHUNK {
                match export.stream.read(&mut chunk[filled..]).await {
                    Ok(0) => break,
                    Ok(more) => filled += more,
                    Err(error) => return Err(Failure::host("store paths could not be read").because(error)),
                }
            }
            if filled == 0 {
                break;
            }
            self.put(&chunk[..filled]).await?;
            sent += filled as u64;
            self.events.send(Event::Progress { done: sent >> 20, expected: 0, unit: "MiB sent" });
        }
        export.finish().await?;
        self.received().await?;
        Ok(sent)
    }

    async fn put(&self, chunk: &[u8]) -> Result<()> {
        let mut script = Script::new(format!("cd {DIRECTORY} && read -r p <pid && [ -e /proc/$p/exe ] && cat >in"));
        (script.stdin, script.deadline) = (chunk.to_vec(), CHUNK_LIMIT.max(self.patience));
        let output = self.guest.shell().run(script).await.map_err(|error| cannot(&error.to_string()))?;
        if output.exit == 0 && !output.timed_out { Ok(()) } else { Err(self.refused().await) }
    }

    /// Waits until all that was sent is in the store.
    async fn received(&self) -> Result<()> {
        let text = format!(
            "echo end >{DIRECTORY}/told; while [ ! -e {DIRECTORY}/end ]; do sleep 0.1; done; cat {DIRECTORY}/end"
        );
        let mut script = Script::new(text);
        script.deadline = RECEIVE_LIMIT.max(self.patience);
        let output = self.guest.shell().run(script).await.map_err(|error| cannot(&error.to_string()))?;
        if output.stdout.trim_ascii() == b"0" { Ok(()) } else { Err(self.refused().await) }
    }

    /// Why the guest did not take it.
    async fn refused(&self) -> Failure {
        let text = format!("tail -n 5 {DIRECTORY}/output; systemctl stop {UNIT_PREFIX}{UNIT}");
        match self.guest.shell().ask(&text, self.patience, 1 << 16).await {
            Ok(output) => cannot(String::from_utf8_lossy(&output.stdout).trim()),
            Err(error) => cannot(&error.to_string()),
        }
    }
}

fn cannot(why: &str) -> Failure {
    Failure::host("the target's store paths could not be sent to the machine").why(why).hint(
        "mount the host's store in the VM (virtualisation.useNixStoreImage = false in virtualisation.vmVariant), or give it \
         a larger disk",
    )
}
