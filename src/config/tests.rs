use super::*;
use crate::model::{Exit, NetworkPolicy};

fn failure_of(text: &str) -> Failure {
    let failure = Config::parse(text, "nixbox.toml").expect_err(text);
    assert_eq!(failure.exit, Exit::Usage);
    failure
}

#[test]
fn the_examples_of_the_documents_are_some() {
    for text in [include_str!("../../README.md"), include_str!("../../docs/nixbox-toml.md")] {
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        Config::parse(example, "x").unwrap();
    }
}

#[test]
fn defaults_without_a_file() {
    let config = load(None, None).unwrap();
    assert_eq!(config.settings_for("laptop"), Settings::default());
    let dir = tempfile::tempdir().unwrap();
    assert!(load(None, Some(dir.path())).unwrap().path.is_none());
    let gone = load(Some(&dir.path().join("x.toml")), None).unwrap_err();
    assert_eq!(gone.exit, Exit::Usage);
    let directory = load(Some(dir.path()), None).unwrap_err();
    assert!(directory.why.unwrap().contains("not a regular file"));
}

#[test]
fn a_host_overrides_and_extends() {
    let config = Config::parse(
        r#"
            units = ["sshd"]
            ports = [22]
            [machine]
            memory = "2GiB"
            cores = 2
            timeout = "10min"
            [checks]
            settle = "5s"
            boot-time = "60s"
            [script.hello]
            run = "echo hello"
            equals = "hello"
            [http.front]
            url = "http://localhost/"
            [allow]
            "services.journal" = "noisy"
            "services.failed-units:foo.service" = "broken upstream"
            [hook]
            targets = [".#laptop"]
            [host.web]
            ports = ["53/udp", 22]
            timers = ["backup"]
            units = ["nginx.service", "a.socket"]
            [host.web.machine]
            memory = 4096
            network = "user"
            [host.web.checks]
            settle = 4
            [host.web.script.hello]
            run = "echo web"
            exit = 3
            [host."web@test"]
            ports = [8080]
            machine.cores = 1
            "#,
        "nixbox.toml",
    )
    .unwrap();
    let web = config.settings_for("web");
    assert_eq!(web.machine.memory, Some(MemorySize(4096)));
    assert_eq!(web.machine.cores, Some(Cores(2)));
    assert_eq!(web.machine.network, Some(NetworkPolicy::User));
    assert_eq!((web.settle, config.settings_for("other").settle), (Duration::from_secs(4), Duration::from_secs(5)));
    assert_eq!(web.boot_time, Some(Duration::from_secs(60)));
    assert_eq!(web.units, ["sshd.service", "nginx.service", "a.socket"]);
    assert_eq!(web.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["22/tcp", "53/udp"]);
    assert_eq!(web.timers, ["backup.timer"]);
    assert_eq!(&*web.scripts["hello"].run, "echo web");
    assert_eq!(web.scripts["hello"].exit, ExitCode(3));
    assert_eq!(&*web.http["front"].method, "GET");
    assert_eq!(web.allow["services.failed-units:foo.service"], "broken upstream");
    let other = config.settings_for("other");
    assert_eq!(other.machine.memory, Some(MemorySize(2048)));
    assert_eq!(other.units, ["sshd.service"]);
    assert!(other.timers.is_empty());
    assert_eq!(other.hook_targets, [".#laptop"]);
    assert_eq!(config.file.host.keys().collect::<Vec<_>>(), ["web", "web@test"]);
    let special = config.settings_for("web@test");
    assert_eq!(special.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["22/tcp", "53/udp", "8080/tcp"]);
    assert_eq!((special.machine.cores, special.machine.memory), (Some(Cores(1)), Some(MemorySize(4096))));
    assert_eq!(config.settings_for("web@other"), web);
    assert_eq!(config.settings_for("other@test"), other);
}

#[test]
fn nothing_here_loosens_the_isolation() {
    for text in ["[machine]\njail = false\n", "impure = true\n", "[machine]\nno-jail = true\n", "[nix]\na = 1\n"] {
        assert!(failure_of(text).what.ends_with("is not allowed in nixbox.toml"), "{text}");
    }
}

