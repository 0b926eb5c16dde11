//! The switch program is run in the guest and followed.
//!
//! It runs as a unit of its own, as `nixos-rebuild` runs it: what the switch does to the way by which nixbox came in does
//! not end it. What it writes goes into a file, and how it ended into another, which PID 1 writes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::observation::{OOM_KILL, OUTPUT_LINES as LINES, SwitchEnd, SwitchRun, UnitJob, UserJob};
use super::patience::{PROPERTIES, Waited, gives_up, jobs_left};
use crate::event::Events;
use crate::guest::shell::{Output, Script};
use crate::guest::{Error, Guest, journal};
use crate::idle::IdleDetector;
use crate::model::timeouts::switch::{IDLE_LIMIT, POLL_INTERVAL, SILENT_LIMIT};
use crate::model::{MachinePhase, UNIT_PREFIX};
use crate::text::{bounded, quoted};

/// Where it is followed, in the guest.
const DIRECTORY: &str = "/run/nixbox-switch";
/// Its unit, but for the prefix.
const UNIT: &str = "switch.service";
/// What stands before the users' units.
const USERS: &str = "--users";
/// Most bytes of its output that are read at once.
const OUTPUT: usize = 1 << 20;
/// Most bytes of the journal that are read.
const JOURNAL: usize = 8 << 20;
/// Most bytes of a line of its output.
const LINE: usize = 1024;

/// A toplevel's switch program, in a guest.
pub(crate) struct SwitchProgram<'a> {
    pub(crate) guest: &'a Guest,
    /// The toplevel that is switched to, as the guest sees it.
    pub(crate) toplevel: &'a str,
    /// How long the guest may take for one answer.
    pub(crate) patience: Duration,
    /// How long the program may take without a word.
    pub(crate) limit: Duration,
    /// How long it may take in all.
    pub(crate) longest: Duration,
    pub(crate) events: &'a Events,
}

