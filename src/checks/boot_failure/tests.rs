//! Consoles, statuses and facts of guests that did not come up, and what is said of them.

use super::*;
use crate::checks::verdict;
use crate::config::Settings;
use crate::guest::facts::{Job, Manager, Unit};
use crate::judging::{Selection, plan};
use crate::model::Exit;
use crate::nix::expectations::Expectations;

fn judged(
    end: BootEnd,
    console: &str,
    status: Option<&str>,
    facts: Option<Facts>,
    seconds: f64,
) -> (CheckResult, Exit) {
    judged_on(RunDelay::default(), end, console, status, facts, seconds)
}

fn judged_on(
    delay: RunDelay,
    end: BootEnd,
    console: &str,
    status: Option<&str>,
    facts: Option<Facts>,
    seconds: f64,
) -> (CheckResult, Exit) {
    let plan = plan(&Expectations::default(), &Settings::default(), &Selection::default());
    let evidence = BootFailure {
        idle_s: None,
        end,
        console_tail: console.lines().map(str::to_owned).collect(),
        status: status.map(str::to_owned),
        facts,
        seconds,
        accelerator: Accel::Tcg,
        delay,
        traffic: None,
    };
    let judgement = judge_boot_failure(&plan, &evidence);
    let decided: Vec<_> = judgement
        .results
        .iter()
        .filter(|result| matches!(result.status, Status::Fail | Status::Unknown))
        .cloned()
        .collect();
    assert_eq!(decided.len(), 1, "{decided:?}");
    (decided[0].clone(), verdict(&judgement.results).exit)
}

#[test]
fn a_processor_that_the_emulation_lost() {
    let report = |cpu: u32, done: u32| {
        format!(
            "[  304.13] rcu: \t{cpu}-...!: (0 ticks this GP) idle=40b0/0/0x0 softirq={done}/{done} fqs=1 (false positive?)"
        )
    };
    let other = "[  304.13] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:";
    let is_lost = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        lost_processor(&lines).is_some()
    };
    assert!(is_lost(&[other, &report(0, 4836), other, &report(0, 4836)]));
    // It stood for a while, and went on; another one did.
    assert!(!is_lost(&[other, &report(0, 4836), other, &report(0, 4840), other]));
    assert!(!is_lost(&[other, &report(0, 4836), other, &report(1, 4836), other]));
}

#[test]
fn a_host_that_was_too_busy_says_nothing_of_the_configuration() {
    let busy = || RunDelay { start_us: 0, slices: vec![90; 60] };
    let calm = || RunDelay { slices: [vec![90; 5], vec![5; 55]].concat(), ..busy() };
    let judged = |delay, console, status| judged_on(delay, BootEnd::Deadline, console, status, None, 300.0);
    let job = Some("(1 of 2) Job x.service/start running (4min 2s / no limit)");
    let device = "stage 1 here\n[ TIME ] Timed out waiting for device /dev/vdb.\nYou are in emergency mode.";
    let step = "stage-2-init: running activation script...";
    for (console, status) in [("", job), (device, None), (step, None)] {
        let (result, exit) = judged(busy(), console, status);
        assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown), "{result:?}");
        assert!(result.summary.contains("host overloaded: the VM waited for a CPU 90 %"), "{result:?}");
        assert!(result.hint.is_some_and(|hint| hint.contains("less to do")));
        assert_eq!(judged(calm(), console, status).1, Exit::Boot, "{console}");
    }
    // What needs no limit of time is as wrong on a busy host.
    let (result, exit) = judged(busy(), "mount: wrong fs type\nYou are in emergency mode.", None);
    assert_eq!((result.status, exit), (Status::Fail, Exit::Boot));
}

