//! What is remembered of an agent's session in a tree: which causes have held it up, what it was told last, and the tree
//! before its turn. Kept in files, since each hook is a process of its own; a lock makes two at once take turns.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Agent, HookEvent, HookRequest, parent_watch};
use crate::cache::digest;
use crate::machine::identity::ProcessIdentity;
use crate::model::timeouts::agent::{SESSION_LIMIT, TWIN_WINDOW};
use crate::paths::{replace_file, state_directory};

/// How many different failures hold an agent up before the next pass. Not all agents have a limit of their own.
const MOST_CAUSES: usize = 8;

/// Most places beside its own directory that are tested at the end of a session's turns.
const MOST_PLACES: usize = 4;

/// A session's file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Session {
    /// The causes that have held it up since the last pass.
    causes: Vec<String>,
    /// The last answer to each event.
    told: Vec<Told>,
    /// The commit of the tree before the turn.
    before: Option<String>,
    /// The turn has not come to its end yet, or its end was blocked: its tree before stays.
    is_open: bool,
    /// The last turn's end had no verdict yet.
    is_pending: bool,
    /// Other places in which it has edited files; of a session's own file only.
    places: Vec<PathBuf>,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    event: String,
    by: String,
    /// Milliseconds since 1970.
    at: u64,
}

/// A session in a tree. Without a directory to remember in, nothing is known.
#[derive(Debug)]
pub(super) struct Memory {
    file: PathBuf,
    /// What this call is: the same for all hooks that one event calls.
    event: String,
    by: String,
    /// When this call began.
    since: u64,
    /// Nothing is remembered of the session.
    pub(super) is_new: bool,
}