impl SwitchProgram<'_> {
    fn path(&self) -> String {
        quoted(&format!("{}/bin/switch-to-configuration", self.toplevel))
    }

    /// Whether the guest's store shows it.
    ///
    /// # Errors
    /// The guest could not be asked.
    pub(crate) async fn is_there(&self) -> Result<bool, Error> {
        let output =
            self.guest.shell().ask(&format!("[ -x {} ] && echo there", self.path()), self.patience, 64).await?;
        Ok(output.stdout.starts_with(b"there"))
    }

    /// What `dry-activate` writes; `None` where it could not be run to its end.
    pub(crate) async fn announced(&self) -> Option<Vec<String>> {
        let mut script = Script::new(format!("exec {} dry-activate 2>&1", self.path()));
        script.deadline = self.limit;
        let output = self.guest.shell().run(script).await.ok()?;
        (output.exit == 0 && !output.timed_out).then(|| lines(&output.stdout))
    }

    /// Runs `test`, follows it to its end, and reads what happened meanwhile.
    pub(crate) async fn test(
        &self,
        phase: MachinePhase,
        is_second: bool,
        dry_output: Option<Vec<String>>,
    ) -> SwitchRun {
        let clock = Instant::now();
        let mut run =
            SwitchRun { is_second, dry_output, ..SwitchRun::without(phase, self.toplevel, SwitchEnd::Silent) };
        let cursor = match self.start().await {
            Ok((cursor, began_us)) => {
                run.began_us = began_us;
                cursor
            }
            Err(error) => {
                run.end = SwitchEnd::NotStarted(error.to_string());
                return run;
            }
        };
        let (end, output) = self.follow(clock).await;
        (run.end, run.output, run.seconds) = (end, output, clock.elapsed().as_secs_f64());
        if run.end == SwitchEnd::Silent {
            return run;
        }
        if let Err(error) = self.meanwhile(&cursor, &mut run).await {
            run.unread = Some(error.to_string());
        }
        run
    }

    /// Starts it; returns where the journal was, and the guest's monotonic clock in µs.
    async fn start(&self) -> Result<(String, u64), Error> {
        // In a file: how much of a variable's name is left of one in an Exec line differs between versions of systemd.
        let text = format!(
            "rm -rf {DIRECTORY}; mkdir -m 700 {DIRECTORY} || exit 1\n\
             cat >{DIRECTORY}/ended\n\
             read -r u _ </proc/uptime; echo \"-- uptime: $u\"\n\
             journalctl -b -q -n 0 --show-cursor\n\
             exec systemd-run --quiet --collect --no-block --unit={UNIT_PREFIX}{UNIT} --service-type=oneshot \
             -p TimeoutStartSec=infinity -p StandardOutput=file:{DIRECTORY}/output -p StandardError=inherit \
             -p ExecStopPost='/bin/sh {DIRECTORY}/ended' {} test",
            self.path()
        );
        let mut script = Script::new(text);
        script.stdin = format!(
            "echo \"$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS\" >{DIRECTORY}/new; mv {DIRECTORY}/new {DIRECTORY}/end\n"
        )
        .into_bytes();
        script.deadline = self.patience;
        let output = self.guest.shell().run(script).await?;
        if output.exit != 0 {
            return Err(Error::Lacks(format!("systemd-run: {}", String::from_utf8_lossy(&output.stderr))));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned();
        let uptime: f64 = after("-- uptime: ").parse().unwrap_or_default();
        Ok((after("-- cursor: "), (uptime * 1e6) as u64))
    }

    /// Follows it until it has ended, or is given up: how it ended, and what it wrote.
    async fn follow(&self, began: Instant) -> (SwitchEnd, Vec<String>) {
        let mut idle = IdleDetector::probed();
        let mut written = Written::default();
        let (mut answered, mut said) = (Instant::now(), began);
        // By when the jobs that run have come to an end, where that is known.
        let mut jobs_end = began;
        let most = Waited { idle: IDLE_LIMIT, quiet: self.limit, whole: self.longest };
        loop {
            match self.poll(written.bytes).await {
                Ok((end, more)) => {
                    answered = Instant::now();
                    if let Some(line) = lines(&more).last() {
                        self.events.doing(format!("switching: {line}"));
                        idle.reset();
                        said = answered;
                    }
                    written.add(&more);
                    if let Some(end) = end {
                        return (end, lines(&written.last));
                    }
                }
                Err(_) if answered.elapsed() >= SILENT_LIMIT.max(self.patience) => {
                    return (SwitchEnd::Silent, lines(&written.last));
                }
                Err(_) => self.events.doing("the guest does not answer while it switches: trying again"),
            }
            let rested = idle.observe(self.guest.cpu_time(self.patience).await.ok());
            let waited = Waited { idle: rested, quiet: said.elapsed(), whole: began.elapsed() };
            // Asking for the jobs costs the guest something, so that it is done when all else is over.
            if gives_up(waited, most, jobs_end.saturating_duration_since(Instant::now())) {
                let left = self.jobs_left(waited.quiet).await;
                if gives_up(waited, most, left) {
                    let waiting_for = self.give_up().await;
                    let seconds = began.elapsed().as_secs_f64();
                    return (SwitchEnd::Hung { waiting_for, seconds }, lines(&written.last));
                }
                jobs_end = Instant::now() + left;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// How it ended, if it has and all that it wrote was read, and what it wrote since so many bytes.
    async fn poll(&self, known: usize) -> Result<(Option<SwitchEnd>, Vec<u8>), Error> {
        let text = format!(
            "if [ -e {DIRECTORY}/end ]; then read -r ended <{DIRECTORY}/end; echo \"$ended\"; else echo; fi\n\
             tail -c +{} {DIRECTORY}/output 2>/dev/null || :",
            known + 1
        );
        let output = self.guest.shell().ask(&text, self.patience, OUTPUT).await?;
        let mut parts = output.stdout.splitn(2, |byte| *byte == b'\n');
        let state = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let end = end(&state).filter(|_| output.cut == 0);
        Ok((end, parts.next().unwrap_or_default().to_vec()))
    }

    /// How long PID 1 and the users' managers may still wait for the jobs that run, by the limits of their units.
    async fn jobs_left(&self, quiet: Duration) -> Duration {
        let jobs = |user: &str| {
            format!(
                "systemctl {user} list-jobs --no-legend --plain --no-pager | while read -r _ unit _ state; do\n\
                 [ \"$state\" != running ] || systemctl {user} show --no-pager -p {} -- \"$unit\"; echo\n\
                 done\n",
                PROPERTIES.join(",")
            )
        };
        let of_users = each_manager(&jobs("--user"));
        let text = format!("read -r u _ </proc/uptime; echo \"$u\"\n{}{of_users}", jobs(""));
        let Ok(output) = self.guest.shell().ask(&text, self.patience, OUTPUT).await else { return Duration::ZERO };
        jobs_left(&String::from_utf8_lossy(&output.stdout), quiet).min(self.longest)
    }

    /// Ends it; returns what it was waiting for.
    async fn give_up(&self) -> Vec<String> {
        // A user's manager may be what does not answer.
        let of_users = each_manager("systemctl --user list-jobs --no-legend --plain --no-pager");
        let text = format!(
            "for pid in $(cat /sys/fs/cgroup/system.slice/{UNIT_PREFIX}{UNIT}/cgroup.procs 2>/dev/null); do \
             tr '\\0' ' ' </proc/$pid/cmdline; echo; done\n\
             systemctl list-jobs --no-legend --plain --no-pager\n\
             systemctl kill --signal=KILL {UNIT_PREFIX}{UNIT}\n{of_users}"
        );
        let Ok(output) = self.guest.shell().ask(&text, self.patience, OUTPUT).await else { return Vec::new() };
        lines(&output.stdout).into_iter().filter(|line| !line.contains(UNIT_PREFIX)).collect()
    }

    /// Reads the units' states anew, now that the machine has come to rest.
    pub(crate) async fn settled(&self, run: &mut SwitchRun) {
        let list = "list-units --state=active,activating,reloading,failed --no-legend --plain --no-pager";
        let of_users = each_manager(&format!("systemctl --user {list}"));
        let text = format!("systemctl {list}; echo {USERS}\n{of_users}");
        if let Ok(output) = self.guest.shell().ask(&text, self.patience, OUTPUT).await {
            read_states(&String::from_utf8_lossy(&output.stdout), run);
        }
    }

    /// Reads the jobs and the journal since a cursor, and the units that are failed now.
    async fn meanwhile(&self, cursor: &str, run: &mut SwitchRun) -> Result<(), Error> {
        // What journald was told and has not written yet is not in its files.
        let text = format!(
            "systemctl list-units --state=failed --no-legend --plain --no-pager; echo\n\
             journalctl --sync >/dev/null 2>&1\n\
             journalctl -b -q --no-pager -o json --after-cursor={} \
             --output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER,_PID,_TRANSPORT,_COMM,USER_UNIT,\
             _SYSTEMD_USER_UNIT,JOB_TYPE,JOB_RESULT",
            quoted(cursor)
        );
        let output = self.guest.shell().ask(&text, self.patience, JOURNAL).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (failed, journal) = text.split_once("\n\n").unwrap_or(("", text.trim_start()));
        let failed = failed.lines().filter_map(|line| line.split_whitespace().next()).map(|unit| bounded(unit, 256));
        (run.jobs, run.user_jobs) = jobs(journal);
        run.journal = journal::parse(journal);
        run.failed = failed.collect();
        match &output {
            // Without a journal there was no place in it to begin at, and no job is known either.
            _ if cursor.is_empty() => Err(Error::Lacks("journal".to_owned())),
            Output { exit: 0, cut: 0, .. } => Ok(()),
            Output { exit: 0, cut, .. } => Err(Error::Lacks(format!("journal in full: {cut} bytes were left out"))),
            Output { stderr, .. } => Err(Error::Lacks(format!("journal: {}", String::from_utf8_lossy(stderr).trim()))),
        }
    }
}

/// A command that is run for each user's manager that runs.
fn each_manager(command: &str) -> String {
    format!(
        "for dir in /run/user/[0-9]*; do [ -S $dir/systemd/private ] || continue\n\
         ( export XDG_RUNTIME_DIR=$dir; {command} )\n\
         done 2>/dev/null\n:"
    )
}

/// What the switch program has written so far.
#[derive(Default)]
struct Written {
    /// How many bytes, in all.
    bytes: usize,
    /// The last of them: an activation may write without end.
    last: Vec<u8>,
}

impl Written {
    fn add(&mut self, more: &[u8]) {
        self.bytes += more.len();
        self.last.extend_from_slice(more);
        self.last.drain(..self.last.len().saturating_sub(OUTPUT));
    }
}

/// Reads what is listed after each `--` line: units, and their state in the third column.
fn read_states(text: &str, run: &mut SwitchRun) {
    let (mut active, mut activating, mut failed, mut user_active) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut is_users = false;
    for line in text.lines() {
        if line == USERS {
            is_users = true;
            continue;
        }
        let mut columns = line.split_whitespace();
        let (Some(unit), Some(state)) = (columns.next(), columns.nth(1)) else { continue };
        let unit = bounded(unit, 256);
        match (is_users, state) {
            (true, "active" | "reloading") => user_active.push(unit),
            (false, "active" | "reloading") => active.push(unit),
            (false, "activating") => activating.push(unit),
            (false, "failed") => failed.push(unit),
            _ => {}
        }
    }
    // A list without any active unit was not answered.
    if !active.is_empty() {
        (run.active, run.activating, run.failed, run.user_active) = (active, activating, failed, user_active);
    }
}

/// The last lines of an output.
fn lines(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(LINES)..].iter().map(|line| bounded(line, LINE)).collect()
}

/// How PID 1 says that it ended (systemd.exec(5), `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS`); `None`: it runs.
fn end(state: &str) -> Option<SwitchEnd> {
    let mut words = state.split_whitespace();
    let result = words.next()?;
    match (words.next(), words.next()) {
        // PID 1 ends all of it, with a signal that says nothing of why.
        _ if result == OOM_KILL => Some(SwitchEnd::Killed(OOM_KILL.to_owned())),
        (Some("exited"), Some(code)) => code.parse().ok().map(SwitchEnd::Exited),
        (Some(_), Some(signal)) => Some(SwitchEnd::Killed(bounded(signal, 64))),
        _ => Some(SwitchEnd::Killed(bounded(result, 64))),
    }
}

/// The jobs that PID 1 says have ended, and those that users' managers say have.
fn jobs(journal: &str) -> (Vec<UnitJob>, Vec<UserJob>) {
    let (mut jobs, mut user_jobs) = (Vec::new(), Vec::new());
    for (uid, job) in journal.lines().filter_map(ended_job).filter(|(_, job)| !job.unit.starts_with(UNIT_PREFIX)) {
        match uid {
            None => jobs.push(job),
            Some(uid) => user_jobs.push(UserJob { uid, job }),
        }
    }
    (jobs, user_jobs)
}

/// The job that a line of the journal says has ended, and the user whose manager says so, where it is not PID 1.
fn ended_job(line: &str) -> Option<(Option<u32>, UnitJob)> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
    let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str).map(|text| bounded(text, 256));
    let (job, result) = (text("JOB_TYPE")?, text("JOB_RESULT")?);
    if text("_PID")? == "1" {
        return Some((None, UnitJob { unit: text("UNIT")?, job, result }));
    }
    // Whatever runs below a user's manager is of the same unit of PID 1's.
    let manager = text("_SYSTEMD_UNIT").filter(|_| text("_COMM").as_deref() == Some("systemd"))?;
    let uid = manager.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()?;
    Some((Some(uid), UnitJob { unit: text("USER_UNIT")?, job, result }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_ended() {
        assert_eq!(end(""), None);
        assert_eq!(end("success exited 0"), Some(SwitchEnd::Exited(0)));
        assert_eq!(end("exit-code exited 4"), Some(SwitchEnd::Exited(4)));
        assert_eq!(end("signal killed TERM"), Some(SwitchEnd::Killed("TERM".to_owned())));
        assert_eq!(end("oom-kill killed TERM"), Some(SwitchEnd::Killed("oom-kill".to_owned())));
        assert_eq!(end("timeout"), Some(SwitchEnd::Killed("timeout".to_owned())));
    }

    #[test]
    fn jobs_are_those_of_managers() {
        let journal = concat!(
            r#"{"_PID":"1","UNIT":"a.service","JOB_TYPE":"restart","JOB_RESULT":"done","MESSAGE":"Stopped A."}"#,
            "\n",
            r#"{"_PID":"77","UNIT":"forged.service","JOB_TYPE":"stop","JOB_RESULT":"done","MESSAGE":"x"}"#,
            "\n",
            r#"{"_PID":"1","UNIT":"nixbox-switch.service","JOB_TYPE":"start","JOB_RESULT":"done","MESSAGE":"x"}"#,
            "\n",
            r#"{"_PID":"1","UNIT":"b.service","MESSAGE":"b.service: Failed"}"#,
            "\n",
            r#"{"_PID":"900","_COMM":"systemd","_SYSTEMD_UNIT":"user@1000.service","_SYSTEMD_USER_UNIT":"init.scope","#,
            r#""USER_UNIT":"tray.service","JOB_TYPE":"restart","JOB_RESULT":"done","MESSAGE":"Started Tray."}"#,
            "\n",
            r#"{"_PID":"901","_COMM":"tray","_SYSTEMD_UNIT":"user@1000.service","_SYSTEMD_USER_UNIT":"tray.service","#,
            r#""USER_UNIT":"forged.service","JOB_TYPE":"restart","JOB_RESULT":"done","MESSAGE":"x"}"#,
            "\n",
            r#"{"_PID":"902","_COMM":"systemd","_SYSTEMD_UNIT":"forged.service","#,
            r#""USER_UNIT":"forged.service","JOB_TYPE":"restart","JOB_RESULT":"done","MESSAGE":"x"}"#,
        );
        let job = |unit: &str| UnitJob { unit: unit.into(), job: "restart".into(), result: "done".into() };
        let (read, of_users) = jobs(journal);
        assert_eq!(read, [job("a.service")]);
        assert_eq!(of_users, [UserJob { uid: 1000, job: job("tray.service") }]);
    }

    #[test]
    fn states_of_units() {
        let mut run = SwitchRun::without(MachinePhase::Switched, "/nix/store/x", SwitchEnd::Exited(4));
        run.failed = vec!["late.service".into()];
        read_states("", &mut run);
        assert_eq!(run.failed, ["late.service"], "nothing was answered");
        let text = "late.service loaded active running Late\nb.service loaded activating auto-restart B\n\
                    c.service loaded failed failed C\n--users\nd.service loaded active running D\n";
        read_states(text, &mut run);
        assert_eq!((run.active[0].as_str(), run.activating[0].as_str()), ("late.service", "b.service"));
        assert_eq!((run.failed[0].as_str(), run.user_active[0].as_str()), ("c.service", "d.service"));
    }

    #[test]
    fn what_is_written_without_end_is_not_kept() {
        let (mut written, chunk) = (Written::default(), vec![b'x'; OUTPUT]);
        for _ in 0..3 {
            written.add(&chunk);
        }
        written.add(b"\nthe last line\n");
        assert_eq!((written.bytes, written.last.len()), (3 * OUTPUT + 15, OUTPUT));
        assert_eq!(lines(&written.last).last().map(String::as_str), Some("the last line"));
    }

    #[test]
    fn what_is_asked_of_each_manager_is_valid() {
        let text = each_manager("systemctl --user list-jobs | while read -r _; do\n:\ndone\n");
        let checked = std::process::Command::new("/bin/sh").args(["-n", "-c", &text]).status().unwrap();
        assert!(checked.success(), "{text}");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let many: String = (0..LINES + 5).map(|number| format!("{number}\n\n")).collect();
        let kept = lines(many.as_bytes());
        assert_eq!((kept.len(), kept[0].as_str()), (LINES, "5"));
    }
}