#[test]
fn panics_name_their_cause() {
    let table = [
        (
            "[    2.1] Run /nix/store/x/init as init process\n[    2.2] Kernel panic - not syncing: Requested init /nix/store/x/init failed (error -2).\n[    2.3] ---[ end Kernel panic - not syncing: Requested",
            "kernel panic: the init is missing",
        ),
        (
            "VFS: Cannot open root device\nKernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "kernel panic: the root file system could not be mounted (VFS: Unable",
        ),
        (
            "switch_root: can't execute '/nix/store/abc-init': No such file or directory\nKernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "kernel panic: the init is missing or cannot be executed: switch_root: can't execute '/nix/store/abc-init'",
        ),
        ("Kernel panic - not syncing: Fatal exception in interrupt", "kernel panic: Fatal exception in interrupt"),
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", "kernel panic: init exited"),
    ];
    for end in [BootEnd::Panicked, BootEnd::Reset, BootEnd::Deadline] {
        for (console, expected) in table {
            let (result, exit) = judged(end.clone(), console, None, None, 9.0);
            assert_eq!((result.id, exit), (CheckId::BootPanic, Exit::Boot));
            assert!(result.summary.starts_with(expected), "{}", result.summary);
        }
    }
    assert_eq!(judged(BootEnd::Panicked, "", None, None, 9.0).0.id, CheckId::BootPanic);
}

#[test]
fn a_missing_driver_is_the_cause_of_a_missing_device() {
    let prompt = "An error occurred in stage 1 of the boot process, which must mount the\n";
    let gives_up = |module: &str, device: &str| {
        let console = format!(
            "<<< NixOS Stage 1 >>>\nloading module {module}...\nmodprobe: FATAL: Module {module} not found in directory /lib/modules/6.12.30\n\
             waiting for device {device} to appear.........\nTimed out waiting for device {device}, trying to mount anyway.\n\
             mount: mounting {device} on /mnt-root/ failed: No such file or directory\n{prompt}"
        );
        judged(BootEnd::Deadline, &console, None, None, 100.0).0
    };
    for (module, device) in [("virtio_blk", "/dev/vda"), ("nvme", "/dev/disk/by-label/nixos")] {
        let result = gives_up(module, device);
        let cause =
            format!(": modprobe: FATAL: Module {module} not found in directory /lib/modules/6.12.30; after that: ");
        assert!(result.summary.contains(&cause), "{}", result.summary);
        assert!(result.hint.is_some_and(|hint| hint.contains("availableKernelModules")));
    }
    // Another device's driver, and what drives no disk.
    for (module, device) in
        [("nvme", "/dev/vda"), ("kvm_amd", "/dev/vda"), ("snd_hda_intel", "/dev/disk/by-label/nixos")]
    {
        let result = gives_up(module, device);
        assert!(!result.summary.contains("modprobe"), "{}", result.summary);
    }
    let console = "<<< NixOS Stage 1 >>>\nmodprobe: FATAL: Module virtio_blk not found in directory /lib/modules/6.12.30\nwaiting for device /dev/vda to appear....";
    let (result, _) = judged(BootEnd::Deadline, console, None, None, 100.0);
    assert!(result.summary.starts_with("the boot hangs: modprobe: FATAL: Module virtio_blk"), "{}", result.summary);
}

#[test]
fn stage_1_that_gives_up() {
    let console = "<<< NixOS Stage 1 >>>\nmounting /dev/vda on /...\nmount: mounting /dev/vda on /mnt-root/ failed: Invalid argument\n\nAn error occurred in stage 1 of the boot process, which must mount the\nroot filesystem on `/mnt-root' and then start stage 2.\n  r) to reboot immediately\n";
    let (result, exit) = judged(BootEnd::Deadline, console, None, None, 100.0);
    assert_eq!((result.id, exit), (CheckId::BootEmergency, Exit::Boot));
    assert!(result.summary.contains("mounting /dev/vda on /mnt-root/ failed"), "{}", result.summary);
    let console =
        "stage 2 init script (/mnt-root//nix/store/x/init) not found\nAn error occurred in stage 1 of the boot process";
    let (result, _) = judged(BootEnd::Deadline, console, None, None, 100.0);
    assert_eq!(result.id, CheckId::BootEmergency);
    assert!(result.summary.contains("stage 2 init script"), "{}", result.summary);
    let console =
        "[    3.2] systemd[1]: Caught <SEGV>, dumped core as pid 80.\n[    3.3] systemd[1]: Freezing execution.";
    let (result, _) = judged(BootEnd::Deadline, console, None, None, 100.0);
    assert_eq!(result.id, CheckId::BootTarget);
    assert!(result.summary.starts_with("PID 1 crashed"), "{}", result.summary);
    let console = "[!!!!!!] Refusing to run in unsupported environment where /usr/ is not populated.\n[    3.3] systemd[1]: Freezing execution.";
    let (result, _) = judged(BootEnd::Deadline, console, None, None, 100.0);
    let told = "PID 1 gave up: Refusing to run in unsupported environment where /usr/ is not populated";
    assert_eq!(result.summary, told);
    let console = "<<< NixOS Stage 1 >>>\n/init: line 4: can't create /dev/null: nonexistent directory";
    let (result, exit) = judged(BootEnd::Deadline, console, None, None, 100.0);
    assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
    assert!(result.summary.contains("/dev/null"), "{}", result.summary);
}

#[test]
fn emergency_mode_is_not_plymouths_fault() {
    let console = "[FAILED] Failed to mount /var/lib/lxcfs.\n[DEPEND] Dependency failed for Local File Systems.\n[FAILED] Failed to start plymouth-quit\nYou are in emergency mode. After logging in, type";
    let (result, _) = judged(BootEnd::Deadline, console, None, None, 100.0);
    assert_eq!(result.id, CheckId::BootEmergency);
    assert!(result.summary.contains("Failed to mount /var/lib/lxcfs"), "{}", result.summary);
}

#[test]
fn emergency_mode_in_stage_1_says_why() {
    // As systemd 257 writes it with `rd.systemd.journald.forward_to_console=1`.
    let mount = "[   12.870102] systemd[1]: Mounting sysroot-data.mount - /sysroot/data...
[   12.934433] mount[172]: mount: /sysroot/data: unknown filesystem type 'btrfs'.
[   12.951020] systemd[1]: sysroot-data.mount: Mount process exited, code=exited, status=32/n/a
[   12.960114] systemd[1]: sysroot-data.mount: Failed with result 'exit-code'.
[FAILED] Failed to mount sysroot-data.mount - /sysroot/data.
[DEPEND] Dependency failed for initrd-fs.target - Initrd File Systems.
[   13.182759] systemd[1]: Reached target emergency.target - Emergency Mode.";
    let late = "[FAILED] Failed to start systemd-fsck-root.service - File System Check on /dev/vda.
[   13.0] systemd[1]: initrd-root-fs.target: Triggering OnFailure= dependencies.
[   13.1] systemd-fsck[81]: fsck failed with exit status 4.
You are in emergency mode. After logging in, type";
    let module = "[    4.2] systemd-modules-load[90]: Failed to find module 'virtio_blkk'
[   95.0] systemd[1]: dev-vda.device: Job dev-vda.device/start timed out.
[ TIME ] Timed out waiting for device dev-vda.device - /dev/vda.
[DEPEND] Dependency failed for sysroot.mount - /sysroot.
You are in emergency mode. After logging in, type";
    for (console, words) in [
        (mount, "sysroot-data.mount: mount: /sysroot/data: unknown filesystem type 'btrfs'."),
        (late, "systemd-fsck-root.service: fsck failed with exit status 4."),
        (module, "timed out.: Failed to find module 'virtio_blkk'"),
    ] {
        let (result, exit) = judged(BootEnd::Deadline, console, None, None, 100.0);
        assert_eq!((result.id, exit), (CheckId::BootEmergency, Exit::Boot));
        assert!(result.summary.contains(words), "{}", result.summary);
    }
}

#[test]
fn udev_that_was_at_work_until_the_limit_says_nothing_under_emulation() {
    let console = "[ TIME ] Timed out waiting for device dev-disk-by\\x2dlabel-nixos.device - /dev/disk/by-label/nixos.
[DEPEND] Dependency failed for sysroot.mount - /sysroot.
You are in emergency mode. After logging in, type";
    let plan = plan(&Expectations::default(), &Settings::default(), &Selection::default());
    let judged = |accelerator, idle_s| {
        let evidence = BootFailure {
            end: BootEnd::Deadline,
            console_tail: console.lines().map(str::to_owned).collect(),
            status: None,
            facts: None,
            seconds: 110.0,
            idle_s,
            traffic: None,
            accelerator,
            delay: RunDelay::default(),
        };
        verdict(&judge_boot_failure(&plan, &evidence).results)
    };
    let at_work = judged(Accel::Tcg, Some(2.0));
    assert_eq!(at_work.exit, Exit::Unknown);
    assert!(at_work.cause.is_some_and(|cause| cause.contains("at work all that time on an emulated processor")));
    // It waited at rest, or nobody knows; or the processor is a real one.
    for (accelerator, idle) in [(Accel::Tcg, Some(80.0)), (Accel::Tcg, None), (Accel::Kvm, Some(2.0))] {
        assert_eq!(judged(accelerator, idle).exit, Exit::Boot);
    }
}

#[test]
fn a_console_that_shows_the_end_of_the_boot() {
    let shows = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        has_come_up(&lines).map(str::to_owned)
    };
    assert!(
        shows(&["[  OK  ] Reached target multi-user.target - Multi-User System.", "[   60.1] usb 1-1: late"]).is_some()
    );
    assert!(shows(&["[  OK  ] Reached target Graphical Interface."]).is_some());
    assert!(shows(&["<<< Welcome to NixOS >>>", "machine login: "]).is_some());
    assert!(shows(&["machine login: root (automatic login)", "[   61.0] systemd[1]: Starting x.service..."]).is_none());
    assert!(shows(&["[  OK  ] Reached target initrd.target - Initrd Default Target."]).is_none());
}

