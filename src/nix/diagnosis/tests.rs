use super::excerpt::readable;
use super::patterns::PATTERNS;
use super::*;
use crate::event::Events;
use crate::model::CheckId;
use crate::nix::store::name_of;

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../tests/fixtures/nix/", $name, ".log")))
    };
}

fn log(text: &str) -> NixLog {
    let mut log = NixLog::default();
    for line in text.lines() {
        log.take(line, &Events::silent());
    }
    log
}

fn evaluated(text: &str) -> Failure {
    evaluation(&log(text), &SourceTree::default(), "demo")
}

/// As nix would say it by the protocol.
fn said(text: &str) -> String {
    format!("@nix {}", serde_json::json!({ "action": "msg", "level": 0, "msg": text }))
}

/// A log in which nix said this and no more.
pub(super) fn said_log(text: &str) -> NixLog {
    log(&said(text))
}

/// A build that failed after these lines.
pub(super) fn built(lines: &str) -> Failure {
    let drv = "/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-system-path.drv";
    let mut text = format!("@nix {}", serde_json::json!({ "action": "start", "id": 1, "type": 105, "fields": [drv] }));
    for line in lines.lines() {
        let logged = serde_json::json!({ "action": "result", "id": 1, "type": 101, "fields": [line] });
        text.push_str(&format!("\n@nix {logged}"));
    }
    let error = said(&format!("error: builder for '{drv}' failed with exit code 25"));
    derivation(&log(&format!("{text}\n{error}")), &SourceTree::default(), "web", None)
}

/// As the user reads each of the recorded errors.
#[test]
fn recorded_errors() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nix");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // A build that goes well.
        .filter(|name| !["build-2.8.log", "build-2.26.log", "build-2.34.log"].contains(&name.as_str()))
        .collect();
    names.sort();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let text = std::fs::read_to_string(format!("{directory}/{name}")).unwrap();
        let root = if text.contains("/home/user/broken") { "/home/user/broken" } else { "/home/user/demo" };
        let source = SourceTree { root: Some(root.into()), directory: Some(root.into()), is_git: true };
        let is_build = ["build-failed", "dependency", "hash", "sys"].iter().any(|kind| name.starts_with(kind));
        let log = log(&text);
        let failure =
            if is_build { derivation(&log, &source, "demo", None) } else { evaluation(&log, &source, "demo") };
        snapshot(name.trim_end_matches(".log"), &failure);
    }
}

fn snapshot(name: &str, failure: &Failure) {
    let check = failure.check.map_or_else(|| "no check".to_owned(), |check| check.to_string());
    let text = format!("exit {}, {check}\n{failure}", failure.exit.code());
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn every_pattern_compiles() {
    for (name, pattern) in PATTERNS {
        assert!(pattern.is_some(), "{name}");
    }
}

#[test]
fn evaluation_errors_of_all_versions() {
    for ((name, text), words) in [
        (
            fixture!("toplevel-2.8"),
            "Failed assertions:\n- The fileSystems option does not specify your root file system.\n- another",
        ),
        (
            fixture!("toplevel-2.26"),
            "Failed assertions:\n- The fileSystems option does not specify your root file system.\n- another",
        ),
        (fixture!("missing-2.8"), "attribute 'nosuch' missing\nat "),
        (fixture!("missing-2.26"), "attribute 'nosuch' missing\nat "),
        (fixture!("missing-2.34"), "attribute 'nosuch' missing\nat /home/user/broken/flake.nix:14:18\n"),
        (fixture!("thrown-2.34"), "boom: option does not exist"),
        (fixture!("check-2.34"), "boom: option does not exist"),
        (fixture!("syntax-2.8"), "syntax error, unexpected ';'\nat "),
        (fixture!("syntax-2.26"), "syntax error, unexpected ';'\nat "),
    ] {
        let failure = evaluated(text);
        assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildEval)), "{name}: {failure}");
        let why = failure.why.unwrap();
        assert!(why.starts_with(words), "{name}: {why}");
        for noise in ["show-trace", "\u{1b}", "error:", "while calling", "«string»"] {
            assert!(!why.lines().next().unwrap().contains(noise), "{name}: {why}");
        }
    }
}

