//! What the guest's network cards send, dumped by QEMU into files of the run directory: bounded, whatever a guest sends.
//!
//! QEMU is asked over QMP which network backends there are, instead of guessing it from the runner's text: runners name
//! them as they like, or not at all. The guest's firmware has hardly begun by then.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use qapi::qmp as commands;
use tokio::time::MissedTickBehavior;

use super::qmp::{Qmp, QmpError};
use crate::model::run_file;
use crate::model::timeouts::machine::{PACKET_DUMP_INTERVAL, QMP_COMMAND_LIMIT};
use crate::traffic::{self, Traffic};

/// Most that is dumped of each card, in bytes: what is sent while a guest boots takes some KiB. It may be passed by what a
/// guest sends within [`PACKET_DUMP_INTERVAL`].
const LIMIT: u64 = 8 << 20;
/// Most cards whose packets are dumped.
const CARDS: usize = 4;

/// The dumps of a machine.
#[derive(Debug, Clone)]
pub struct PacketDump {
    files: Vec<PathBuf>,
    /// Whether all cards' packets are dumped, and none was ended for its size.
    is_whole: Arc<AtomicBool>,
}

impl PacketDump {
    /// Begins to dump what the guest sends. Where there is no card, or QEMU cannot, there is no dump.
    pub(super) async fn start(qmp: &Qmp, run_dir: &Path) -> Self {
        let mut dump = Self { files: Vec::new(), is_whole: Arc::default() };
        let command = commands::human_monitor_command { cpu_index: None, command_line: "info network".to_owned() };
        // There is no QMP command that lists them.
        let Ok(listed) = qmp.execute(&command, QMP_COMMAND_LIMIT).await else { return dump };
        let backends = backends(&listed);
        for backend in backends.iter().take(CARDS) {
            let number = dump.files.len();
            let file = run_dir.join(format!("{}{number}", run_file::PACKETS));
            if add(qmp, number, backend, &file).await.is_ok() {
                dump.files.push(file);
            }
        }
        let is_whole = !backends.is_empty() && dump.files.len() == backends.len();
        dump.is_whole.store(is_whole, Ordering::Relaxed);
        dump
    }

    /// Ends the dump of a card that sends too much. Runs until all have ended.
    pub(super) async fn watch(self, qmp: Arc<Qmp>) {
        let mut ticks = tokio::time::interval(PACKET_DUMP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open: Vec<usize> = (0..self.files.len()).collect();
        while !open.is_empty() {
            ticks.tick().await;
            let is_over = |number: &usize| std::fs::metadata(&self.files[*number]).is_ok_and(|file| file.len() > LIMIT);
            let over: Vec<usize> = open.iter().copied().filter(is_over).collect();
            open.retain(|number| !over.contains(number));
            for number in over {
                self.is_whole.store(false, Ordering::Relaxed);
                // Where QEMU does not answer, the run directory's limit ends the machine.
                drop(qmp.execute(&commands::object_del { id: id(number) }, QMP_COMMAND_LIMIT).await);
            }
        }
    }

    /// What was sent so far; `None` where nothing is dumped.
    pub fn read(&self) -> Option<Traffic> {
        let read = |file: &PathBuf| {
            // QEMU made it, which a guest may have taken over: not to be followed elsewhere, and not to be waited for.
            let is_file = std::fs::symlink_metadata(file).is_ok_and(|data| data.is_file());
            let mut bytes = Vec::new();
            let opened = std::fs::File::open(file).ok().filter(|_| is_file)?;
            opened.take(LIMIT + 1).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let dumps: Vec<Vec<u8>> = self.files.iter().filter_map(read).collect();
        let is_cut = dumps.len() < self.files.len() || dumps.iter().any(|dump| dump.len() as u64 > LIMIT);
        let is_whole = self.is_whole.load(Ordering::Relaxed) && !is_cut;
        (!dumps.is_empty()).then(|| traffic::read(&dumps, is_whole))
    }
}

fn id(number: usize) -> String {
    format!("nixbox-packets{number}")
}

async fn add(qmp: &Qmp, number: usize, backend: &str, file: &Path) -> Result<(), QmpError> {
    let base = commands::NetfilterProperties {
        netdev: backend.to_owned(),
        // What the backend receives is what the guest sends.
        queue: Some(commands::NetFilterDirection::rx),
        status: None,
        position: None,
        insert: None,
    };
    let file = file.to_string_lossy().into_owned();
    let filter_dump = commands::FilterDumpProperties { base, file, maxlen: Some(traffic::PACKET_KEPT) };
    let object = commands::ObjectOptions::filter_dump { id: id(number), filter_dump };
    qmp.execute(&commands::object_add(object), QMP_COMMAND_LIMIT).await.map(drop)
}

/// The network backends that QEMU's monitor lists: ` \ user.0: index=0,type=user,net=10.0.2.0,restrict=on`, below a
/// card or a hub's port or by itself.
fn backends(listed: &str) -> Vec<String> {
    let backend = |line: &str| {
        let (names, fields) = line.split_once(": index=")?;
        let kind = fields.split(',').find_map(|field| field.trim().strip_prefix("type="))?;
        let name = names.rsplit(": ").next()?.trim_start_matches([' ', '\\']).trim();
        (!matches!(kind, "nic" | "hubport") && !name.is_empty()).then(|| name.to_owned())
    };
    listed.lines().filter_map(backend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_found_however_they_are_connected() {
        let usual = "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n \
                     \\ user.0: index=0,type=user,net=10.0.2.0,restrict=on\r\n";
        assert_eq!(backends(usual), ["user.0"]);
        let hub = "hub 0\n \\ hub0port1: #net071: index=0,type=user,net=10.0.2.0,restrict=off\n \\ hub0port0: \
                   e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\n";
        assert_eq!(backends(hub), ["#net071"]);
        let two = "a: index=0,type=nic,model=x\n \\ vlan1: index=0,type=socket,listen\nlan: index=0,type=user,net=x\n";
        assert_eq!(backends(two), ["vlan1", "lan"]);
        assert_eq!(backends(""), [""; 0]);
    }

    #[test]
    fn a_dump_that_is_too_long_or_gone_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("packets0");
        let dump = |files: &[&PathBuf]| PacketDump {
            files: files.iter().map(|file| (*file).clone()).collect(),
            is_whole: Arc::new(AtomicBool::new(true)),
        };
        assert_eq!(dump(&[]).read(), None);
        assert_eq!(dump(&[&file]).read(), None);
        let mut bytes = [0xd4, 0xc3, 0xb2, 0xa1].to_vec();
        bytes.resize(20, 0);
        bytes.extend([1, 0, 0, 0]);
        std::fs::write(&file, &bytes).unwrap();
        assert!(dump(&[&file]).read().unwrap().is_whole);
        assert!(!dump(&[&file, &dir.path().join("packets1")]).read().unwrap().is_whole);
        std::fs::File::options().write(true).open(&file).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(!dump(&[&file]).read().unwrap().is_whole);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert_eq!(dump(&[&file]).read(), None);
    }
}
