//! What is wrong with a machine that came up.

use crate::checks::test_support::{by_kernel, failed, guest, line, result, status};
use crate::guest::facts::{DanglingLink, JournalLine, Unit};
use crate::model::{Accel, CheckId, Status};

#[test]
fn oom_kills() {
    let eater = |mib, scope: &str| {
        let in_group =
            "oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/system.slice/eater.service,task=eater,pid=99,uid=0";
        let words = format!("{scope}: Killed process 99 (eater) total-vm:900000kB, anon-rss:512000kB, file-rss:0kB");
        guest()
            .unit(Unit { result: "oom-kill".into(), ..failed("eater.service", 0) })
            .journal(by_kernel(in_group))
            .journal(by_kernel(&words))
            .context(move |context| context.memory_mib = Some(mib))
    };
    let killed = "eater of eater.service was killed by the OOM killer, holding 500 MiB";
    eater(4096, "Out of memory").breaks(CheckId::BootOom, killed);
    let limit = "eater of eater.service was killed by the OOM killer at the memory limit of its unit";
    eater(1024, "Memory cgroup out of memory").breaks(CheckId::BootOom, limit);
    let hint = result(&eater(1024, "Memory cgroup out of memory").judge(), CheckId::BootOom).hint.clone();
    assert!(hint.as_deref().is_some_and(|hint| hint.contains("MemoryMax=")), "{hint:?}");
    // Nobody chose how much the VM has.
    let unchosen = eater(1024, "Out of memory").judge();
    let result = result(&unchosen, CheckId::BootOom);
    assert_eq!(result.status, Status::Unknown);
    assert!(result.summary.starts_with(killed) && result.summary.contains("1024 MiB"), "{}", result.summary);
    eater(1024, "Out of memory").toml("[machine]\nmemory = \"1G\"").breaks(CheckId::BootOom, killed);
    guest()
        .unit(Unit { result: "oom-kill".into(), ..failed("eater.service", 0) })
        .breaks(CheckId::BootOom, "eater.service");
    // Somebody who quotes the kernel is not the kernel.
    guest().journal(line("a.service", "Out of memory: Killed process 99 (x)")).passes();
    // Left out, it is a failed unit like another.
    guest()
        .unit(Unit { result: "oom-kill".into(), ..failed("eater.service", 0) })
        .skipping(CheckId::BootOom)
        .breaks(CheckId::ServicesFailedUnits, "killed by the OOM killer");
}

#[test]
fn what_fails_quietly() {
    let text = "stage-2-init: setting up thing...\nstage-2-init: thing: no\nstage-2-init: Activation script snippet 'thing' failed (3)";
    guest()
        .console(text)
        .breaks(CheckId::BootActivation, "snippet \"thing\" failed with exit code 3: stage-2-init: thing: no");
    // With systemd in stage 1 the activation runs there, and so does its journal.
    let text = "[   12.80] initrd-nixos-activation-start[271]: cannot read the old state\n[   12.81] initrd-nixos-activation-start[271]: Activation script snippet 'thing' failed (2)";
    guest()
        .console(text)
        .breaks(CheckId::BootActivation, "snippet \"thing\" failed with exit code 2: cannot read the old state");
    guest()
        .journal(by_kernel("stage-2-init: Activation script snippet 'thing' failed (1)"))
        .breaks(CheckId::BootActivation, "thing");
    guest()
        .console("cannot read ssh key '/etc/ssh/ssh_host_rsa_key'\nActivation script snippet 'setupSecrets' failed (1)")
        .excludes("secrets (setupSecrets): the VM does not have the real machine's decryption key");
    guest()
        .console("chown: invalid user: 'app:app'\nActivation script snippet 'agenixChown' failed (1)")
        .breaks(CheckId::BootActivation, "\"agenixChown\" failed with exit code 1: chown: invalid user: 'app:app'");
    let tmpfiles = |priority, message: &str| JournalLine {
        identifier: "systemd-tmpfiles".into(),
        priority,
        ..line("systemd-tmpfiles-setup.service", message)
    };
    guest()
        .journal(tmpfiles(3, "/etc/tmpfiles.d/app.conf:1: Failed to resolve user 'nope': No such process"))
        .breaks(CheckId::BootTmpfiles, "Failed to resolve user 'nope'");
    guest()
        .journal(tmpfiles(4, "Detected unsafe path transition /var/a → /var/a/b during canonicalization"))
        .breaks(CheckId::BootTmpfiles, "unsafe path transition");
    let unsafe_path = |below: &str| {
        let what = "Detected unsafe path transition /export (owned by nobody) → /export/1tb (owned by alice)";
        tmpfiles(4, &format!("{what} during canonicalization of {below}."))
    };
    let judgement = guest().journal(unsafe_path("export/1tb/a")).journal(unsafe_path("export/1tb/b")).breaks(
        CheckId::BootTmpfiles,
        "unsafe path transition /export (owned by nobody) → /export/1tb (owned by alice)",
    );
    let told = result(&judgement, CheckId::BootTmpfiles);
    assert!(!told.summary.contains("more"), "{}", told.summary);
    let hint = told.hint.as_deref().unwrap_or_default();
    assert!(hint.ends_with("give /export/1tb the owner of /export, or root to both"), "{hint}");
    let dangling = |path: &str, target: &str| {
        guest().facts(|facts| facts.etc_links.push(DanglingLink { path: path.into(), target: target.into() }))
    };
    dangling("/etc/localtime", "/nix/store/x-tzdata/share/zoneinfo/Europe/Berln")
        .breaks(CheckId::BootEtc, "the time zone Europe/Berln does not exist");
    let judgement = dangling("/etc/app.conf", "/nix/store/x-app/etc/app.cnf").passes();
    let told = result(&judgement, CheckId::BootEtc);
    let words = "/etc/app.conf links to /nix/store/x-app/etc/app.cnf, which does not exist";
    assert_eq!((told.status, told.summary.as_str()), (Status::Warn, words));
    dangling("/etc/machine-id", "/persist/etc/machine-id").passes();
    guest().unit(failed("systemd-tmpfiles-setup.service", 1)).breaks(CheckId::BootTmpfiles, "exit code 1");
    guest().journal(tmpfiles(4, "Duplicate line for path \"/tmp/x\", ignoring.")).passes();
    guest()
        .journal(tmpfiles(3, "Failed to write file \"/sys/module/x/parameters/y\": No such file or directory"))
        .excludes("systemd-tmpfiles");
}

#[test]
fn taint_and_time_are_advice_unless_there_is_a_limit() {
    let judgement = guest().facts(|facts| facts.taint = Some((1 << 9) | (1 << 12))).passes();
    assert_eq!(status(&judgement, CheckId::BootTaint), Status::Warn);
    assert!(result(&judgement, CheckId::BootTaint).summary.contains("the kernel warned"));
    let judgement = guest().facts(|facts| facts.taint = Some(1 | (1 << 12))).passes();
    assert_eq!(status(&judgement, CheckId::BootTaint), Status::Pass);
    // 12 s under TCG: within 3 s scaled by 5, not within 2 s.
    guest().toml("[checks]\nboot-time = \"3s\"").passes();
    guest().toml("[checks]\nboot-time = \"2s\"").breaks(CheckId::BootTime, "the boot took 12 s");
    guest()
        .toml("[checks]\nboot-time = \"3s\"")
        .context(|context| context.accelerator = Accel::Kvm)
        .breaks(CheckId::BootTime, "the limit is 3.0 s");
}