#[test]
fn what_is_absent() {
    for (name, text) in [fixture!("absent-2.8"), fixture!("absent-2.26"), fixture!("absent-2.34")] {
        let failure = evaluated(text);
        assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildAttribute)), "{name}: {failure}");
        assert!(is_absent(&log(text)), "{name}");
    }
    for (name, text) in [fixture!("missing-2.8"), fixture!("missing-2.26"), fixture!("missing-2.34")] {
        assert!(!is_absent(&log(text)), "{name}");
    }
    let selection = "error: attribute 'toplevel' in selection path 'config.system.build.toplevel' not found";
    assert_eq!(evaluated(&said(selection)).check, Some(CheckId::BuildAttribute));
}

#[test]
fn what_the_host_cannot_do() {
    for (name, text) in [fixture!("network-2.8"), fixture!("network-2.26")] {
        let failure = evaluated(text);
        assert_eq!((failure.exit, failure.check), (Exit::Unknown, None), "{name}: {failure}");
    }
    for text in [
        "error: writing to file: No space left on device",
        "error:\n       … while fetching the input 'path:/home/user/demo'\n\n       error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': No such file or directory",
        "error: opening lock file '/nix/var/nix/db/big-lock': Permission denied",
        "error: creating directory '/nix/store/.links': Read-only file system",
        "error: unable to download 'https://github.com/a/b': HTTP error 503",
        "error: Failed to fetch git repository https://example.org/x : failed to connect to example.org",
        "error: executing 'git': No such file or directory",
        "error: repository path '/home/user/demo' is not owned by current user",
        "error: Cannot allocate memory",
        "error: executing SQLite query 'select present, namePart from NARs where cache = 61 and hashPart = 'zzgqhanslw4zr4g38kdhqpndlwj0j74h' and ((present = 0 and timestamp > 1688533570) or (present = 1 and timestamp > 1685941570))': database disk image is malformed, database disk image is malformed (in '/root/.cache/nix/binary-cache-v6.sqlite')",
        "error: executing SQLite statement 'pragma synchronous = normal': unable to open database file, unable to open database file (in '/nix/var/nix/db/db.sqlite')",
        "error: creating statement '\n       insert or replace into Realisations (drvPath)\n       ': SQL logic error (in '/nix/var/nix/db/db.sqlite')",
        "error: cannot open SQLite database '/nix/var/nix/db/db.sqlite': unable to open database file",
        "error: cannot open SQLite database \"/nix/var/nix/db/db.sqlite\": unable to open database file",
        "error: SQLite database '/nix/var/nix/db/db.sqlite' is busy",
        "error: unexpected end-of-file",
        "error: cannot open connection to remote store 'daemon': unexpected end-of-file",
        "error: unexpected EOF reading a line",
        "error: opening file '/home/u/flake.nix': Too many open files",
        "error: reading from file: Input/output error",
        "error: '/x' is a shallow Git repository, but a non-shallow repository is needed",
        "error: '/x' is a shallow Git repository, but shallow repositories are only allowed when `shallow = true;` is specified",
        "error:\n       … while evaluating the attribute 'revCount'\n\n       error: '/x' is a shallow Git repository, so 'revCount' is not available",
        "error:\n       … while fetching the input 'git+file:///x'\n\n       error: Failed to retrieve the parent of Git commit 'c9d560db9507bf4ff655e39dcca048318dc26262': object not found. This may be due to an incomplete repository history. To resolve this, either enable the shallow parameter in your flake URL (?shallow=1) or add set the shallow parameter to true in builtins.fetchGit, or fetch the complete history for this branch.",
        "error: this system does not support the kernel namespaces that are required for sandboxing; use '--no-sandbox' to disable sandboxing",
    ] {
        let failure = evaluated(&said(text));
        assert_eq!(failure.exit, Exit::Unknown, "{text}: {failure}");
        assert!(failure.why.is_some(), "{text}");
    }
    assert_eq!(evaluated(&said("error: interrupted by the user")).exit, Exit::Interrupted);
    // Nothing said at all is no verdict on the configuration.
    assert_eq!(evaluated("").exit, Exit::Unknown);
    // What is there no more is the flake's business.
    assert_eq!(evaluated(&said("error: unable to download 'https://x/y.tar.gz': HTTP error 404")).exit, Exit::Build);
}

