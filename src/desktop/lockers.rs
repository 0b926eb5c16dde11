//! Programs that lock the screen, and the PAM services by which they let the user in again.

use crate::desktop::DesktopFacts;
use crate::desktop::facts::DesktopProcess;
use crate::judging::{Finding, text};

/// A program that locks the screen. Those that are let in another way are no rows: slock reads the password's hash
/// itself, and xsecurelock is built for the service `login`, which each machine has.
struct Locker {
    program: &'static str,
    /// The PAM services that it asks, one after the other; the first is its own.
    services: &'static [&'static str],
    /// It runs while the screen is not locked, too.
    waits: bool,
}

const fn locker(program: &'static str, services: &'static [&'static str]) -> Locker {
    Locker { program, services, waits: false }
}

const fn screensaver(program: &'static str, services: &'static [&'static str]) -> Locker {
    Locker { waits: true, ..locker(program, services) }
}

const LOCKERS: &[Locker] = &[
    // swaylock-effects has the same name.
    locker("swaylock", &["swaylock"]),
    // It asks for the service of su where its own is missing.
    locker("hyprlock", &["hyprlock", "su"]),
    locker("waylock", &["waylock"]),
    locker("gtklock", &["gtklock"]),
    // i3lock-color has the same name.
    locker("i3lock", &["i3lock"]),
    locker("physlock", &["physlock"]),
    locker("xlock", &["xlock"]),
    screensaver("xscreensaver", &["xscreensaver"]),
    screensaver("xfce4-screensaver", &["xfce4-screensaver"]),
    screensaver("mate-screensaver", &["mate-screensaver"]),
    screensaver("cinnamon-screensaver", &["cinnamon-screensaver"]),
];

/// Where programs of the system and of its users are (NixOS, home-manager).
const PLACES: &str = "/run/current-system/sw/bin /etc/profiles/per-user/*/bin /home/*/.nix-profile/bin /home/*/.local/state/nix/profile/bin";

/// A script that prints the path of each locker that is installed, and that of each PAM service. It forks nothing.
pub(super) fn script() -> String {
    let programs: Vec<&str> = LOCKERS.iter().map(|locker| locker.program).collect();
    let programs = programs.join(" ");
    format!(
        "for place in {PLACES}; do for program in {programs}; do\n\
         [ -x \"$place/$program\" ] && printf '%s\\n' \"$place/$program\"\n\
         done; done\n\
         for service in /etc/pam.d/*; do printf '%s\\n' \"$service\"; done"
    )
}

/// Reads what [`script`] printed: the lockers' paths, and the names of the PAM services.
pub(super) fn parse(output: &str) -> (Vec<String>, Vec<String>) {
    let (services, lockers): (Vec<&str>, Vec<&str>) = output.lines().partition(|line| line.starts_with("/etc/pam.d/"));
    let name = |path: &&str| path.rsplit('/').next().filter(|name| !name.is_empty() && *name != "*").map(str::to_owned);
    (lockers.into_iter().map(str::to_owned).collect(), services.iter().filter_map(name).collect())
}

/// The program that locks this user's screen now, if one does.
pub(super) fn locking(processes: &[DesktopProcess], uid: u32) -> Option<&'static str> {
    let runs = |locker: &&Locker| {
        !locker.waits && processes.iter().any(|process| process.uid == uid && process.name == locker.program)
    };
    LOCKERS.iter().find(runs).map(|locker| locker.program)
}

/// The lockers that let nobody in: without a service of its own PAM takes `other`, by which NixOS denies everything.
pub(crate) fn dead_ends(facts: &DesktopFacts) -> Vec<Finding> {
    // Without any service nothing was read.
    if facts.pam_services.is_empty() {
        return Vec::new();
    }
    let has_service = |name: &&str| facts.pam_services.iter().any(|service| service == name);
    let is_stuck = |locker: &&Locker| !locker.services.iter().any(&has_service);
    let path_of = |locker: &'static Locker| {
        let is_it = |path: &&String| path.rsplit('/').next() == Some(locker.program);
        Some((locker, facts.lockers.iter().find(is_it)?))
    };
    let finding = |(locker, path): (&'static Locker, &String)| {
        let (program, service) = (locker.program, locker.services.first().copied().unwrap_or(locker.program));
        let summary = format!("{program} locks the screen and lets nobody in again: there is no /etc/pam.d/{service}");
        Finding::new(program, summary)
            .detail([format!("installed as {}", text::clean(path))])
            .evidence("pam_service", service)
            .hint(format!("security.pam.services.{service} = {{ }};"))
    };
    LOCKERS.iter().filter(is_stuck).filter_map(path_of).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck(output: &str) -> Vec<String> {
        let (lockers, pam_services) = parse(output);
        let facts = DesktopFacts { lockers, pam_services, ..DesktopFacts::default() };
        dead_ends(&facts).into_iter().map(|finding| finding.summary).collect()
    }

    #[test]
    fn a_locker_needs_its_service() {
        let swaylock = "/etc/profiles/per-user/alice/bin/swaylock\n";
        let words = "swaylock locks the screen and lets nobody in again: there is no /etc/pam.d/swaylock";
        assert_eq!(stuck(&format!("{swaylock}/etc/pam.d/login\n/etc/pam.d/su\n")), [words]);
        assert!(stuck(&format!("{swaylock}/etc/pam.d/login\n/etc/pam.d/swaylock\n")).is_empty());
        // What could not be read is not missing, nor is what nobody needs.
        assert!(stuck(swaylock).is_empty() && stuck(&format!("{swaylock}/etc/pam.d/*\n")).is_empty());
        assert!(stuck("/etc/pam.d/login\n").is_empty());
        // The service of su is there on each machine.
        assert!(stuck("/run/current-system/sw/bin/hyprlock\n/etc/pam.d/su\n").is_empty());
    }

    #[test]
    fn the_script_works_on_this_machine() {
        let output = std::process::Command::new("/bin/sh").args(["-c", &script()]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        parse(&String::from_utf8_lossy(&output.stdout));
    }
}