fn locked(file: File) -> Option<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusive).ok()
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Memory {
    /// The memory of a call that began at `since`, in the work tree at `root`. `tree`: what is in it, where two events are
    /// told apart by that. `None` where nothing can be remembered.
    pub(super) fn of(
        agent: Agent,
        request: &HookRequest,
        root: &Path,
        tree: Option<&str>,
        since: SystemTime,
    ) -> Option<Self> {
        let own = || serde_json::to_string(&ProcessIdentity::of(parent_watch::agent())).unwrap_or_default();
        let session = request.session.clone().unwrap_or_else(own);
        let mut memory = Self::in_directory(&state_directory()?.join("hook"), agent, request, &session, root, since)?;
        if let Some(tree) = tree {
            memory.event = digest(format!("{} {tree}", memory.event).as_bytes());
        }
        Some(memory)
    }

    fn in_directory(
        directory: &Path,
        agent: Agent,
        request: &HookRequest,
        session: &str,
        root: &Path,
        since: SystemTime,
    ) -> Option<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).ok()?;
        // Not the agent: two of its hooks may be named differently, and sessions have names that are random.
        let file = directory.join(digest(format!("{session} {}", root.display()).as_bytes()));
        let event = format!("{:?} {:?}", request.event, request.files);
        let (event, is_new) = (digest(event.as_bytes()), !file.exists());
        Some(Self { file, event, by: format!("{agent:?}"), since: milliseconds(since), is_new })
    }

    /// The memory of a session, wherever it works.
    pub(super) fn of_session(agent: Agent, request: &HookRequest, since: SystemTime) -> Option<Self> {
        Self::of(agent, request, Path::new(""), None, since)
    }

    /// The places beside its own directory in which the session has edited files.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        self.read().places
    }

    /// The session has edited a file in another place.
    pub(super) fn add_place(&self, place: &Path) {
        // What is not remembered is not tested at the turn's end.
        let _written = self.change(|session| {
            if !session.places.iter().any(|known| known == place) && session.places.len() < MOST_PLACES {
                session.places.push(place.to_owned());
            }
        });
    }

    /// Waits for another hook of the same event, which holds this until it has answered.
    pub(super) async fn take_turn(&self) -> Option<Flock<File>> {
        let file = self.lock_file(&format!("{}.lock", &self.event))?;
        // flock(2) blocks a thread of its own: who waits here still ends when it is asked to.
        tokio::task::spawn_blocking(move || locked(file)).await.ok()?
    }

    fn lock_file(&self, suffix: &str) -> Option<File> {
        let path = self.file.with_extension(suffix);
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).ok()
    }

    fn read(&self) -> Session {
        let text = fs::read(&self.file).unwrap_or_default();
        // One of another version, or a corrupt one, is none.
        let mut session: Session = serde_json::from_slice(&text).unwrap_or_default();
        // The clock was set back since: what was answered then is no answer to what is asked now.
        let now = milliseconds(SystemTime::now());
        session.told.retain(|told| told.at <= now);
        session
    }

    /// Changes what is remembered; `None` where that cannot be written.
    fn change<T>(&self, change: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let _lock = locked(self.lock_file("lock")?)?;
        let mut session = self.read();
        let changed = change(&mut session);
        let text = serde_json::to_vec(&session).ok()?;
        replace_file(&self.file, &text).ok()?;
        Some(changed)
    }

    /// Another hook has answered this very event: one that is installed twice, or that another agent's settings hold too.
    pub(super) fn is_answered(&self) -> bool {
        let window = u64::try_from(TWIN_WINDOW.as_millis()).unwrap_or_default();
        self.read().told.iter().any(|told| {
            let is_later = told.at >= self.since;
            let is_just_before = told.by != self.by && told.at.saturating_add(window) >= self.since;
            told.event == self.event && (is_later || is_just_before)
        })
    }

    /// This event is answered now. `false` where another hook was first.
    pub(super) fn answer(&self) -> bool {
        let now = milliseconds(SystemTime::now());
        let first = self.change(|session| {
            let is_other = |told: &Told| told.event == self.event && told.at >= self.since;
            if session.told.iter().any(is_other) {
                return false;
            }
            session.told.retain(|told| told.event != self.event && told.at + 600_000 > now);
            session.told.push(Told { event: self.event.clone(), by: self.by.clone(), at: now });
            true
        });
        // What cannot be remembered is said twice.
        first.unwrap_or(true)
    }

    /// Whether this cause has held the session up before, or too many have. Remembers it.
    pub(super) fn has_blocked(&self, cause: &str) -> bool {
        let cause = digest(cause.as_bytes());
        let known = self.change(|session| {
            session.is_pending = false;
            if session.causes.contains(&cause) || session.causes.len() >= MOST_CAUSES {
                session.is_open = false;
                return true;
            }
            session.causes.push(cause);
            session.is_open = true;
            false
        });
        // A failure that cannot be remembered must not block for ever.
        known.unwrap_or(true)
    }

    /// The turn ends, with this for its verdict.
    pub(super) fn end_turn(&self, passed: bool, pending: bool) {
        // What is not remembered is asked again.
        let _written = self.change(|session| {
            session.is_open = false;
            session.is_pending = pending;
            if passed {
                session.causes.clear();
            }
        });
        self.forget_old();
    }

    /// A turn begins, in a tree that `commit` makes a commit of. One that goes on, or whose verdict is still to come, keeps
    /// the tree that it began with: what it broke has not been told to anybody yet.
    pub(super) fn begin_turn(&self, commit: impl FnOnce() -> Option<String>) {
        let session = self.read();
        if session.is_open || session.is_pending {
            return;
        }
        let before = commit();
        // The last commit is what a turn is held against then.
        let _written = self.change(|session| {
            session.before = before;
            session.is_open = true;
        });
    }

    /// The commit of the tree before the turn, where it is known, and whether the last turn's verdict is still to come.
    pub(super) fn turn(&self) -> (Option<String>, bool) {
        let session = self.read();
        (session.before, session.is_pending)
    }

    fn forget_old(&self) {
        let Some(files) = self.file.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return };
        for file in files.flatten() {
            let age = file.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
            if age.unwrap_or(Duration::ZERO) > SESSION_LIMIT {
                // Another hook may have been first.
                drop(fs::remove_file(file.path()));
            }
        }
    }
}