/// All messages side by side.
#[test]
fn bad_values_are_named_with_their_line() {
    let texts = [
        "[checks]\nsettle = \"3 bananas\"\n",
        "[machine]\nmemory = \"banana\"\n",
        "[machine]\nmemory = 1\n",
        "[machine]\ncores = 0\n",
        "[machine]\nnetwork = \"on\"\n",
        "[machine]\ntimeout = \"0s\"\n",
        "[machine]\naccel = \"xen\"\n",
        "ports = [\n  80,\n  70000,\n]\n",
        "ports = [\"53/icmp\"]\n",
        "[script.a]\nrun = \"x\"\nregex = \"(\"\n",
        "[script.a]\nrun = \" \"\n",
        "[script.a]\nuser = \"x\"\n",
        "[script.\"a b\"]\nrun = \"x\"\n",
        "[http.a]\nurl = \"localhost\"\n",
        "[http.a]\nurl = \"http://a\"\nstatus = 20\n",
        "units = [\"a/b\"]\n",
        "timers = [\"a.service\"]\n",
        "\n[allow]\n\"services.failed-unit\" = \"x\"\n",
        "[allow]\n\"boot.time\" = \"\"\n",
        "a = \n",
        "[machine]\njail = false\n",
        "impure = true\n",
        "\n[machine]\ncores = 2\n\n\n\n[scirpt.a]\nrun = \"x\"\n",
        "[host.web]\nportz = [1]\n",
        "[host.web.machine]\nmemroy = 1\n",
        "[script.a]\nrun = \"x\"\nregexp = \"x\"\n",
        "[script.a]\nrun = \"x\"\nretries = 101\n",
        "[script.a]\nrun = \"x\"\nexit = 256\n",
        "[script.a]\nrun = \"x\"\nuser = \"a b\"\n",
        "[http.a]\nurl = \"http://a\"\nmethod = \"FETCH\"\n",
        "[checks]\nsettle = \"8days\"\n",
        "[checks]\nports = [80]\n",
        "accept-flake-config = true\n",
        "[nix]\nimpure = true\n",
        "[machine]\nqemu-options = [\"-s\"]\n",
        "[machine]\nboots = 2\n",
    ];
    let all: String = texts.map(|text| format!("{text}=> {}\n\n", failure_of(text))).concat();
    insta::assert_snapshot!("messages", all);
}

#[test]
fn sizes() {
    for (text, mib) in [("2048", 2048), ("2G", 2048), ("2GiB", 2048), ("512M", 512), ("1536MiB", 1536), ("1 GiB", 1024)]
    {
        assert_eq!(MemorySize::parse(text), Ok(MemorySize(mib)), "{text}");
    }
    assert!(MemorySize::parse("banana").is_err());
    assert!(MemorySize::parse("-1").is_err());
}

#[test]
fn durations_of_flags_and_of_files_are_read_alike() {
    for (text, seconds) in [("90", 90), (" 90s ", 90), ("10m", 600), ("1h 30m", 5400), ("7days", 604_800)] {
        let time = Time(Duration::from_secs(seconds));
        assert_eq!((Time::parse(text), Time::parse_boot_limit(text)), (Ok(time), Ok(time)), "{text}");
    }
    for text in ["", "soon", "-5", "1.5", "8days", "99999999999999999999"] {
        assert!(Time::parse(text).is_err() && Time::parse_boot_limit(text).is_err(), "{text}");
    }
    for text in ["0", "0s", "10ms"] {
        assert!(Time::parse(text).is_ok() && Time::parse_boot_limit(text).is_err(), "{text}");
    }
    let timeout = |text: &str| Config::parse(text, "x").unwrap().settings_for("").machine.timeout;
    assert_eq!(timeout("[machine]\ntimeout = 90\n"), Some(Time(Duration::from_secs(90))));
    assert_eq!(timeout("[machine]\n"), None);
}

#[test]
fn numbers_of_processors() {
    for (text, cores) in [("1", 1), ("3", 3), ("256", 256)] {
        assert_eq!(Cores::parse(text), Ok(Cores(cores)));
    }
    for text in ["0", "257", "-1", "two", ""] {
        assert_eq!(Cores::parse(text), Err("must be from 1 to 256".to_owned()), "{text}");
    }
}

#[test]
fn the_schema_knows_the_tables() {
    let schema = schema();
    for key in ["machine", "checks", "http", "script", "allow", "switch", "hook", "host", "units", "ports", "timers"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    insta::assert_snapshot!("schema", crate::report::json::pretty(&schema));
}