/// (what git said past the protocol, nix's message, exit, what is said first, a word of the advice)
const FETCHES: [(&str, &str, Exit, &str, &str); 15] = [
    (
        "",
        "error:\n       … while fetching the input 'github:NixOS/nixpkgs/nixpkgs-unstable'\n\n       error: unable to download 'https://api.github.com/repos/NixOS/nixpkgs/commits/nixpkgs-unstable': HTTP error 401\n\n       response body:\n\n       {\n         \"message\": \"Bad credentials\",\n         \"status\": \"401\"\n       }",
        Exit::Unknown,
        "could not fetch github:NixOS/nixpkgs/nixpkgs-unstable: HTTP error 401",
        "access-tokens",
    ),
    (
        "",
        "error: unable to download 'https://api.github.com/repos/a/b/commits/master': HTTP error 403",
        Exit::Unknown,
        "could not fetch https://api.github.com/repos/a/b/commits/master: HTTP error 403",
        "netrc",
    ),
    (
        "",
        "error: unable to download 'https://cache.nixos.org/gwxwlbb8fs84afdr00j3psymx7n3c8px.narinfo': Problem with the SSL CA cert (path? access rights?) (77)",
        Exit::Unknown,
        "Problem with the SSL CA cert (path? access rights?) (77)",
        "NIX_SSL_CERT_FILE",
    ),
    (
        "",
        "error: unable to download 'https://x/y': HTTP error 200 (curl error: Stream error in the HTTP/2 framing layer)",
        Exit::Unknown,
        "could not fetch https://x/y: HTTP error 200",
        "network",
    ),
    (
        "",
        "error: unable to download 'https://x/y': HTTP error 502",
        Exit::Unknown,
        "could not fetch https://x/y",
        "network",
    ),
    (
        "",
        "error: unable to download 'https://x/y': HTTP error 408",
        Exit::Unknown,
        "could not fetch https://x/y",
        "network",
    ),
    (
        "",
        "error: unable to download 'https://x/y.tar.gz': HTTP error 404\n\n       response body:\n\n       <html>the connection timed out</html>",
        Exit::Build,
        "demo: could not fetch https://x/y.tar.gz: HTTP error 404",
        "",
    ),
    (
        "",
        "error:\n       … while fetching the input 'github:a/private'\n\n       error: unable to download 'https://api.github.com/repos/a/private/commits/HEAD': HTTP error 404",
        Exit::Build,
        "demo: could not fetch github:a/private: HTTP error 404",
        "private",
    ),
    (
        "fatal: couldn't find remote ref refs/tags/0.0.9+dev",
        "error:\n       … while calling the 'derivationStrict' builtin\n\n       error: program 'git' failed with exit code 128",
        Exit::Build,
        "demo: couldn't find remote ref refs/tags/0.0.9+dev",
        "",
    ),
    (
        "fatal: couldn't find remote ref refs/heads/2.32.4",
        "error:\n       … while fetching the input 'git+https://git@github.com/NixOS/nix?ref=2.32.4'\n\n       error: Failed to fetch git repository 'https://git@github.com/NixOS/nix'",
        Exit::Build,
        "demo: could not fetch git+https://git@github.com/NixOS/nix?ref=2.32.4: couldn't find remote ref refs/heads/2.32.4",
        "",
    ),
    (
        "",
        "error: Failed to fetch git repository https://git@github.com/NixOS/nix : fatal: couldn't find remote ref refs/heads/2.32.4",
        Exit::Build,
        "demo: couldn't find remote ref refs/heads/2.32.4",
        "",
    ),
    (
        "fatal: unable to access 'https://example.org/x/': Could not resolve host: example.org",
        "error: Failed to fetch git repository 'https://example.org/x'",
        Exit::Unknown,
        "could not fetch https://example.org/x/: Could not resolve host: example.org",
        "network",
    ),
    (
        "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
        "error:\n       … while fetching the input 'git+https://github.com/a/b'\n\n       error: Failed to fetch git repository 'https://github.com/a/b'",
        Exit::Unknown,
        "could not fetch git+https://github.com/a/b: could not read Username for 'https://github.com': terminal prompts disabled",
        "token",
    ),
    (
        "Host key verification failed.\nfatal: Could not read from remote repository.",
        "error: program 'git' failed with exit code 128",
        Exit::Unknown,
        "Host key verification failed.",
        "by hand",
    ),
    (
        "fatal: unable to write new index file",
        "error: program 'git' failed with exit code 128",
        Exit::Unknown,
        "git: fatal: unable to write new index file",
        "",
    ),
];

