//! A compositor that hangs on QEMU's standard graphics card is tried on another one before it is judged: no real machine
//! has that card (driver `bochs`), which knows neither planes nor fences.

use super::Run;
use super::attempt::Attempt;
use super::check::Probed;
use super::prepare::Prepared;
use super::request::Purpose;
use crate::failure::Result;
use crate::judging::{Judgement, contention};
use crate::machine::RunDir;
use crate::model::{CheckId, CheckResult, Status, TransportKind};

/// What makes QEMU's first graphics card another one. The last `-vga` counts, and NixOS's runner has none (qemu-vm.nix).
const OTHER_CARD: [&str; 2] = ["-vga", "virtio"];
/// The kernel's driver of the standard card.
const STANDARD: &str = "bochs";
const HINT: &str =
    "try it with another graphics card: virtualisation.qemu.options = [ \"-vga virtio\" ]; in the VM variant";

impl Run<'_> {
    /// What was probed, or what comes of it with another graphics card where the compositor hung.
    pub(super) async fn unless_hung_by_card(
        &mut self,
        prepared: &Prepared,
        probed: Probed,
        kind: TransportKind,
    ) -> Result<Probed> {
        let is_alone = matches!(self.request.purpose, Purpose::Verdict) && !self.request.arguments.keep;
        let Some(hung) = hung(&probed.judgement).filter(|_| is_alone).map(|result| result.summary.clone()) else {
            return Ok(probed);
        };
        self.events.note(format!("started the machine again, with another graphics card: {hung}"));
        let run_dir = RunDir::create()?;
        self.qemu_options = OTHER_CARD.map(Into::into).to_vec();
        // On the heap: the stack could not hold several.
        let again = Box::pin(self.attempt(prepared, Some(&run_dir), kind)).await;
        match again {
            Ok(Attempt::Probed(again)) => Ok(chosen(probed, again, &hung)),
            Err(failure) if failure.is_interruption() => Err(failure),
            Ok(Attempt::Crashed(failure) | Attempt::Silent(_, failure)) | Err(failure) => {
                let why = format!("with another graphics card the machine did not run: {}", failure.what);
                Ok(Probed { judgement: inconclusive(probed.judgement, &why), ..probed })
            }
        }
    }
}

/// The result that says that the compositor hung, on the standard card.
fn hung(judgement: &Judgement) -> Option<&CheckResult> {
    let on_standard = |result: &&CheckResult| {
        let driver = result.evidence.get("drm_driver").and_then(|driver| driver.as_str());
        driver.is_some_and(|driver| driver.starts_with(STANDARD))
    };
    compositor(judgement).filter(|result| result.status == Status::Fail).filter(on_standard)
}

fn compositor(judgement: &Judgement) -> Option<&CheckResult> {
    judgement.results.iter().find(|result| result.id == CheckId::DesktopCompositor)
}

/// The second probe where it says anything of the compositor, else the first, which then is inconclusive.
fn chosen(first: Probed, mut again: Probed, hung: &str) -> Probed {
    let status = compositor(&again.judgement).map(|result| result.status);
    let line = match status {
        Some(Status::Pass | Status::Warn) => {
            format!("with QEMU's standard graphics card, which no real machine has: {hung}")
        }
        Some(Status::Fail) => "the same with another graphics card (virtio-vga)".to_owned(),
        _ => {
            let judgement = inconclusive(first.judgement, "with another graphics card it was not seen");
            return Probed { judgement, ..first };
        }
    };
    for result in again.judgement.results.iter_mut().filter(|result| result.id == CheckId::DesktopCompositor) {
        result.detail.push(line.clone());
    }
    again
}

fn inconclusive(mut judgement: Judgement, why: &str) -> Judgement {
    let told = |result: CheckResult| match result.id {
        CheckId::DesktopCompositor => contention::inconclusive(result, why, HINT),
        _ => result,
    };
    judgement.results = judgement.results.into_iter().map(told).collect();
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(status: Option<Status>, driver: &str) -> Probed {
        let mut result = CheckResult::new(CheckId::DesktopCompositor, status.unwrap_or(Status::Skip), "sway runs");
        result.evidence.insert("drm_driver".to_owned(), driver.into());
        let results = status.map(|_| result).into_iter().collect();
        Probed { judgement: Judgement { results, ..Judgement::default() }, systemd: None, painted: None, facts: None }
    }

    fn told(first: Probed, again: Probed) -> (Status, String) {
        let chosen = chosen(first, again, "sway hung");
        let result = compositor(&chosen.judgement).unwrap();
        (result.status, format!("{} {}", result.summary, result.detail.join("\n")))
    }

    #[test]
    fn only_a_hang_on_the_standard_card_is_tried_again() {
        let is_hung = |status, driver| hung(&probed(status, driver).judgement).is_some();
        assert!(is_hung(Some(Status::Fail), "bochs-drm"));
        assert!(!is_hung(Some(Status::Fail), "virtio_gpu") && !is_hung(Some(Status::Pass), "bochs-drm"));
        assert!(!is_hung(None, "bochs-drm"));
    }

    #[test]
    fn the_other_card_decides() {
        let first = || probed(Some(Status::Fail), "bochs-drm");
        let again = |status| probed(status, "virtio_gpu");
        let (status, words) = told(first(), again(Some(Status::Pass)));
        assert!(
            status == Status::Pass && words.contains("standard graphics card") && words.contains("sway hung"),
            "{words}"
        );
        let (status, words) = told(first(), again(Some(Status::Fail)));
        assert!(status == Status::Fail && words.contains("the same with another graphics card"), "{words}");
        for nothing in [None, Some(Status::Skip), Some(Status::Unknown)] {
            assert_eq!(told(first(), again(nothing)).0, Status::Unknown);
        }
    }
}