#[test]
fn a_stuck_job_is_named_with_its_time() {
    let status = "(1 of 2) Job db-migrate.service/start running (1min 35s / no limit)";
    let (result, exit) = judged(BootEnd::Deadline, "flood\nflood", Some(status), None, 120.0);
    assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
    assert!(
        result.summary.contains("db-migrate.service has been running for 95 s (limit: no limit)"),
        "{}",
        result.summary
    );
    let console = "[ ***  ] A start job is running for /nixos/persist (50s / 1min 30s)";
    let (result, _) = judged(BootEnd::Deadline, console, None, None, 60.0);
    assert!(result.summary.contains("/nixos/persist"), "{}", result.summary);
    // A job that began a moment ago is no evidence.
    let (result, exit) =
        judged(BootEnd::Deadline, "", Some("Job x.service/start running (3s / no limit)"), None, 120.0);
    assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown));
}

#[test]
fn a_stuck_job_by_facts() {
    let facts = Facts {
        manager: Manager { default_target: "multi-user.target".into(), state: "starting".into(), ..Manager::default() },
        jobs: vec![
            Job { unit: "multi-user.target".into(), kind: "start".into(), state: "waiting".into(), seconds: None },
            Job { unit: "slow.service".into(), kind: "start".into(), state: "running".into(), seconds: Some(80) },
        ],
        units: vec![Unit { name: "multi-user.target".into(), active_state: "inactive".into(), ..Unit::default() }],
        ..Facts::default()
    };
    let (result, exit) = judged(BootEnd::Deadline, "", None, Some(facts), 100.0);
    assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
    assert!(result.summary.contains("slow.service has been running for 80 s"), "{}", result.summary);
}