#[test]
fn only_what_a_server_says_is_not_there_is_the_flake_s() {
    for (stray, error, exit, what, advice) in FETCHES {
        let failure = evaluated(&format!("{stray}\n{}", said(error)));
        let check = (exit == Exit::Build).then_some(CheckId::BuildEval);
        assert_eq!((failure.exit, failure.check), (exit, check), "{error}: {failure}");
        assert!(failure.what.starts_with(what), "{error}: {failure}");
        let hint = failure.hint.unwrap_or_default();
        assert!(hint.contains(advice) && hint.is_empty() == advice.is_empty(), "{error}: {hint}");
    }
}

#[test]
fn what_a_builder_could_not_fetch() {
    let trying = "trying https://example.org/x.tar.gz\n  % Total    % Received % Xferd\n";
    let mirrors = "error: cannot download x.tar.gz from any mirror";
    for (line, exit, what, advice) in [
        (
            "curl: (22) The requested URL returned error: 404",
            Exit::Build,
            "system-path: curl: (22) The requested URL returned error: 404",
            "nix log",
        ),
        (
            "curl: (22) The requested URL returned error: 403",
            Exit::Build,
            "system-path: curl: (22) The requested URL returned error: 403",
            "nix log",
        ),
        (
            "curl: (22) The requested URL returned error: 502",
            Exit::Unknown,
            "could not fetch system-path: curl: (22) The requested URL returned error: 502",
            "network",
        ),
        (
            "curl: (22) The requested URL returned error: 401",
            Exit::Unknown,
            "could not fetch system-path: curl: (22) The requested URL returned error: 401",
            "netrc",
        ),
        (
            "curl: (77) error setting certificate file: /nix/store/h8qhspg7pml84z8s4ghrhmx6m77rs161-nss-cacert-3.104/etc/ssl/certs/ca-bundle.crt",
            Exit::Unknown,
            "could not fetch system-path: curl: (77) error setting certificate file: nss-cacert-3.104/etc/ssl/certs/ca-bundle.crt",
            "NIX_SSL_CERT_FILE",
        ),
    ] {
        let failure = built(&format!("{trying}{line}\n{mirrors}"));
        assert_eq!((failure.exit, failure.what.as_str()), (exit, what), "{failure}");
        assert!(failure.hint.unwrap().contains(advice), "{line}");
    }
    // The second URL was fetched: what failed came after it.
    let bad = "curl: (22) The requested URL returned error: 502";
    let fetched = format!("{trying}{bad}\n{trying}error: zip file must contain a single file or directory.");
    let failure = built(&fetched);
    assert_eq!(failure.exit, Exit::Build, "{failure}");
}

#[test]
fn a_configuration_s_own_words_are_no_trouble_of_the_host_s() {
    for text in [
        "error: A definition for option `boot.loader.timeout' is not of type `null or signed integer'. Definition values:\n       - In `/etc/x.nix': \"No space left on device\"",
        "error: The option `services.x.timeout' does not exist. Definition values:",
        "error: The option `boot.loader.timeout' has conflicting definition values:",
        "error: attribute 'timeout' missing",
        "error: services.x: SQLite cannot be shared, see Too many open files",
        "error: while parsing TOML: unexpected EOF",
        "error: undefined variable 'timeout'",
        "error: the string 'x' is not allowed to refer to a store path (such as '/nix/store/a')",
        "error: Package ‘fetch-timeout-1.0’ in /x.nix:1 has an unfree license (‘unfree’), refusing to evaluate.",
        "error:\n       Failed assertions:\n       - connection refused is what you get without services.x.enable",
    ] {
        let failure = evaluated(&said(text));
        assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildEval)), "{text}: {failure}");
    }
    for text in [
        "error: user 'eve' is not allowed to connect to the Nix daemon",
        "error: unable to download 'https://x/y': Timeout was reached (28)",
        "error: unable to download 'https://x/y': SSL connection timed out",
    ] {
        assert_eq!(evaluated(&said(text)).exit, Exit::Unknown, "{text}");
    }
}

