//! `services.sites`: whether the web sites that the configuration declares answer. A unit may be active, and its sites of no
//! use to anybody.

use crate::judging::journal::Means as _;
use crate::judging::journal_patterns::Meaning;
use crate::judging::{Finding, JudgeContext, Judgement, conclude, sandbox, text};
use crate::model::{CheckId, CheckResult, Excuse, Lack, NetworkPolicy, Status, Witness};
use crate::nix::expectations::Site;

/// The server whose sites are asked for.
pub const NGINX: &str = "nginx.service";

pub(super) fn judge(cx: &JudgeContext<'_>, out: &mut Judgement) {
    let id = CheckId::ServicesSites;
    if !cx.is_planned(id) {
        return;
    }
    let (mut fails, mut warns, mut answered) = (Vec::new(), Vec::new(), 0);
    for site in &cx.plan.sites {
        // Where nothing answers, the port and the unit are judged.
        let Some(answer) = cx.now.http.get(&site.url()).filter(|answer| answer.status > 0) else { continue };
        answered += 1;
        let why = why(cx, site);
        let is_denied = why.as_deref().is_some_and(|why| Meaning::PermissionDenied.is_in(why));
        if answer.status < 500 && !(answer.status == 403 && is_denied) {
            continue;
        }
        let host = cx.plan.expectations.host_name.as_deref();
        if let Some(line) = why.as_deref().filter(|line| !is_denied && sandbox::shows_no_outside(line, host))
            && cx.context.network == NetworkPolicy::Off
        {
            let told = format!("it answers {} with --network off: {line}", answer.status);
            out.exclude(&site.url(), Excuse::new(Lack::Outside, Witness::line(line), told));
            continue;
        }
        let said = why.map(|line| format!(": {line}")).unwrap_or_default();
        let summary = text::clean(&format!("{} answers {}{said}", site.url(), answer.status));
        let finding = Finding::new(&site.host, summary).evidence("status", answer.status);
        if is_denied {
            fails.push(finding.hint(
                "nginx has to be let in: by its group (users.users.nginx.extraGroups), by the mode of each directory \
                 on the way, and in /home by ProtectHome= of nginx.service",
            ));
        } else {
            warns.push(finding);
        }
    }
    let result = match answered {
        0 => CheckResult::new(id, Status::Skip, "not applicable: nginx answers for none of its virtual hosts"),
        _ => conclude(cx, id, fails, warns, || match answered {
            1 => "the virtual host of nginx answers".to_owned(),
            many => format!("{many} virtual hosts of nginx answer"),
        }),
    };
    out.results.push(result);
}

/// What nginx said last of a request for this site.
fn why(cx: &JudgeContext<'_>, site: &Site) -> Option<String> {
    let lines = cx.now.journal.iter().rev().filter(|line| line.unit == NGINX);
    let mut failed = lines.filter_map(|line| Meaning::RequestFailed.parts_of(&line.message));
    failed.find(|parts| parts["host"] == site.host).map(|parts| parts["why"].to_owned())
}

#[cfg(test)]
mod tests;