/// Whether a hook of this agent and event has a session to remember.
pub(super) fn is_remembered(agent: Agent, event: &HookEvent) -> bool {
    !matches!(agent, Agent::Generic | Agent::Git) && *event != HookEvent::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn call(&self, agent: Agent, session: &str, event: HookEvent, since: SystemTime) -> Memory {
            let request = HookRequest { event, ..HookRequest::default() };
            Memory::in_directory(self.0.path(), agent, &request, session, Path::new("/x"), since).unwrap()
        }
    }

    #[test]
    fn a_cause_blocks_a_session_once_and_eight_at_most() {
        let place = Place::new();
        let call = |session| place.call(Agent::Gemini, session, HookEvent::TurnEnd, SystemTime::now());
        assert!(!call("a").has_blocked("one"));
        assert!(call("a").has_blocked("one"), "whatever the agent says");
        assert!(!call("b").has_blocked("one"), "another session");
        for cause in 2..=8 {
            assert!(!call("a").has_blocked(&cause.to_string()), "{cause}");
        }
        assert!(call("a").has_blocked("nine"));
        call("a").end_turn(true, false);
        assert!(!call("a").has_blocked("one"), "mended and broken again");
    }

    #[test]
    fn an_event_is_answered_once() {
        let place = Place::new();
        let started = SystemTime::now();
        let of = |agent| place.call(agent, "a", HookEvent::TurnEnd, started);
        let (first, second) = (of(Agent::ClaudeCode), of(Agent::ClaudeCode));
        assert!(!second.is_answered() && first.answer());
        assert!(second.is_answered() && !second.answer());
        // The next event of the same kind is another one, unless other settings hold the hook too.
        let later = started + TWIN_WINDOW / 2;
        assert!(!place.call(Agent::ClaudeCode, "a", HookEvent::TurnEnd, later).is_answered());
        assert!(place.call(Agent::Copilot, "a", HookEvent::TurnEnd, later).is_answered());
        assert!(!place.call(Agent::Copilot, "b", HookEvent::TurnEnd, later).is_answered());
        assert!(!place.call(Agent::Copilot, "a", HookEvent::Edit, later).is_answered());
    }

    #[test]
    fn a_turn_that_goes_on_keeps_its_beginning() {
        let place = Place::new();
        let call = || place.call(Agent::Codex, "a", HookEvent::Prompt, SystemTime::now());
        call().begin_turn(|| Some("first".to_owned()));
        call().begin_turn(|| Some("second".to_owned()));
        assert_eq!(call().turn().0.as_deref(), Some("first"));
        assert!(!call().has_blocked("cause"));
        call().begin_turn(|| Some("third".to_owned()));
        assert_eq!(call().turn().0.as_deref(), Some("first"));
        // What has no verdict yet is not what the next turn begins with.
        call().end_turn(false, true);
        call().begin_turn(|| Some("fourth".to_owned()));
        assert_eq!(call().turn(), (Some("first".to_owned()), true));
        call().end_turn(false, false);
        call().begin_turn(|| Some("fifth".to_owned()));
        assert_eq!(call().turn(), (Some("fifth".to_owned()), false));
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let place = Place::new();
        let call = || place.call(Agent::Codex, "a", HookEvent::TurnEnd, SystemTime::now());
        assert!(call().is_new && call().answer() && !call().is_new);
        let memory = call();
        let text = fs::read_to_string(&memory.file).unwrap();
        let (before, after) = text.split_once("\"at\":").unwrap();
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap();
        // An hour from now, as it was when the clock was wrong.
        let then = milliseconds(SystemTime::now() + Duration::from_secs(3600));
        fs::write(&memory.file, format!("{before}\"at\":{then}{}", &after[digits..])).unwrap();
        assert!(!memory.is_answered() && memory.answer());
    }

    #[tokio::test]
    async fn who_waits_for_a_twin_can_be_stopped() {
        let place = Place::new();
        let call = || place.call(Agent::Codex, "a", HookEvent::Edit, SystemTime::now());
        let first = call().take_turn().await;
        assert!(first.is_some());
        let second = call();
        assert!(tokio::time::timeout(Duration::from_millis(50), second.take_turn()).await.is_err());
        drop(first);
        assert!(second.take_turn().await.is_some());
    }

    #[test]
    fn a_corrupt_file_is_none() {
        let place = Place::new();
        let memory = place.call(Agent::Codex, "a", HookEvent::TurnEnd, SystemTime::now());
        fs::write(&memory.file, "{\"causes\": 1").unwrap();
        assert!(!memory.has_blocked("x") && memory.has_blocked("x"));
    }
}