#[test]
fn what_a_flake_names_is_not_what_the_user_named() {
    let input = "error:\n       … while updating the flake input 'x'\n\n       error: cannot find flake 'flake:nixpgks' in the flake registries";
    assert_eq!(evaluated(&said(input)).check, Some(CheckId::BuildEval));
    let bare = "error: input 'githb:a/b' is unsupported";
    assert_eq!(evaluated(&said(bare)).exit, Exit::Usage);
    let (_directory, local, _) = tree();
    assert_eq!(evaluation(&log(&said(bare)), &local, "demo").check, Some(CheckId::BuildEval));
    let module = "error: file 'nixpkgs/nixos/modules/typo.nix' was not found in the Nix search path (add it using $NIX_PATH or -I)";
    assert_eq!(evaluated(&said(module)).check, Some(CheckId::BuildEval));
}

#[test]
fn words_in_a_trace_or_a_throw_decide_nothing() {
    let text = "error:\n       … while calling the 'throw' builtin\n         at /home/u/x.nix:1:1:\n            1| throw \"No space left on device\"\n             | ^\n\n       error: boom";
    assert_eq!(evaluated(&said(text)).check, Some(CheckId::BuildEval));
    assert_eq!(readable(text, &SourceTree::default()), "boom");
    // A message may itself speak of errors and traces.
    let text = "error:\n       … while x\n\n       error: first\n       error: second";
    assert_eq!(readable(text, &SourceTree::default()), "first\nerror: second");
}

#[test]
fn advice_where_there_is_one() {
    let hint = |text: &str| evaluated(&said(text)).hint.unwrap_or_default();
    assert!(hint("error: experimental Nix feature 'pipe-operators' is disabled; add '…'").contains("pipe-operators"));
    assert!(
        hint("error: experimental Lix feature 'flake-self-attrs' is disabled; use '--extra-experimental-features flake-self-attrs' to override")
            .ends_with("extra-experimental-features flake-self-attrs")
    );
    assert!(
        hint(
            "error: access to absolute path '/etc/x' is forbidden in pure evaluation mode (use '--impure' to override)"
        )
        .contains("--impure")
    );
    assert!(
        hint("error: file 'nixpkgs/nixos' was not found in the Nix search path (add it using $NIX_PATH or -I)")
            .contains("-I nixpkgs=")
    );
    let usage = evaluated(&said("error: cannot find flake 'flake:nowhere' in the flake registries"));
    assert_eq!(usage.exit, Exit::Usage);
}

#[test]
fn a_module_systems_trace_is_reduced_to_what_a_user_knows() {
    let text = "error:\n       … while evaluating the attribute 'value'\n         at /nix/store/gc8zzi2jn8f3kwm1hcr3b1ryyj4d1dqn-source/lib/modules.nix:809:9:\n          808|     in warnDeprecation opt //\n          809|       { value = addErrorContext\n             |         ^\n          810|         inherit (res.defsFinal') highestPrio;\n\n       … while evaluating the option `services.web.enable':\n\n       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n\n       error: A definition for option `services.web.enable' is not of type `boolean'. Definition values:\n       - In `/nix/store/gc8zzi2jn8f3kwm1hcr3b1ryyj4d1dqn-source/flake.nix': \"yes\"";
    let readable = readable(text, &SourceTree::default());
    assert_eq!(
        readable,
        "A definition for option `services.web.enable' is not of type `boolean'. Definition values:\n\
         - In `/nix/store/gc8zzi2jn8f3kwm1hcr3b1ryyj4d1dqn-source/flake.nix': \"yes\"\n\
         while evaluating the option `services.web.enable'"
    );
}

#[test]
fn failed_builds_of_all_versions() {
    for (name, text) in [fixture!("build-failed-2.8"), fixture!("build-failed-2.26"), fixture!("build-failed-2.34")] {
        let failure = derivation(&log(text), &SourceTree::default(), "demo", None);
        assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildDerivation)), "{name}");
        assert_eq!(failure.what, "fail: fatal: cannot do", "{name}");
        let why = failure.why.unwrap();
        assert!(why.starts_with("/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-fail.drv\n"), "{name}: {why}");
        assert!(why.contains("failed with exit code 3") && why.ends_with("> fatal: cannot do"), "{name}: {why}");
    }
}

#[test]
fn the_root_cause_is_named_not_what_depended_on_it() {
    for ((name, text), wanted) in [
        (fixture!("dependency-2.8"), "fail"),
        (fixture!("dependency-2.26"), "fail"),
        (fixture!("dependency-2.34"), "slow"),
    ] {
        let failed = failed_derivations(&log(text));
        assert_eq!(failed.len(), 1, "{name}: {failed:?}");
        assert_eq!(name_of(&failed[0].drv), wanted, "{name}");
    }
}

