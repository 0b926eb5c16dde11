//! Which checks the user asked for: `--only` and `--skip`.

use crate::failure::{self, Failure};
use crate::model::{CheckId, CheckKind};
use crate::text::nearest;

/// Which checks were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Vec<Choice>,
    skip: Vec<Choice>,
}

/// What one word of `--only` or `--skip` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Kind(CheckKind),
    Check(CheckId),
}

impl Choice {
    fn covers(&self, id: CheckId) -> bool {
        match self {
            Self::Kind(kind) => id.kind() == *kind,
            Self::Check(check) => *check == id,
        }
    }
}

impl Selection {
    /// From `--only` and `--skip`: ids, or kinds (`services`, `services.`, `services.*`). `scripts` are the names of
    /// `nixbox.toml`'s scripts for this host.
    ///
    /// # Errors
    /// Exit 2 when one of them names no check, with the nearest that does.
    pub fn new<'a>(
        only: &[String],
        skip: &[String],
        scripts: impl IntoIterator<Item = &'a str>,
    ) -> failure::Result<Self> {
        let scripts: Vec<CheckId> = scripts.into_iter().map(CheckId::script).collect();
        let read = |list: &[String], flag: &str| {
            list.iter()
                .flat_map(|text| text.split(','))
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| choice(text, &scripts).ok_or_else(|| unknown(text, flag, &scripts)))
                .collect::<failure::Result<Vec<_>>>()
        };
        Ok(Self { only: read(only, "--only")?, skip: read(skip, "--skip")? })
    }

    /// The same without these checks.
    #[must_use]
    pub fn without(mut self, checks: impl IntoIterator<Item = CheckId>) -> Self {
        self.skip.extend(checks.into_iter().map(Choice::Check));
        self
    }

    /// Whether this check was asked for.
    pub fn has(&self, id: CheckId) -> bool {
        let named = |list: &[Choice]| list.iter().any(|choice| choice.covers(id));
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

fn choice(text: &str, scripts: &[CheckId]) -> Option<Choice> {
    let word = text.trim_end_matches('*').trim_end_matches('.');
    if let Some(kind) = CheckKind::ALL.into_iter().find(|kind| kind.name() == word) {
        return Some(Choice::Kind(kind));
    }
    let known = |id: &CheckId| !matches!(id, CheckId::Script(_)) || scripts.contains(id);
    word.parse().ok().filter(known).map(Choice::Check)
}

fn unknown(text: &str, flag: &str, scripts: &[CheckId]) -> Failure {
    let names: Vec<_> = CheckId::BUILT_IN.iter().chain(scripts).map(|id| id.name()).collect();
    let kinds = CheckKind::ALL.iter().map(|kind| kind.name());
    let mut failure = Failure::usage(format!("{flag} {text:?}: no such check"));
    if let Some(near) = nearest(text, names.iter().map(AsRef::as_ref).chain(kinds)) {
        failure = failure.why(format!("did you mean {near:?}?"));
    }
    failure.hint("nixbox try --list-checks shows them all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Exit;

    fn selection(only: &[&str], skip: &[&str]) -> failure::Result<Selection> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Selection::new(&own(only), &own(skip), ["hello"])
    }

    #[test]
    fn selecting() {
        let script = CheckId::script;
        let all = selection(&[], &[]).unwrap();
        assert!(all.has(CheckId::BootTarget) && all.has(script("hello")));
        let services = selection(&["services", "script.hello"], &["services.journal"]).unwrap();
        assert!(services.has(CheckId::ServicesPorts) && services.has(script("hello")));
        assert!(!services.has(CheckId::ServicesJournal) && !services.has(CheckId::BootTarget));
        assert!(!services.has(script("other")));
        assert!(selection(&["services.*,boot."], &[]).unwrap().has(CheckId::BootOom));
        assert!(selection(&["boot.t"], &[]).is_err());
        assert!(!all.without([CheckId::BootTarget]).has(CheckId::BootTarget));
    }

    #[test]
    fn unknown_ones_name_the_nearest() {
        let failure = selection(&["service"], &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.why.unwrap(), "did you mean \"services\"?");
        let failure = selection(&[], &["script.helo"]).unwrap_err();
        assert_eq!(failure.why.unwrap(), "did you mean \"script.hello\"?");
        assert!(selection(&[""], &[]).unwrap().has(CheckId::BootTarget));
        assert!(selection(&["*"], &[]).is_err());
    }
}
