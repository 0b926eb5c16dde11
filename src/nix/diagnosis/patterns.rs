//! What is looked for in nix's messages, and in the logs of builders.

use std::sync::LazyLock;

use regex::Regex;

/// A pattern that is compiled when it is first needed.
pub(super) type Pattern = LazyLock<Option<Regex>>;

/// `None` is no pattern that compiles: a test proves that there is none.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

macro_rules! patterns {
    ($($name:ident = $text:expr;)*) => {
        $(pub(super) static $name: Pattern = LazyLock::new(|| pattern($text));)*
        #[cfg(test)]
        pub(super) const PATTERNS: &[(&str, &Pattern)] = &[$((stringify!($name), &$name)),*];
    };
}

patterns! {
    // 2.8 names files of a relocated store by their real place.
    SOURCE = r"(?:/[^\s'`\x22«»]*)?/nix/store/[0-9a-z]{32}-source\b";
    AT = r"^\s*at (.+):(\d+):(\d+):?$";
    BUILDER_FAILED = r"builder for '([^']+\.drv)' (failed[^;\n]*)";
    CANNOT_BUILD = r"Cannot build '([^']+\.drv)'\.\s*\n\s*Reason: ([^\n]+)";
    HASH_MISMATCH = r"hash mismatch in (?:fixed-output|content-addressed|.*?) ?derivation '([^']+\.drv)'";
    // What nix says of a derivation that it does not try: up to 2.29 in one line, then in a list, from 2.34 in several.
    WRONG_SYSTEM = r"a '([^']+)'(?: with features \{([^}]*)\})? is required to build '([^']+\.drv)', but I am a '([^']+)'(?: with features \{([^}]*)\})?";
    REQUIRED_SYSTEM = r"Required system: '([^']+)'(?: with features \{([^}]*)\})?";
    CURRENT_SYSTEM = r"Current system: '([^']+)'(?: with features \{([^}]*)\})?";
    REQUIRED_FEATURES = r"Required features: \{([^}]*)\}";
    AVAILABLE_FEATURES = r"Available features: \{([^}]*)\}";
    ANY_DRV = r"(/nix/store/[0-9a-z]{32}-[^'\s]+\.drv)";
    DEPENDENCY = r"\d+ dependenc(?:y|ies)(?: of derivation '[^']+')? failed";
    MISSING_FILE = r"(?:path|file) '([^']+)' does not exist|getting status of '([^']+)': No such file|opening file '([^']+)': No such file";
    NOT_TRACKED = r"Path '([^']+)' in the repository .* is not tracked by Git";
    NO_FLAKE_IN = r"source tree referenced by '([^']+)' does not contain a '/?([^']*flake\.nix)'";
    ATTRIBUTE = r"does not provide attribute|attribute '[^']*' in selection path|'[^']*' is not an attribute set in selection path";
    FEATURE = r"experimental (?:Nix |Lix )?feature '([^']+)' is disabled";
    NO_FLAKE = r"cannot find flake 'flake:|input '[^']*' is unsupported|is not a valid URL|is not a valid flake reference|could not find a flake\.nix|does not contain a '[^']*flake\.nix'";
    NETWORK = r"(?i)could(?:n't| not) resolve|failed to connect|couldn't connect|connection (?:refused|reset|timed out)|network is unreachable|temporary failure in name resolution|\btimed out\b|timeout was reached|ssl (?:connect|peer|certificate)|\bcurl error\b|HTTP error (?:40[1378]|429|5\d\d)|could not read from remote repository|unable to access '";
    // How nix, git and curl begin to say what came of a request.
    DOWNLOAD = r"unable to (?:download|access) '|curl: \(\d+\) ";
    HTTP_STATUS = r"(?:HTTP error|returned error:) (\d{3})\b";
    // A server's word that it has no such thing, where that is no number of HTTP's; and curl's that it is no URL.
    ABSENT = r"couldn't find remote ref|Remote branch \S+ not found in upstream|\bnot our ref [0-9a-f]|repository '[^']*' not found|unable to download '[^']*': [^\n(]*\((?:1|3|78)\)|curl: \((?:1|3|78)\) ";
    DENIED = r"Authentication failed for '|could not read (?:Username|Password) for '|Permission denied \(publickey|Host key verification failed";
    CERTIFICATES = r"\((?:60|77)\)|SSL CA cert";
    GIT_ENDED = r"program ['\x22]git['\x22] failed";
    GIT_FETCH = r"Failed to fetch git repository";
    DISK = r"No space left on device|Disk quota exceeded|database or disk is full";
    DAEMON = r"cannot '?connect'? to (?:socket|daemon)|Nix daemon disconnected|daemon .*(?:connection|EOF)|^(?:sized: |[^\n]*': )?unexpected (?:end-of-file|EOF)\b";
    // A query may have many lines; the file is named at the end. What is said of SQLite elsewhere is a configuration's.
    DATABASE = r"executing SQLite (?:query|statement) '|cannot open SQLite database|SQLite database '[^']*' is busy|\(in '(?:[^']*\.sqlite|\(in-memory\))'\)";
    FILES = r": (?:Too many open files|Input/output error)";
    READ_ONLY = r"Read-only file system";
    PERMISSION = r"Permission denied|Operation not permitted|user '[^']*' is not allowed to|not privileged|lacks? a signature by a trusted key";
    SANDBOX = r"kernel namespaces that are required for sandboxing|setting up a private mount namespace|cannot (?:create|set up) .*namespace|unable to start build process";
    MEMORY = r"(?i)out of memory|cannot allocate memory|std::bad_alloc";
    OWNER = r"is not owned by (?:the )?current user|dubious ownership";
    SHALLOW = r"is a shallow Git repository|may be due to an incomplete repository history";
    SEARCH_PATH = r"file '([^']+)' was not found in the Nix search path";
    PURE = r"in pure eval(?:uation)? mode|is forbidden in pure";
    UNFETCHED = r"while fetching the input|Git reference|unable to download|(?i)cannot fetch|failed to fetch|not cached";
    INTERRUPTED = r"interrupted by the user";
    // How the language and NixOS's module system begin what they say of a configuration, whose own names come next.
    LANGUAGE = r"^(?:(?:The|A definition for) option [`'‘]|Failed assertions|(?:undefined variable|attribute|function) '|the string '|cannot coerce|value is |expected |infinite recursion|syntax error|assertion |evaluation aborted |Package ['‘]|Refusing to evaluate )";
    CYCLE = r"cycle detected in build of '([^']+\.drv)'";
    REFERS = r"^output '([^']+)' is not allowed to refer to(?: the following paths:)?\s*(\S*)";
    // What the kernel's killer leaves in a log when it took a compiler and not the builder.
    KILLED = r"Killed signal terminated program|signal: 9, SIGKILL|signal 9 \[Killed|virtual memory exhausted|LLVM ERROR: out of memory|Cannot allocate memory";
    DEFINED_IN = r"^\s*- In [`'‘]([^'’]+)['’]";
    OPTION = r"the option [`'‘]([^'’]+)['’]";
    UNPROVIDED = r"(?:does not provide attribute .*|in selection path )'([^']+)'";
    UNREACHED = r"unable to (?:download|access) '([^']+)': (.+)$";
    FETCHES = r"(?:fetching the input|updating the flake input) '([^']+)'";
    IN_STORE = r"(?:/[^\s'`\x22«»]*)?/nix/store/[0-9a-z]{32}-(?:source(/))?";
    // A program of the store that says something, from its name on.
    PROGRAM = r"^(?:/[^\s:]*)?/nix/store/[0-9a-z]{32}-[^\s:/]+/(?:s?bin|libexec)/(?:[^\s:/]+/)*([^\s:/]+: )";
    // How programs begin the line that says why they failed, first those that say nothing else by it.
    LOG_ERROR = r"(?i:(?:^|[\s(:])(?:fatal |internal compiler )?error(?:\[\w+\])?: )|CMake Error|^(?i:fatal|panic): |^[\w.]*(?:Error|Exception): |\*\*\* |npm (?:ERR!|error) |: (?:command )?not found$|No such file or directory|Permission denied|undefined reference to|panicked at|\bsyntax error$|^FAILED |^E  +|hunks? FAILED|Reversed \(or previously applied\) patch detected|\^-+\^? SC\d+ \(\w+\): ";
    LOG_TROUBLE = r"(?i)\b(?:cannot|can't|could ?n[o']t|unable to|failed|failure|missing|invalid|not found|no such|denied|unknown|unexpected|conflict|undefined|abort(?:ed|ing)|bad|unsupported|illegal|duplicate|mismatch(?:ed)?|unrecogni[sz]ed|malformed|not allowed|does(?:n't| not) exist)\b";
    // What says no more than that something before it failed.
    LOG_CONSEQUENCE = r"^g?make(?:\[\d+\])?: (?:\*\*\* \[.*\] Error \d+|\*\*\* Waiting for unfinished|Entering|Leaving|Target .* not remade)|^ninja: build stopped|^FAILED: |could not compile `|error: aborting due to|error: (?:build|test) failed|more information about this error|ld returned \d+ exit status|Configuring incomplete, errors occurred|keeping build directory|errors? generated\.$|A complete log of this run|non-zero exit status|cannot download .* from any mirror|: terminating, \d+ bad ";
    // A file and the line in it; no time, and no port.
    LOG_PLACE = r"(?:^|[\s'\x22(])[^\s:'\x22(]*[/.][^\s:'\x22]*[A-Za-z][^\s:'\x22]*:\d+\b|\bline \d+\b";
    LOG_WARNING = r"(?i)\bwarn(?:ing)?\b";
    // nixpkgs' check-meta.nix, of today and before.
    REFUSED = r"(?:Refusing to evaluate package '([^']+)'|Package ['‘]([^'’]+)['’] in .*)";
    UNFREE = r"has an unfree license \(['‘]([^'’]+)['’]\)";
    MARKED = r"(?:is marked as|has problems?:) (\w+)";
    AVAILABLE = r"is not available on the requested hostPlatform|unsupported for this system";
    INSECURE_ISSUES = r"Known issues:\s*\n\s*- ([^\n]+)";
    REMOVED = r"The option definition [`'‘]([^'’]+)['’]\s+(?:in [`'‘]([^'’]+)['’](?:, [`'‘][^'’]+['’]| and [`'‘][^'’]+['’])*\s+)?no longer has any effect; please remove it\.?";
    MODULE_ARGUMENT = r#"while evaluating the module argument [`']([^'`]+)['`] in "([^"]+)""#;
    MISSING_ATTRIBUTE = r"^attribute '([^']+)' missing";
    // What NixOS passes to every module, and flakes as a rule.
    UNNAMED_ARGUMENT = r"^undefined variable '(pkgs|lib|config|options|modulesPath|inputs|self)'";
    SUGGESTED = r"Did you mean (.+?)\?";
    CONFLICT = r"(?:two given paths contain a conflicting subpath:\s*|collision between )`?([^'`\s]+)['`]? and\s+`?([^'`\s]+)";
    // make-etc.sh of nixpkgs.
    MADE_TWICE = r"duplicate entry (\S+) -> \S+\s+mismatched duplicate entry (\S+) <-> (\S+)";
    VARIANT = r"virtualisation\.vmVariant(?:WithBootLoader)?\.";
    COMPILER_ERROR = r"^(\S+?):\d+(?::\d+)?: (?:fatal )?error: ";
}

pub(super) fn find<'t>(pattern: &Pattern, text: &'t str) -> Option<regex::Captures<'t>> {
    pattern.as_ref()?.captures(text)
}

pub(super) fn is(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}
