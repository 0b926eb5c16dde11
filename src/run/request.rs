//! What was asked for: the arguments, and what they mean together with `nixbox.toml` and a target. Starts nothing.

use std::path::Path;

use super::DESKTOP_MIB;
use super::demo::Demo;
use crate::cli::TryArgs;
use crate::config::{self, Config, Settings};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::guest::credentials::PlacedFile;
use crate::judging::{self, Plan, Selection};
use crate::machine::spec::DEFAULT_MEMORY_MIB;
use crate::machine::{find_program, jail};
use crate::model::{JailKind, NetworkPolicy, TransportKind};
use crate::nix::Target;
use crate::nix::expectations::Expectations;
use crate::text::nearest;

/// What a run is for.
pub(super) enum Purpose {
    /// The verdict, and then (`--keep`) a shell.
    Verdict,
    /// A user who wants to see the machine.
    Demo(Box<Demo>),
}

/// The arguments of a run, and what it is for.
pub(super) struct Request<'a> {
    pub(super) arguments: &'a TryArgs,
    pub(super) purpose: Purpose,
}

/// What is asked of a target.
pub(super) struct ResolvedRequest {
    pub(super) settings: Settings,
    pub(super) plan: Plan,
}

impl<'a> Request<'a> {
    /// A run for its verdict.
    pub(super) fn verdict(arguments: &'a TryArgs) -> Self {
        Self { arguments, purpose: Purpose::Verdict }
    }

    /// What the target is called in the report.
    pub(super) fn name_of(&self, target: &Target) -> String {
        self.arguments.name.clone().unwrap_or_else(|| target.name())
    }

    /// The configuration that `--config` names.
    pub(super) fn named_config(&self) -> Result<Option<Config>> {
        self.arguments.files.config.as_deref().map(|path| config::load(Some(path), None)).transpose()
    }

    /// What is asked of a target, by `nixbox.toml` and the flags.
    pub(super) fn asked(
        &self,
        named: Option<&Config>,
        target: &Target,
        expectations: &Expectations,
    ) -> Result<ResolvedRequest> {
        let told = self.arguments.expectations.is_some() || self.arguments.name.is_some();
        if told && !matches!(target, Target::Runner { .. }) {
            return Err(Failure::usage(format!("{} already has a name and expectations of its own", target.name()))
                .hint("--expectations and --name are for a runner: a store path or a script"));
        }
        let beside;
        let config = match named {
            Some(config) => config,
            None => {
                beside = config::load(None, target.dir())?;
                &beside
            }
        };
        let settings = self.settings(config, target);
        let scripts = settings.scripts.keys().map(String::as_str);
        let mut selection = Selection::new(&self.arguments.checks.only, &self.arguments.checks.skip, scripts)?;
        if let Purpose::Demo(_) = self.purpose {
            selection = selection.without(Demo::skipped());
        }
        let plan = judging::plan(expectations, &settings, &selection);
        Ok(ResolvedRequest { settings, plan })
    }

    /// `nixbox.toml`, with the flags on top.
    fn settings(&self, config: &Config, target: &Target) -> Settings {
        let arguments = self.arguments;
        let host = target.host().map(|_| target.name()).or_else(|| arguments.name.clone()).unwrap_or_default();
        let mut settings = config.settings_for(&host);
        let machine = &mut settings.machine;
        machine.accel = arguments.machine.accel.or(machine.accel);
        machine.memory = arguments.size.memory.or(machine.memory);
        machine.cores = arguments.size.cores.or(machine.cores);
        let usual = match self.purpose {
            Purpose::Verdict => None,
            Purpose::Demo(_) => Some(NetworkPolicy::User),
        };
        machine.network = arguments.machine.network.or(machine.network).or(usual);
        machine.timeout = arguments.checks.timeout.or(machine.timeout);
        machine.transport = arguments.machine.transport.or(machine.transport);
        settings
    }

    /// The best jail there is; the user is told when there is none.
    ///
    /// # Errors
    /// Exit 5 where an agent asks and there is none: who may only edit files must not gain a command on this host.
    pub(super) async fn jail(&self, launcher: &Path, events: &Events) -> Result<JailKind> {
        if self.arguments.machine.no_jail {
            events.note("the flake's runner runs without a jail, as --no-jail says");
            return Ok(JailKind::None);
        }
        let probe = jail::probe(launcher).await;
        if probe.kind == JailKind::None && self.arguments.for_agent.is_some() {
            return Err(Failure::host("this host has no jail for the flake's runner, which an agent may have written")
                .why(probe.reason.unwrap_or_default())
                .hint(
                    "`nixbox doctor` says what is missing; --no-jail in the hook's own settings runs it without one",
                ));
        }
        if probe.kind != JailKind::Namespaces {
            let reason = probe.reason.unwrap_or_default();
            events.note(match probe.kind {
                JailKind::None => format!("the flake's runner runs without a jail: {reason}"),
                _ => format!("the flake's runner runs under Landlock only: {reason}"),
            });
        }
        Ok(probe.kind)
    }
}

