//! `nixbox explain`: what each check looks at, what usually breaks it, and what to do then.

use super::catalog;
use crate::failure::{Failure, Result, nearest};
use crate::text::quote;

/// A check, explained.
#[derive(Debug, Clone, Copy)]
struct Explained {
    /// The catalog's id.
    id: &'static str,
    /// What is looked at, and what counts as wrong.
    looks: &'static str,
    /// What is usually behind a failure.
    usual: &'static str,
    /// What to do then.
    then: &'static str,
}

/// Explains a check; without an id, lists them all.
///
/// # Errors
/// Exit 2 for an id that no check has, with the nearest that one has.
pub fn explain(id: Option<&str>) -> Result<String> {
    let Some(id) = id else {
        return Ok(format!("{}\nnixbox explain ID says more about one\n", catalog::table()));
    };
    let found = catalog::find(id).and_then(|check| Some((check, EXPLAINED.iter().find(|it| it.id == check.id)?)));
    let Some((check, it)) = found else {
        let failure = Failure::usage(format!("there is no check {}", quote(id)));
        return Err(match nearest(id, catalog::ids()) {
            Some(near) => failure.hint(format!("did you mean {near}? `nixbox explain` lists them all")),
            None => failure.hint("`nixbox explain` lists them all"),
        });
    };
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let weight =
        if check.promised { "" } else { "\nIt only advises: where it cannot tell, the run is no less a pass.\n" };
    Ok(format!(
        "{}: {}\n{weight}\nlooks at:\n{}usually broken by:\n{}what to do:\n{}",
        check.id,
        check.line,
        indented(it.looks),
        indented(it.usual),
        indented(it.then),
    ))
}

