//! The guest's sound card, and the servers' processes: what the kernel has of them.

use std::time::Duration;

use super::facts::{ServerProcess, SoundCard};
use super::server;
use super::session::AudioSession;
use crate::guest::shell::Script;
use crate::guest::{Error, Guest};
use crate::text::bounded;

/// Most processes that are read.
const PROCESSES: usize = 32;
/// Most bytes of their list.
const LIST: usize = 64 << 10;

/// The card: udev is let finish first, since drivers are loaded while the boot is called done.
///
/// # Errors
/// The guest could not be asked.
pub(super) async fn card(guest: &Guest, session: &AudioSession, patience: Duration) -> Result<SoundCard, Error> {
    let mut script = Script::new(format!(
        "udevadm settle --timeout={} 2>/dev/null; grep -qs '^0x04' /sys/bus/pci/devices/*/class && echo present; \
         for C in /dev/snd/controlC*; do [ -e \"$C\" ] && echo driven && stat -c 'owner %U:%G %a' \"$C\"; break; done; \
         for C in /dev/snd/pcmC*c; do [ -e \"$C\" ] && echo records; break; done; \
         command -v amixer >/dev/null && amixer -c 0 sget Master 2>/dev/null | grep -q '\\[off\\]' && echo 'off Master'; :",
        patience.as_secs()
    ));
    script.deadline = patience * 2;
    let output = guest.shell().run(script).await?;
    let mut card = read_card(&String::from_utf8_lossy(&output.stdout));
    if card.driven {
        let open = "for C in /dev/snd/controlC*; do exec 9<>\"$C\" && exit 0; exit 1; done";
        card.allowed = session.run(guest, open, patience).await?.exit == 0;
    }
    Ok(card)
}

fn read_card(text: &str) -> SoundCard {
    let mut card = SoundCard::default();
    for line in text.lines() {
        match line.split_once(' ') {
            None if line == "present" => card.present = true,
            None if line == "driven" => card.driven = true,
            None if line == "records" => card.records = true,
            Some(("owner", owner)) => card.owner = bounded(owner, 80),
            Some(("off", name)) => card.off.push(bounded(name, 40)),
            _ => {}
        }
    }
    card
}

/// Whether the card's main switch is off now; `None` where amixer(1) is not installed or does not answer.
pub(super) async fn master_is_off(guest: &Guest, patience: Duration) -> Option<bool> {
    let mut script = Script::new("command -v amixer >/dev/null || exit 9; amixer -c 0 sget Master");
    script.deadline = patience;
    let output = guest.shell().run(script).await.ok()?;
    (output.exit == 0).then(|| String::from_utf8_lossy(&output.stdout).contains("[off]"))
}

/// The processes of sound servers, of all users.
///
/// # Errors
/// The guest could not be asked.
pub(super) async fn processes(guest: &Guest, patience: Duration) -> Result<Vec<ServerProcess>, Error> {
    let names = server::processes().collect::<Vec<_>>().join("|");
    // Of each: its number and owner, the classes of its threads (field 41 of proc_pid_stat(5)), its card.
    let text = format!(
        "( for P in /proc/[0-9]*; do read -r C <\"$P/comm\" || continue\n\
         case $C in {names}) ;; *) continue ;; esac\n\
         U=; while read -r A B D; do [ \"$A\" = Uid: ] && U=$B; done <\"$P/status\"\n\
         R=; for T in \"$P\"/task/*/stat; do read -r L <\"$T\" && set -- ${{L##*) }} && R=\"$R ${{39}}\"; done\n\
         H=; for F in \"$P\"/fd/*; do case $(readlink \"$F\") in /dev/snd/pcm*) H=card ;; esac; done\n\
         echo \"$C ${{P#/proc/}} $U ${{H:-none}}$R\"\n\
         done; : ) 2>/dev/null"
    );
    let output = guest.shell().ask(&text, patience, LIST).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().take(PROCESSES).filter_map(process).collect())
}

/// `NAME PID UID card|none CLASS…`.
fn process(line: &str) -> Option<ServerProcess> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let (pid, uid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let has_card = words.next()? == "card";
    // SCHED_FIFO and SCHED_RR.
    let realtime = words.any(|class| class == "1" || class == "2");
    Some(ServerProcess { name, pid, uid, realtime, has_card })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read() {
        let card = read_card("present\ndriven\nowner root:audio 660\nrecords\noff Master\n");
        assert!(card.present && card.driven && card.records && !card.allowed);
        assert_eq!((card.owner.as_str(), card.off.as_slice()), ("root:audio 660", &["Master".to_owned()][..]));
        assert_eq!(read_card("driver\n"), SoundCard::default());
    }

    #[test]
    fn processes_are_told_apart() {
        let read = process("pipewire 812 1000 card 0 2 0").unwrap();
        assert!(read.realtime && read.has_card && read.uid == 1000 && read.pid == 812);
        assert!(!process("pulseaudio 9 1001 none 0 0").unwrap().realtime);
        assert_eq!(process("pipewire x"), None);
    }
}