#[test]
fn builds_that_this_host_cannot_do() {
    for (name, text) in [fixture!("sys-2.8"), fixture!("sys-2.26")] {
        let failure = derivation(&log(text), &SourceTree::default(), "demo", None);
        assert_eq!(failure.exit, Exit::Unknown, "{name}: {failure}");
        assert!(failure.what.contains("sparc64-netbsd"), "{name}: {failure}");
    }
    let drv = "/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-fail.drv";
    let built = |error: &str, line: &str| {
        let start = serde_json::json!({ "action": "start", "id": 1, "type": 105, "fields": [drv] });
        let logged = serde_json::json!({ "action": "result", "id": 1, "type": 101, "fields": [line] });
        let text = format!("@nix {start}\n@nix {logged}\n{}", said(&error.replace("DRV", drv)));
        derivation(&log(&text), &SourceTree::default(), "demo", None)
    };
    let failed = "error: builder for 'DRV' failed with exit code 1";
    assert_eq!(built(failed, "cp: error writing 'x': No space left on device").exit, Exit::Unknown);
    assert_eq!(built(failed, "curl: (6) Could not resolve host: example.org").exit, Exit::Unknown);
    assert_eq!(built(failed, "curl: (22) The requested URL returned error: 404").exit, Exit::Build);
    // A test that failed to connect is not our network.
    assert_eq!(built(failed, "FAILED test_client: connection refused").exit, Exit::Build);
    assert_eq!(built("error: builder for 'DRV' failed due to signal 9 (Killed)", "").exit, Exit::Unknown);
    assert_eq!(
        built("error: Cannot build 'DRV'.\n       Reason: builder failed due to signal 9 (Killed).", "").exit,
        Exit::Unknown
    );
    // The kernel takes the compiler, mostly, and the builder's shell lives on to say so.
    for line in [
        "g++: fatal error: Killed signal terminated program cc1plus",
        "(signal: 9, SIGKILL: kill)",
        "collect2: error: ld terminated with signal 9 [Killed]",
        "collect2: fatal error: ld terminated with signal 9 [Killed: 9]",
    ] {
        assert_eq!(built(failed, line).exit, Exit::Unknown, "{line}");
    }
    for error in [
        "error: builder for 'DRV' failed with exit code 137",
        "error: Cannot build 'DRV'.\n       Reason: builder failed with exit code 137.\n       Output paths:\n         /nix/store/x",
    ] {
        assert_eq!(built(error, "setup: line 1315:  3888 Killed                  ./Setup build").exit, Exit::Unknown);
    }
    let new = "error: Cannot build 'DRV'.\n       Reason: required system or feature not available\n       Required system: 'sparc64-netbsd' with features {}\n       Current system: 'x86_64-linux' with features {kvm}";
    let failure = built(new, "");
    assert_eq!(failure.exit, Exit::Unknown);
    assert!(failure.what.contains("sparc64-netbsd"), "{failure}");
}