/// In the catalog's order.
const EXPLAINED: &[Explained] = &[
    Explained {
        id: "build.attribute",
        looks: "Whether what was named is in the flake, and is a machine that can be run: what is built for it must hold\n\
                bin/run-…-vm.",
        usual: "A host's name with a slip, a host that another branch has, a package or a module instead of a\n\
                configuration. In a git work tree nix sees tracked files only: a new file that was not added is missing.",
        then: "Compare the name with those that the message lists. `git add` new files (a commit is not needed).",
    },
    Explained {
        id: "build.eval",
        looks: "Whether nix evaluates the configuration: syntax, options that exist, types, assertions of modules.",
        usual: "A missing semicolon or bracket, an option that was renamed or removed, a value of the wrong type, two\n\
                modules that set the same option, an assertion that asks for a second option. An input that could not\n\
                be fetched is this host's matter (exit 5), not this check's.",
        then: "Read the message from its end: the last `at FILE:LINE` that is yours is where to look. An assertion says\n\
               itself what it misses.",
    },
    Explained {
        id: "build.derivation",
        looks: "Whether everything that the VM is made of builds. The derivation that failed is named, with the end of\n\
                its log; nix's whole log is nix.log beside the report.",
        usual: "A package that does not compile at this version, a patch that no longer applies, a hash that is not the\n\
                file's, a generated file that its own checker refuses (a unit's, nginx's, a shell script's).",
        then: "Mend what the log's last lines name; with a hash, take the one that nix says it got. A package that\n\
               is broken upstream can be left out, overridden, or taken from another nixpkgs.",
    },
    Explained {
        id: "build.toplevel",
        looks: "Whether the host's own system (config.system.build.toplevel) evaluates and builds. The VM's variant\n\
                replaces some of it: file systems, boot loader, drivers. Left out by --vm-only.",
        usual: "File systems or a boot loader that are not declared, an option in hardware-configuration.nix, a driver or\n\
                firmware that does not build, what only `virtualisation.vmVariant` sets.",
        then: "Mend it as for build.eval or build.derivation: the VM runs without it, `nixos-rebuild switch` does not.",
    },
    Explained {
        id: "boot.target",
        looks: "Whether the default target is reached and no job is left. A boot that takes long fails only with a job\n\
                that held it up by itself: at least 10 s, and a quarter of all the time. Else it is `could not tell`,\n\
                and so it is where that job's unit may only wait for the outside, which --network off keeps away.",
        usual: "A oneshot that waits for something that never comes, a device or mount that is waited for, a dependency\n\
                cycle from which systemd dropped a job, an init that is missing, an activation script that hangs.",
        then: "Look at the job that is named and its last words; `behind it` lists what waits for it. TimeoutStartSec=\n\
               bounds a oneshot. `nixbox try --keep` leaves the machine up; --timeout gives it longer.",
    },
    Explained {
        id: "boot.emergency",
        looks: "Whether the machine is in emergency or rescue mode, in stage 1 or later, and which unit is behind it.",
        usual: "A mount that fails or whose device never appears, file systems that are declared twice or by a wrong\n\
                label, a kernel module that stage 1 lacks, a service that sysinit.target needs.",
        then: "A file system that the machine can boot without takes `options = [ \"nofail\" ]`. Modules for stage 1 go\n\
               into boot.initrd.availableKernelModules. The unit's lines are shown; journal.txt has the rest.",
    },
    Explained {
        id: "boot.panic",
        looks: "Whether the kernel panicked, by QEMU's word or the console's, with the cause where the lines before tell it.",
        usual: "A root file system that cannot be mounted, an init that is missing, is not executable or ended, a kernel\n\
                parameter or module that it does not survive, too little memory in stage 1.",
        then: "console.log beside the report has every line. Take back what changed of boot.*, the kernel or its modules.",
    },
    Explained {
        id: "boot.poweroff",
        looks: "Whether the machine stays up: a power-off or reset of its own before it was looked at fails.",
        usual: "A service with FailureAction= or SuccessAction=, a watchdog, a script that calls poweroff or reboot, a\n\
                unit that conflicts with the default target.",
        then: "The console's last line is told; look for who asked for shutdown.target in journal.txt.",
    },
    Explained {
        id: "boot.oom",
        looks: "Kills for want of memory, by the kernel (the whole machine's, or a unit's own limit) or systemd-oomd.",
        usual: "A program that takes more than the VM has, a MemoryMax= that is too low, several large services at once\n\
                on 1 GiB.",
        then: "Give the VM what the machine has: [machine] memory in nixbox.toml, or --memory. A unit's own limit is the\n\
               configuration's to raise.",
    },
    Explained {
        id: "boot.activation",
        looks: "Snippets of the activation script that failed, in the journal and on the console, and the units that run\n\
                it where stage 1 is systemd. Snippets that set up secrets (sops, agenix) are set aside: their key is not here.",
        usual: "A command in system.activationScripts that ends with an error, a path that is not there on a fresh disk,\n\
                a user or group that comes later.",
        then: "The lines before the failure are shown. Let the snippet make what it needs (mkdir -p), or turn it into a\n\
               service that can be ordered.",
    },
    Explained {
        id: "boot.tmpfiles",
        looks: "Errors of systemd-tmpfiles, and its units that failed. Rules that a VM's file systems or hardware cannot\n\
                follow (/sys, /dev, attributes) are set aside.",
        usual: "A rule for a user or group that does not exist, a line with too few fields, a path below a directory that\n\
                somebody else owns (unsafe path transition).",
        then: "Correct the rule in systemd.tmpfiles.rules or .settings; the message names it.",
    },
    Explained {
        id: "boot.taint",
        looks: "The kernel's taint flags that are worth a look: an oops, a warning, a lock-up, a forced module. Others\n\
                (modules from outside the tree, unsigned ones) are mentioned only.",
        usual: "A module that misbehaves, a bug of the kernel's, rarely QEMU's devices.",
        then: "It is a warning. The kernel's line is shown; another kernel (boot.kernelPackages) tells whether it is that.",
    },
    Explained {
        id: "boot.time",
        looks: "How long the boot took from the kernel's start; it fails only above [checks] boot-time of nixbox.toml, which\n\
                is five times as long under TCG.",
        usual: "A unit that waits for the network or a device, a oneshot in the way of the target.",
        then: "`systemd-analyze critical-chain` in the machine (nixbox try --keep) shows what was waited for.",
    },
    Explained {
        id: "services.failed-units",
        looks: "Units in state failed, each with how it ended and its last words. Of several, the one that others needed\n\
                is told, with those behind it. What the sandbox explains by evidence (no way out, hardware and disks\n\
                that a VM has not, a missing secret) is set aside under `not tested`. A limit of time that ran out while\n\
                an emulated processor was at work is `could not tell`.",
        usual: "A setting that the program refuses, a port or file that is taken, a directory or user that is missing, a\n\
                database that is not initialised, a path that the unit's own hardening hides.",
        then: "Read the unit's lines; most programs name the setting. nginx, sshd and the like have an option that checks\n\
               their configuration at build time. What cannot work in a VM goes under [allow] with its reason, and only that.",
    },
    Explained {
        id: "services.promised",
        looks: "Each unit that the configuration enables and wants, or that `units` in nixbox.toml expects: known to the\n\
                guest's systemd, loaded, not masked, started, or rightly not (its condition, its trigger, a oneshot). And each\n\
                unit that systemd dropped to break an ordering cycle.",
        usual: "A line that systemd refuses to load (a relative path, an unknown section), a unit that nothing wants, a\n\
                condition on a path that the configuration itself does not make, an ordering cycle, a mask.",
        then: "A unit that is refused never shows as failed: the message names the line. Without wantedBy a service is\n\
               never started.",
    },
    Explained {
        id: "services.settled",
        looks: "Whether what became active is still so a settle time later ([checks] settle, 3 s). Daemons (notify, forking,\n\
                Restart=always) and what nixbox.toml expects have to stay; a simple service that ends with 0 is a warning, and so\n\
                is one with RemainAfterExit= that somebody stopped.",
        usual: "A daemon that crashes shortly after its start, that puts itself into the background under Type=simple, or\n\
                loses what it is connected to.",
        then: "Its last lines tell why it ended. Type=forking or a flag for the foreground, if it left by itself;\n\
               Type=oneshot, if it is meant to end.",
    },
    Explained {
        id: "services.restart-loop",
        looks: "Services that systemd starts again and again, counted over two looks, or that run out of time at their start\n\
                and are started again. Who failed once is waited for (RestartSec= of 30 s at most, and as long again): one\n\
                that gets up at its second try is a warning.",
        usual: "A program that fails at once under Restart=always or on-failure: a wrong setting, a port that is taken, a\n\
                missing file. One that ends with success and is started for ever, or never says that it is ready\n\
                (Type=notify, a PIDFile= that nobody writes).",
        then: "Mend what its lines name. Who does a piece of work and ends is Type=oneshot, with a timer if it comes back.",
    },
    Explained {
        id: "services.ports",
        looks: "Whether somebody listens on each port that an enabled service's options promise, or `ports` in nixbox.toml.\n\
                It is waited for as long as the service's unit is up and the machine does something, a minute at most (five\n\
                under emulation). A port that is open in the firewall with nobody behind is mentioned only.",
        usual: "A service that listens on a socket or another port than its option says, a service that failed (told\n\
                there).",
        then: "Compare the service's own settings with the option; its last lines are shown.",
    },
    Explained {
        id: "services.http",
        looks: "The requests [http.NAME] of nixbox.toml, made inside the machine: the status (200 to 399 unless it says),\n\
                and what the body contains or matches.",
        usual: "A service that is not up yet, another virtual host that answers, a redirect to https, an address outside\n\
                (which --network off keeps away, and which is set aside).",
        then: "The body's first lines are shown. Give slow starters `retries` and `deadline`; ask for localhost.",
    },
    Explained {
        id: "services.timers",
        looks: "The services of the timers that `timers` in nixbox.toml names, each run once: it has to end well.",
        usual: "A backup without its target, a secret that is not there, a script that was never run before.",
        then: "Its lines are shown. What needs the outside is set aside where its words show that.",
    },
    Explained {
        id: "services.journal",
        looks: "Lines of priority err and above, but for the kernel's, PID 1's and what other checks told already.",
        usual: "Programs that complain about hardware or files that they can do without.",
        then: "It is a warning at most. Worth a look when something works only half.",
    },
    Explained {
        id: "network.address",
        looks: "Whether a network card has an address. Cards that the configuration binds by the name of real hardware are\n\
                set aside: the VM's card is called otherwise.",
        usual: "DHCP that is off everywhere, a match on a card's name or MAC, two managers at once.",
        then: "`networking.useDHCP`, or a match that also fits the machine's other cards. Look at the manager's lines.",
    },
    Explained {
        id: "network.route",
        looks: "Whether there is a default route. With --network off the sandbox offers none: then it is not tested.",
        usual: "A static address without a gateway.",
        then: "networking.defaultGateway, or DHCP.",
    },
    Explained {
        id: "network.ports",
        looks: "Whether the firewall that the configuration promises is up, did not fail and was not stopped, and what listens\n\
                towards the outside.",
        usual: "An extra rule in networking.firewall.extraCommands or a ruleset of nftables that does not parse: then the\n\
                whole firewall is down, and every port is open.",
        then: "Correct the rule that the unit's lines name.",
    },
    Explained {
        id: "network.dns",
        looks: "Whether there is somebody to ask for names: a server in /etc/resolv.conf, or one on this machine; where only\n\
                this machine is named (127.0.0.1), whether somebody listens there. With --network user a name of the outside\n\
                is resolved too, and it fails only where this host can resolve it.",
        usual: "A static set-up without networking.nameservers, resolvconf that is off, a resolver that failed.",
        then: "networking.nameservers, or services.resolved.enable.",
    },
    Explained {
        id: "users.login",
        looks: "Whether root or a person can log in: a password, an SSH key while sshd runs, or an automatic login. Set aside\n\
                where passwords come from elsewhere (mutable users without one in the configuration, files, LDAP).",
        usual: "users.mutableUsers = false without any password or key, a password as it is in hashedPassword, a shell that is\n\
                not installed.",
        then: "Give somebody hashedPassword, hashedPasswordFile or openssh.authorizedKeys.keys before you lock yourself out.",
    },
    Explained {
        id: "users.declared",
        looks: "Whether each declared user and group is there, with its groups, its home and a shell that runs.",
        usual: "A group that no module declares, a shell without its programs.NAME.enable, a home below a path that is\n\
                not there.",
        then: "Declare the group (users.groups.NAME = { }), enable the shell's program.",
    },
    Explained {
        id: "desktop.greeter",
        looks: "Whether the promised display manager shows a login screen: its session, who draws it, and the picture,\n\
                which must be no console and not one flat colour. One that is drawn only with a graphics card's help is\n\
                set aside; one without its theme is a warning.",
        usual: "A greeter that crashes, its theme or session that is missing, GNOME's “Oh no!”, a greetd command that ends.",
        then: "greeter.png shows it, and its lines are told. Take back the theme, or the greeter's own settings.",
    },
    Explained {
        id: "desktop.session",
        looks: "Whether the user's graphical session is active on its seat, of the promised desktop and kind (Wayland or\n\
                X11). Somebody is logged in by the configuration, or by nixbox in the machine.",
        usual: "An automatic login for a user who does not exist, a default session whose file is not there, a session that\n\
                ends at once, a fallback to another desktop.",
        then: "Compare services.displayManager.defaultSession with the sessions that are offered; the message says why the\n\
               session ended.",
    },
    Explained {
        id: "desktop.compositor",
        looks: "Whether what draws the session lives, serves a display, and did not crash or begin anew. One that draws only\n\
                with a graphics card's help is set aside: the VM has none. One that finds fault with its configuration\n\
                is a warning.",
        usual: "A crash (the signal is told), a configuration file that it refuses, a wrapper that ends, a plugin of another\n\
                version.",
        then: "Its last words and its core dump's line are told. Start it with its own defaults to see whether it is its\n\
               configuration.",
    },
    Explained {
        id: "desktop.units",
        looks: "The user's own units: none failed or is started again and again, those that the configuration or\n\
                home-manager promises are started, the graphical session's target is active, the portal answers. Where there\n\
                is no desktop: the units of users who linger.",
        usual: "A compositor that never starts graphical-session.target, a portal without a backend for this desktop, a\n\
                user service that needs a variable which was not imported.",
        then: "Enable the compositor's module or home-manager's systemd integration; set xdg.portal.config and extraPortals.",
    },
    Explained {
        id: "desktop.picture",
        looks: "The screen itself: steady, no console, not plain where the desktop paints, and it reacts to a moved pointer,\n\
                a key, a window of a program that is installed.",
        usual: "A session that hangs, a shell or panel that never comes up, programs that find no display.",
        then: "session.png and boot.gif beside the report show it. Look at desktop.units next: panels are units.",
    },
    Explained {
        id: "audio.server",
        looks: "Whether the promised sound server runs and answers in the person's session: PipeWire with its session\n\
                manager and its PulseAudio socket, or PulseAudio.",
        usual: "PipeWire and PulseAudio at once, WirePlumber that is off or fails at its configuration, a user unit that is\n\
                masked.",
        then: "Enable one of services.pipewire and services.pulseaudio. A fragment of configuration that the server refuses\n\
               is named in its lines.",
    },
    Explained {
        id: "audio.sink",
        looks: "Whether there is a sink that leads to the machine's card, neither muted nor at volume 0.",
        usual: "Only a dummy output, for want of a session manager or of permission for /dev/snd; a card whose profile is\n\
                off; a second server that holds the card.",
        then: "Start the session manager, let nobody else take the card, see who may open /dev/snd.",
    },
    Explained {
        id: "audio.tone",
        looks: "Six tones that are played by what is installed there, heard at the card's other side: each pitch, the order,\n\
                left and right, the length. It fails, too, for programs that the server refused before it was up.",
        usual: "A rate that is misdeclared (everything is off by one factor), a channel map that swaps or drops one, a filter\n\
                that swallows all.",
        then: "audio.wav and spectrogram.png beside the report let you hear and see it. Take back rates, remaps, filters.",
    },
    Explained {
        id: "audio.microphone",
        looks: "A voice that the host speaks into the card, recorded in the person's session and found again.",
        usual: "A profile without input, a source that is muted (a warning), a filter or echo canceller that swallows it.",
        then: "Choose a duplex profile; take back what stands between the card and the source.",
    },
    Explained {
        id: "audio.realtime",
        looks: "Whether the server got a realtime thread where security.rtkit.enable promises it, and whether clock settings\n\
                that are declared are in effect.",
        usual: "rtkit-daemon that failed, settings under a name that PipeWire does not read (without `default.`).",
        then: "PipeWire calls them default.clock.rate, default.clock.quantum and so on, below context.properties.",
    },
    Explained {
        id: "script.<name>",
        looks: "[script.NAME] of nixbox.toml, run inside the machine: its exit code, and what it wrote to stdout. One that\n\
                does not end within its deadline fails.",
        usual: "A service that is not ready yet, a program that is not in the machine's path, another user's rights.",
        then: "Its output is shown. `retries` and `deadline` wait for slow starters; `user` says who runs it.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Exit;

    #[test]
    fn every_check_is_explained_once_and_in_order() {
        let explained: Vec<&str> = EXPLAINED.iter().map(|it| it.id).collect();
        assert_eq!(explained, catalog::ids().collect::<Vec<_>>());
        for check in catalog::CATALOG {
            let text = explain(Some(check.id)).unwrap();
            assert!(text.starts_with(&format!("{}: {}\n", check.id, check.line)), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 124), "{text}");
            assert!(text.lines().count() <= 18, "{text}");
        }
    }

    #[test]
    fn any_script_and_the_whole_list() {
        assert!(explain(Some("script.hello")).unwrap().starts_with("script.<name>: "));
        let list = explain(None).unwrap();
        assert!(list.starts_with(&catalog::table()), "{list}");
    }

    #[test]
    fn a_slip_names_the_nearest() {
        let failure = explain(Some("services.faild-units")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.unwrap().contains("did you mean services.failed-units?"));
        assert!(explain(Some("…")).unwrap_err().hint.unwrap().contains("lists them all"));
    }

    #[test]
    fn advice_is_told_as_such() {
        assert!(explain(Some("boot.taint")).unwrap().contains("only advises"));
        assert!(!explain(Some("boot.oom")).unwrap().contains("only advises"));
    }
}