#[test]
fn a_snippet_that_never_ends() {
    let console = "stage-2-init: running activation script...\nstage-2-init: setting up /etc...\nsetting up secrets...";
    let (result, exit) = judged(BootEnd::Deadline, console, None, None, 300.0);
    assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
    assert!(result.summary.contains("setting up secrets"), "{}", result.summary);
}

#[test]
fn ends_of_its_own() {
    let (result, exit) =
        judged(BootEnd::PoweredOff, "[  OK  ] Reached target Power-Off.\nreboot: Power down", None, None, 12.0);
    assert_eq!((result.id, exit), (CheckId::BootPoweroff, Exit::Boot));
    assert!(result.summary.contains("after 12 s"), "{}", result.summary);
    assert_eq!(judged(BootEnd::Reset, "hello", None, None, 1.0).0.id, CheckId::BootPoweroff);
}

#[test]
fn without_evidence_it_is_unknown() {
    let cases = [
        (BootEnd::Deadline, ""),
        (BootEnd::Deadline, "[    1.0] noise\n[    2.0] more noise"),
        (BootEnd::Reset, ""),
        (BootEnd::QemuDied("exit status 1".into()), "hello"),
    ];
    for (end, console) in cases {
        let (result, exit) = judged(end.clone(), console, None, None, 60.0);
        assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown), "{end:?}");
    }
}

