//! What is asked of a guest, and how the answers become a judgement.

use std::collections::BTreeMap;
use std::time::Duration;

use super::boot::{self, ComeUp};
use crate::checks::{self, Context, End, Judgement, Looks, NoBoot, Plan};
use crate::event::Events;
use crate::failure::{Failure, Result};
use crate::guest::facts::Facts;
use crate::guest::{Guest, Wanted};
use crate::machine::{Accel, Machine};
use crate::names::artifact;
use crate::report::artifacts::Artifacts;

/// How many of the console's last lines are judged.
const CONSOLE_LINES: usize = 400;
/// How long a guest that did not come up is tried to be looked into: where it answers at all it answers soon.
const LAST_LOOK: Duration = Duration::from_secs(20);
/// Most of the journal's text that is kept, in bytes.
const JOURNAL_LIMIT: usize = 8 << 20;

/// A look into a guest that came up, or at what is left of one that did not.
pub(super) struct Look<'a> {
    pub(super) plan: &'a Plan,
    pub(super) accel: Accel,
    pub(super) memory_mib: u64,
    pub(super) events: &'a Events,
    pub(super) artifacts: Option<&'a Artifacts>,
}

impl Look<'_> {
    /// Looks, keeps the evidence, judges.
    ///
    /// # Errors
    /// This host's: the machine or the way into it broke while it was looked at.
    pub(super) async fn at(&self, machine: &mut Machine, guest: &Guest, come_up: ComeUp) -> Result<Judgement> {
        let judgement = match come_up {
            ComeUp::Up => match self.judge(machine, guest).await? {
                Ok(judgement) => judgement,
                Err(end) => self.judge_no_boot(machine, guest, end, None, 0.0).await,
            },
            ComeUp::NotUp { end, status, seconds } => self.judge_no_boot(machine, guest, end, status, seconds).await,
            ComeUp::Crashed(failure) | ComeUp::Host(failure) => return Err(failure),
        };
        self.evidence(machine, guest).await;
        Ok(judgement)
    }

    /// A guest that is up. The inner error: it went away while it was looked at.
    async fn judge(&self, machine: &mut Machine, guest: &Guest) -> Result<std::result::Result<Judgement, End>> {
        let looks = tokio::select! {
            looks = self.look(guest) => looks?,
            fate = boot::gone(machine) => return fate.map(Err),
        };
        let looks = Looks { console: machine.console().tail(CONSOLE_LINES), ..looks };
        self.keep_facts(&looks);
        let context = Context {
            accelerator: self.accel.name().to_owned(),
            network: self.plan.settings.machine.network.unwrap_or_default(),
            memory_mib: Some(self.memory_mib),
            host_resolves: None,
        };
        Ok(Ok(checks::judge(self.plan, &looks, &context)))
    }

    /// The first look, and another one when something has not settled yet.
    async fn look(&self, guest: &Guest) -> Result<Looks> {
        self.events.doing("looking at units, journal, network, users");
        let wanted = self.wanted();
        let first = guest.look(&wanted).await.map_err(|error| {
            Failure::host("the guest came up, but could not be looked into")
                .why(error)
                .hint("look at console.log; a guest without systemd 256 or later cannot be looked into")
        })?;
        let Some(wait) = checks::settle_needed(&first, self.plan.settings.settle) else {
            return Ok(Looks { first, ..Looks::default() });
        };
        self.events.doing(format!("waiting {:.1} s until what just started has settled", wait.as_secs_f64()));
        tokio::time::sleep(wait).await;
        // What was asked for once (requests, scripts, timers) is not done again.
        let again = Wanted { http: BTreeMap::new(), scripts: BTreeMap::new(), timers: Vec::new(), ..wanted };
        let later = guest
            .look(&again)
            .await
            .map_err(|error| Failure::host("the guest could be looked into once, but not again").why(error))?;
        let later =
            Facts { http: first.http.clone(), scripts: first.scripts.clone(), timers: first.timers.clone(), ..later };
        Ok(Looks { first, later: Some(later), ..Looks::default() })
    }

    async fn judge_no_boot(
        &self,
        machine: &Machine,
        guest: &Guest,
        end: End,
        status: Option<String>,
        seconds: f64,
    ) -> Judgement {
        // After a panic or a power-off nobody is there to answer.
        let facts = match end {
            End::Deadline => {
                tokio::time::timeout(LAST_LOOK, guest.look(&self.wanted())).await.ok().and_then(|look| look.ok())
            }
            _ => None,
        };
        if let Some(facts) = &facts {
            self.keep_facts(&Looks { first: facts.clone(), ..Looks::default() });
        }
        let evidence = NoBoot {
            end,
            console_tail: machine.console().tail(CONSOLE_LINES),
            status,
            facts,
            seconds,
            accelerator: self.accel.name().to_owned(),
        };
        checks::judge_no_boot(self.plan, &evidence)
    }

    /// Screen and journal, as they are at the verdict.
    async fn evidence(&self, machine: &Machine, guest: &Guest) {
        let Some(artifacts) = self.artifacts else { return };
        let screen = artifacts.file(artifact::SCREEN);
        let (screen, journal) = tokio::join!(machine.screenshot(&screen), guest.journal_text(JOURNAL_LIMIT));
        if let Err(error) = screen {
            self.events.note(format!("no picture of the screen: {error}"));
        }
        let kept = match journal {
            Ok(text) => artifacts.keep(artifact::JOURNAL, &text).map_err(|error| error.to_string()),
            // A guest that did not come up has none to give; the console says it all.
            Err(_) => Ok(()),
        };
        if let Err(error) = kept {
            self.events.note(format!("the journal was not kept: {error}"));
        }
    }

    /// The facts, so that a verdict can be understood and judged again.
    fn keep_facts(&self, looks: &Looks) {
        let Some(artifacts) = self.artifacts else { return };
        let kept = serde_json::to_vec_pretty(looks).map_err(|error| error.to_string());
        let kept = kept.and_then(|text| artifacts.keep(artifact::FACTS, &text).map_err(|error| error.to_string()));
        if let Err(error) = kept {
            self.events.note(format!("the facts were not kept: {error}"));
        }
    }

    /// What the plan needs to know.
    fn wanted(&self) -> Wanted {
        Wanted { units: self.plan.units.clone(), ..Wanted::default() }
    }
}