/// The transport that was asked for, else vsock where its daemon is.
pub(super) fn transport(settings: &Settings) -> TransportKind {
    settings.machine.transport.unwrap_or_else(|| {
        if cfg!(target_os = "linux") && find_program(crate::machine::VSOCK_DAEMON).is_some() {
            TransportKind::VhostUser
        } else {
            TransportKind::VirtioSerial
        }
    })
}

/// A machine's memory in MiB: as it was asked for, or configured. NixOS's default is too little for most desktops, and
/// cannot be told from the same value written by the user, so both are raised.
pub(super) fn memory_mib(settings: &Settings, expectations: &Expectations) -> u64 {
    let configured = expectations.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
    let usual = if expectations.desktop.is_some() { configured.max(DESKTOP_MIB) } else { configured };
    settings.machine.memory.map_or(usual, |memory| memory.0)
}

/// The files that are placed in the VM: those of `nixbox.toml`, and its stand-ins for secrets where the configuration
/// declares them. One for a secret that nothing declares is told, and left out.
pub(super) fn placed(settings: &Settings, expectations: &Expectations, events: &Events) -> Vec<PlacedFile> {
    let login = |name: Option<&config::Login>| name.map_or("", |name| name.0.as_str()).to_owned();
    let files = settings.files.iter().map(|(path, file)| PlacedFile {
        path: path.clone(),
        text: file.text.0.clone(),
        mode: file.mode.as_ref().map_or("0644", |mode| mode.0.as_str()).to_owned(),
        owner: format!("{}:{}", login(file.owner.as_ref()), login(file.group.as_ref())),
    });
    let mut all: Vec<PlacedFile> = files.collect();
    for (name, stand_in) in &settings.secrets {
        let Some(secret) = expectations.secrets.get(name) else {
            let known = nearest(name, expectations.secrets.keys().map(String::as_str));
            let known = known.map_or_else(String::new, |known| format!("; did you mean {known:?}?"));
            events.note(format!("[secret.{name:?}] of nixbox.toml: the configuration declares no such secret{known}"));
            continue;
        };
        let is_mode =
            |mode: &&String| !mode.is_empty() && mode.len() < 5 && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        all.push(PlacedFile {
            path: secret.path.clone(),
            text: stand_in.text.0.clone(),
            mode: secret.mode.as_ref().filter(is_mode).map_or("0400", String::as_str).to_owned(),
            owner: format!("{}:{}", secret.owner.as_deref().unwrap_or(""), secret.group.as_deref().unwrap_or("")),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::expectations::ExpectedDesktop;

    #[test]
    fn a_desktop_has_room() {
        let memory = |toml: &str, configured: Option<u64>, desktop: bool| {
            let settings = Config::parse(toml, "nixbox.toml").unwrap().settings_for("box");
            let desktop = desktop.then(ExpectedDesktop::default);
            memory_mib(&settings, &Expectations { memory_mib: configured, desktop, ..Expectations::default() })
        };
        assert_eq!(memory("", None, false), 1024);
        assert_eq!(memory("", Some(512), false), 512);
        assert_eq!(memory("", Some(1024), true), DESKTOP_MIB);
        assert_eq!(memory("", Some(4096), true), 4096);
        assert_eq!(memory("[machine]\nmemory = \"1GiB\"", Some(4096), true), 1024);
    }

    #[test]
    fn stand_ins_are_placed_where_secrets_are_declared() {
        use crate::nix::expectations::ExpectedSecret;
        let toml = "[file.\"/var/lib/x/key\"]\ntext = \"a\"\nowner = \"x\"\n[secret.db]\ntext = \"b\"\n[secret.dbb]\ntext = \"c\"";
        let settings = Config::parse(toml, "nixbox.toml").unwrap().settings_for("box");
        let secret = ExpectedSecret {
            path: "/run/secrets/db".into(),
            owner: Some("app".into()),
            mode: Some("0440".into()),
            ..ExpectedSecret::default()
        };
        let expectations = Expectations { secrets: [("db".to_owned(), secret)].into(), ..Expectations::default() };
        let (events, mut receiver) = Events::channel();
        let placed = placed(&settings, &expectations, &events);
        let of = |index: usize| {
            let file: &PlacedFile = &placed[index];
            (file.path.as_str(), file.text.as_str(), file.mode.as_str(), file.owner.as_str())
        };
        assert_eq!(placed.len(), 2);
        assert_eq!(of(0), ("/var/lib/x/key", "a", "0644", "x:"));
        assert_eq!(of(1), ("/run/secrets/db", "b", "0440", "app:"));
        assert!(format!("{:?}", receiver.try_recv().unwrap()).contains("did you mean"));
    }
}