/// What nix does not even try says nothing of what is to be built: of all versions, and for each of its reasons.
#[test]
fn builds_that_nix_does_not_try_here() {
    let drv = "/nix/store/1y2fkff977rxd61b2s8ggky0gczb9v5p-NetworkManager.conf.drv";
    for (error, what, hint) in [
        (
            "error: build of 'DRV^*' failed: Cannot build 'DRV'.\n       Reason: platform mismatch\n       Required system: 'aarch64-linux'\n       Current system: 'x86_64-linux'",
            "NetworkManager.conf is for aarch64-linux, which this host cannot build",
            "binfmt",
        ),
        (
            "error: Cannot build 'DRV'.\n       Reason: local builds are disabled (max-jobs = 0)\n       Hint: set 'max-jobs' to a non-zero value to enable local builds, or configure remote builders via 'builders'\n       Reason: platform mismatch\n       Required system: 'aarch64-linux'\n       Current system: 'x86_64-linux'",
            "NetworkManager.conf is for aarch64-linux, which this host cannot build",
            "binfmt",
        ),
        (
            "error: Cannot build 'DRV'.\n       Reason: local builds are disabled (max-jobs = 0)\n       Hint: set 'max-jobs' to a non-zero value to enable local builds, or configure remote builders via 'builders'",
            "nix does not build NetworkManager.conf here: local builds are disabled (max-jobs = 0)",
            "max-jobs",
        ),
        (
            "error: Cannot build 'DRV'.\n       Reason: missing system features\n       Required features: {big-parallel, gccarch-znver5}\n       Available features: {benchmark, big-parallel, gccarch-x86-64-v3, kvm, nixos-test}",
            "NetworkManager.conf: needs the system feature gccarch-znver5, which this host does not offer",
            "system-features",
        ),
        (
            "error: Cannot build 'DRV'.\n       Reason: required system or feature not available\n       Required system: 'x86_64-linux' with features {kvm, nixos-test}\n       Current system: 'x86_64-linux' with features {benchmark}",
            "NetworkManager.conf: needs the system features kvm, nixos-test, which this host does not offer",
            "system-features",
        ),
        (
            "error: a 'x86_64-linux' with features {gccarch-skylake} is required to build 'DRV', but I am a 'x86_64-linux' with features {benchmark, kvm}",
            "NetworkManager.conf: needs the system feature gccarch-skylake, which this host does not offer",
            "system-features",
        ),
        (
            "error: a 'x86_64-linux' with features {gccarch-skylake} is required to build 'DRV', but I am a 'x86_64-linux'",
            "NetworkManager.conf: needs the system feature gccarch-skylake, which this host does not offer",
            "system-features",
        ),
        (
            "error: a 'aarch64-linux' is required to build 'DRV', but I am a 'x86_64-linux'",
            "NetworkManager.conf is for aarch64-linux, which this host cannot build",
            "binfmt",
        ),
    ] {
        let log = said_log(&error.replace("DRV", drv));
        let failure = derivation(&log, &SourceTree::default(), "demo", None);
        assert_eq!((failure.exit, failure.check, failure.what.as_str()), (Exit::Unknown, None, what), "{error}");
        let advice = failure.hint.unwrap();
        assert!(advice.contains(hint) && advice.contains("binfmt") == (hint == "binfmt"), "{error}: {advice}");
        // Built during an evaluation it is the host's as well.
        assert_eq!(evaluation(&log, &SourceTree::default(), "demo").exit, Exit::Unknown, "{error}");
    }
    let dependency = format!("error: Cannot build '{drv}'.\n       Reason: 2 dependencies failed.");
    assert!(failed_derivations(&said_log(&dependency)).is_empty());
}

#[test]
fn only_what_has_a_hash_is_denied_a_network_that_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let drv = directory.path().join("x.drv").display().to_string();
    let start = serde_json::json!({ "action": "start", "id": 1, "type": 105, "fields": [drv] });
    let logged = serde_json::json!({ "action": "result", "id": 1, "type": 101,
        "fields": ["curl: (6) Could not resolve host: example.org"] });
    let text = format!(
        "@nix {start}\n@nix {logged}\n{}",
        said(&format!("error: builder for '{drv}' failed with exit code 6"))
    );
    let failure = || derivation(&log(&text), &SourceTree::default(), "demo", None);
    std::fs::write(&drv, r#"Derive([("out","/nix/store/a-x","sha256","ab")],[],[],"x","sh",[],[("outputHash","ab")])"#)
        .unwrap();
    assert_eq!(failure().exit, Exit::Unknown);
    std::fs::write(&drv, r#"Derive([("out","/nix/store/a-x","","")],[],[],"x","sh",[],[("out","/nix/store/a-x")])"#)
        .unwrap();
    let failure = failure();
    assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildDerivation)), "{failure}");
    assert!(failure.hint.unwrap().contains("builds have no network"));
}

#[test]
fn what_nix_refuses_of_a_build_is_the_configuration_s() {
    let drv = "/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-loop.drv";
    for (text, what) in [
        (
            format!(
                "error: cycle detected in build of '{drv}' in the references of output 'bin' from output 'out'"
            ),
            "loop: its outputs refer to each other in a cycle",
        ),
        (
            "error: output '/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-app' is not allowed to refer to the following paths:\n         /nix/store/x-go".to_owned(),
            "app: it is not allowed to refer to /nix/store/x-go",
        ),
    ] {
        let failure = derivation(&log(&said(&text)), &SourceTree::default(), "demo", None);
        assert_eq!((failure.check, failure.what.as_str()), (Some(CheckId::BuildDerivation), what), "{failure}");
    }
}