/// A disk that the host's configuration has and the VM lacks says nothing, wherever it shows; one that the VM variant
/// itself asks for does.
#[test]
fn a_disk_of_the_real_machine_is_no_failure() {
    let judged = |line: &str, own: bool| {
        let mut expectations = Expectations { known: true, ..Expectations::default() };
        let (place, what) = ("/persist".to_owned(), "/dev/disk/by-label/persist".to_owned());
        expectations.disks.own.insert("/".into(), "/dev/vda".into());
        expectations.disks.own.insert("/persist/own".into(), "tmpfs".into());
        expectations.disks.luks = vec!["crypt".into()];
        if own {
            expectations.disks.own.insert(place, what);
        } else {
            expectations.disks.real.insert(place, what);
        }
        let plan = plan(&expectations, &Settings::default(), &Selection::default());
        let console = [line, "You are in emergency mode. After logging in, type \"journalctl -xb\" to view"];
        let evidence = BootFailure {
            end: BootEnd::Deadline,
            console_tail: console.map(str::to_owned).to_vec(),
            status: None,
            facts: None,
            seconds: 100.0,
            idle_s: None,
            accelerator: Accel::Kvm,
            traffic: None,
            delay: RunDelay::default(),
        };
        let judgement = judge_boot_failure(&plan, &evidence);
        let found = judgement.results.iter().find(|result| result.id == CheckId::BootEmergency).unwrap();
        (found.status, found.hint.clone().unwrap_or_default())
    };
    let line = "[ TIME ] Timed out waiting for device /dev/disk/by-label/persist.";
    let (status, hint) = judged(line, false);
    assert_eq!(status, Status::Unknown);
    assert!(hint.starts_with("virtualisation.vmVariant.virtualisation.fileSystems.\"/persist\" = "), "{hint}");
    assert_eq!(judged(line, true).0, Status::Fail);
    let unit =
        "[ TIME ] Timed out waiting for device dev-disk-by\\x2dlabel-persist.device - /dev/disk/by-label/persist.";
    assert_eq!(judged(unit, false).0, Status::Unknown);
    let (status, hint) = judged("mount: mounting /dev/mapper/crypt on /mnt-root/data failed: No such file", false);
    assert_eq!(status, Status::Unknown);
    assert!(hint.contains("luks"), "{hint}");
    assert_eq!(judged("[FAILED] Failed to mount /var/lib/lxcfs.", false).0, Status::Fail);
    // What lies on such a disk is not there either.
    let bound = "Timed out waiting for device /mnt-root/persist/var/lib/nixos, trying to mount anyway.";
    let (status, hint) = judged(bound, false);
    assert_eq!(status, Status::Unknown);
    assert!(hint.contains("virtualisation.fileSystems.\"/persist\""), "{hint}");
    for fine in ["/mnt-root/srv/x", "/mnt-root/persist/own/x"] {
        let line = format!("Timed out waiting for device {fine}, trying to mount anyway.");
        assert_eq!(judged(&line, false).0, Status::Fail, "{fine}");
    }
}

#[test]
fn a_console_whose_last_word_is_an_error() {
    let zfs = "<<< NixOS Stage 1 >>>\nimporting root ZFS pool \"tank\"...\ncannot import 'tank': no such pool available\nmounting tank/root on /...\n\
               mount: mounting tank/root on /mnt-root/ failed: No such file or directory\n";
    let prompt =
        "An error occurred in stage 1 of the boot process, which must mount the\nroot filesystem on `/mnt-root'";
    let (result, exit) = judged(BootEnd::Deadline, &format!("{zfs}{prompt}"), None, None, 300.0);
    assert_eq!((result.id, exit), (CheckId::BootEmergency, Exit::Boot));
    assert!(result.summary.ends_with("cannot import 'tank': no such pool available"), "{}", result.summary);
    let (result, exit) = judged(BootEnd::Deadline, zfs, None, None, 300.0);
    assert_eq!((result.id, exit), (CheckId::BootTarget, Exit::Boot));
    let said = "the boot does not go on: cannot import 'tank': no such pool available; the console said nothing since, after 5 min 0 s";
    assert_eq!(result.summary, said);
    // Something went on after it.
    let (result, exit) = judged(BootEnd::Deadline, &format!("{zfs}\nstarting systemd...\n"), None, None, 300.0);
    assert_eq!((result.status, exit), (Status::Unknown, Exit::Unknown));
    assert!(result.summary.contains("the last error on its console: cannot import 'tank'"), "{}", result.summary);
}

#[test]
fn a_root_that_the_kernel_does_not_find_is_named() {
    let console = "VFS: Cannot open root device \"UUID=96991ead\" or unknown-block(0,0): error -6\n\
                   Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n";
    let (result, _) = judged(BootEnd::Panicked, console, None, None, 3.0);
    assert!(result.summary.contains("Cannot open root device \"UUID=96991ead\""), "{}", result.summary);
}