#[test]
fn a_wrong_hash_is_shown() {
    for (name, text) in [fixture!("hash-2.8"), fixture!("hash-2.26")] {
        let failure = derivation(&log(text), &SourceTree::default(), "demo", None);
        assert_eq!(failure.check, Some(CheckId::BuildDerivation), "{name}: {failure}");
        assert!(failure.why.unwrap().contains("sha256-AbpHGcgLb+kRsJGnwFEktk7uzpZOCcBY74+YBdrKVGs="), "{name}");
    }
}

#[test]
fn nothing_built_and_failed_is_no_verdict() {
    let failure = derivation(&log("something odd"), &SourceTree::default(), "demo", None);
    assert_eq!((failure.exit, failure.why.as_deref()), (Exit::Unknown, Some("something odd")));
}

/// A working tree and its copy in a store below a root of its own, as with `local?root=`.
fn tree() -> (tempfile::TempDir, SourceTree, String) {
    let top = tempfile::tempdir().unwrap();
    let root = top.path().join("demo");
    let copy = top.path().join("nix/store/60xrra920zj4980sn4fjjjdvnlsnnpam-source");
    for dir in [&root, &copy] {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("flake.nix"), "{ }").unwrap();
    }
    let source = SourceTree { root: Some(root.clone()), directory: Some(root), is_git: true };
    (top, source, copy.display().to_string())
}

#[test]
fn places_in_the_copy_are_named_by_their_origin() {
    let (top, source, copy) = tree();
    let root = source.root.clone().unwrap();
    assert_eq!(source.map(&format!("at {copy}/a.nix:1:2")), format!("at {}/a.nix:1:2", root.display()));
    // Another input's place stays.
    let other = top.path().join("nix/store/00000000000000000000000000000000-source");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("flake.nix"), "{ other = 1; }").unwrap();
    let text = format!("at {}/lib/x.nix:1:2", other.display());
    assert_eq!(source.map(&text), text);
    // The innermost place of the user's own is named when the error is elsewhere.
    let text = format!(
        "error:\n       … while evaluating x\n         at {copy}/hosts/a.nix:3:4:\n            2| a\n\n       error: boom\n       at {}/lib/x.nix:1:2:",
        other.display()
    );
    let readable = readable(&text, &source);
    assert!(readable.contains(&format!("from {}/hosts/a.nix:3:4 (while evaluating x)", root.display())), "{readable}");
}

#[test]
fn files_that_git_does_not_track() {
    let (_top, source, copy) = tree();
    let root = source.root.clone().unwrap();
    std::fs::create_dir(root.join("hosts")).unwrap();
    std::fs::write(root.join("hosts/a b.nix"), "").unwrap();
    let new = format!("error: Path 'hosts/a b.nix' in the repository \"{}\" is not tracked by Git.", root.display());
    for text in [
        format!("error: getting status of '{copy}/hosts/a b.nix': No such file or directory"),
        format!(
            "error:\n       … while calling the 'import' builtin\n         at {copy}/flake.nix:1:1:\n\n       error: path '{copy}/hosts/a b.nix' does not exist"
        ),
        new,
    ] {
        let failure = evaluation(&log(&said(&text)), &source, "demo");
        assert_eq!(failure.check, Some(CheckId::BuildEval));
        assert!(
            failure.hint.as_deref().is_some_and(|hint| hint.starts_with("git add 'hosts/a b.nix'")),
            "{text}: {failure}"
        );
    }
    let flake = |of: &str| format!("error: source tree referenced by '{of}' does not contain a '/flake.nix' file");
    let ours = evaluation(&log(&said(&flake(&format!("git+file://{}", root.display())))), &source, "demo");
    assert!(ours.hint.as_deref().is_some_and(|hint| hint.starts_with("git add flake.nix")), "{ours}");
    let an_input_s = evaluation(&log(&said(&flake("github:a/b"))), &source, "demo");
    assert_eq!((an_input_s.check, an_input_s.hint), (Some(CheckId::BuildEval), None));
    // A file that is nowhere gets no such advice.
    let nowhere = format!("error: path '{copy}/hosts/c.nix' does not exist");
    assert_eq!(evaluation(&log(&said(&nowhere)), &source, "demo").hint, None);
    // In a submodule `git add` would not help.
    std::fs::write(root.join("hosts/.git"), "gitdir: elsewhere").unwrap();
    let inside = format!("error: path '{copy}/hosts/a b.nix' does not exist");
    assert!(evaluation(&log(&said(&inside)), &source, "demo").hint.unwrap().contains("submodules=1"));
}
