use super::*;
use crate::git;
use crate::model::{CheckId, Exit};
use crate::nix::{ConfigurationFilter, NixFlags, Shard};
use crate::text::listed;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn chosen(attribute: Option<&str>, configurations: &[&str], packages: Option<&[&str]>) -> Option<Resolution> {
    let packages = packages.map(strings);
    choose(&RequestedName { attribute, host: "laptop.example.org" }, &strings(configurations), packages.as_deref())
}

fn host(name: &str, specialisation: Option<&str>) -> Option<Resolution> {
    Some(Resolution::Host { name: name.to_owned(), specialisation: specialisation.map(str::to_owned) })
}

#[test]
fn without_a_name() {
    assert_eq!(chosen(None, &["a", "laptop"], None), host("laptop", None));
    assert_eq!(chosen(None, &["laptop", "laptop.example.org"], None), host("laptop.example.org", None));
    assert_eq!(chosen(None, &["only"], None), host("only", None));
    assert_eq!(chosen(None, &["a", "b"], None), None);
    assert_eq!(chosen(None, &["a", "b"], Some(&["vm"])), Some(Resolution::Package("vm".to_owned())));
    assert_eq!(chosen(None, &[], Some(&["x"])), None);
}

#[test]
fn specialisations() {
    assert_eq!(chosen(Some("@gaming"), &["laptop", "b"], None), host("laptop", Some("gaming")));
    assert_eq!(chosen(Some("b@gaming"), &["laptop", "b"], None), host("b", Some("gaming")));
    // Names that nix needs in quotes, and those of an address.
    for typed in ["b@7.1", r#"b@"7.1""#, r#""b"@7.1"#, r#""b"@"7.1""#] {
        assert_eq!(chosen(Some(typed), &["laptop", "b"], None), host("b", Some("7.1")), "{typed}");
    }
    assert_eq!(chosen(Some("b@with@this"), &["b"], None), host("b", Some("with@this")));
    assert_eq!(chosen(Some(r#""web.example"@s"#), &["web.example"], None), host("web.example", Some("s")));
    // A configuration of that very name.
    assert_eq!(chosen(Some("u@b"), &["b", "u@b"], None), host("u@b", None));
    assert_eq!(chosen(Some(r#""u@b"@s"#), &["b", "u@b"], None), host("u@b", Some("s")));
    // What is still to be named: its host says what there is.
    assert_eq!(chosen(Some("b@"), &["laptop", "b"], None), host("b", Some("")));
    assert_eq!(chosen(Some("@"), &["laptop", "b"], None), host("laptop", Some("")));
    // A package has none.
    assert_eq!(chosen(Some("vm@s"), &["b"], Some(&["vm"])), None);
    let target = Target::Host {
        flake: Flake::remote("github:a/b"),
        name: "web.example".to_owned(),
        specialisation: Some("7.1".to_owned()),
        output: VmVariant::Vm,
    };
    assert_eq!(target.name(), "web.example@7.1");
    let resolved = r#"nixosConfigurations."web.example".config.specialisation."7.1".configuration"#;
    assert_eq!(target.resolved(), format!("github:a/b#{resolved}"));
    assert_eq!(full_path(&Flake::remote("github:a/b"), resolved), Some(target));
}

#[test]
fn a_specialisation_of_no_configuration() {
    let failure = |typed: &str, configurations: &[&str]| {
        let wanted = RequestedName { attribute: Some(typed), host: "h" };
        unresolved(&wanted, &Flake::remote("github:a/b"), &strings(configurations), &strings(&["vm"]))
    };
    let which = failure("@gaming", &["server", "laptop"]);
    assert_eq!(which.exit, Exit::Usage);
    assert!(which.hint.unwrap().starts_with("name one as github:a/b#NAME@gaming: "));
    let mistyped = failure("laptpo@gaming", &["server", "laptop"]);
    assert_eq!(mistyped.what, "github:a/b has no configuration laptpo");
    assert_eq!(mistyped.hint.as_deref(), Some("there are: laptop, server"));
    assert_eq!(failure("vm@gaming", &[]).hint.as_deref(), Some("it has no nixosConfigurations"));
    assert_eq!((failure("@gaming", &[]).exit, failure("@", &[]).exit), (Exit::Build, Exit::Build));
}

#[test]
fn with_a_name() {
    assert_eq!(chosen(Some("b"), &["a", "b"], None), host("b", None));
    assert_eq!(chosen(Some("b@s"), &["a", "b"], None), host("b", Some("s")));
    assert_eq!(chosen(Some("web.example"), &["web.example"], None), host("web.example", None));
    assert_eq!(chosen(Some("\"web.example\""), &["web.example"], None), host("web.example", None));
    assert_eq!(chosen(Some("c"), &["a", "b"], None), None);
    assert_eq!(chosen(Some("c"), &["a"], Some(&["c"])), Some(Resolution::Package("c".to_owned())));
    assert_eq!(chosen(Some("c"), &["a"], Some(&["d"])), None);
    assert_eq!(chosen(Some("vms.c"), &["a"], Some(&[])), Some(Resolution::Path("vms.c".to_owned())));
}

#[test]
fn full_paths_need_no_asking() {
    let flake = Flake::remote("github:a/b");
    let target = |attribute: &str| full_path(&flake, attribute);
    assert_eq!(target("laptop"), None);
    assert_eq!(target("vms.laptop"), None);
    let is_host = |attribute: &str, wanted: &str, special: Option<&str>, kind: VmVariant| {
        let expected = Target::Host {
            flake: flake.clone(),
            name: wanted.to_owned(),
            specialisation: special.map(str::to_owned),
            output: kind,
        };
        assert_eq!(target(attribute), Some(expected), "{attribute}");
    };
    is_host("nixosConfigurations.a", "a", None, VmVariant::Vm);
    is_host("nixosConfigurations.a@s", "a", Some("s"), VmVariant::Vm);
    is_host(r#"nixosConfigurations."a@b"@"s.t""#, "a@b", Some("s.t"), VmVariant::Vm);
    is_host(
        "nixosConfigurations.a.config.system.build.vmWithBootLoader@s",
        "a",
        Some("s"),
        VmVariant::VmWithBootLoader,
    );
    is_host(r#"nixosConfigurations.a.config.specialisation."s.t".configuration"#, "a", Some("s.t"), VmVariant::Vm);
    is_host(r#"nixosConfigurations."a.b".config.system.build.vm"#, "a.b", None, VmVariant::Vm);
    is_host("nixosConfigurations.a.config.system.build.vmWithBootLoader", "a", None, VmVariant::VmWithBootLoader);
    is_host("nixosConfigurations.a.config.system.build.vmWithDisko", "a", None, VmVariant::VmWithDisko);
    is_host(
        "nixosConfigurations.a.config.specialisation.s.configuration.system.build.vm",
        "a",
        Some("s"),
        VmVariant::Vm,
    );
    is_host(
        "nixosConfigurations.a.config.specialisation.s.configuration.config.system.build.vm",
        "a",
        Some("s"),
        VmVariant::Vm,
    );
    for path in ["packages.x86_64-linux.vm", "nixosConfigurations.a.config.system.build.isoImage"] {
        assert_eq!(target(path), Some(Target::Attribute { flake: flake.clone(), path: path.to_owned() }));
    }
}

#[test]
fn the_nearest_name_comes_first() {
    assert_eq!(listed("laptpo", &strings(&["desktop", "server", "laptop"])), "laptop, desktop, server");
    assert!(listed("x", &strings(&["a"; 20])).ends_with("and 8 more"));
    let failure = unresolved(
        &RequestedName { attribute: Some("laptpo"), host: "h" },
        &Flake::remote("github:a/b"),
        &strings(&["server", "laptop"]),
        &[],
    );
    assert_eq!((failure.exit, failure.check), (Exit::Build, Some(CheckId::BuildAttribute)));
    assert_eq!(failure.hint.as_deref(), Some("there are: laptop, server"));
    let several = unresolved(
        &RequestedName { attribute: None, host: "h" },
        &Flake::remote("github:a/b"),
        &strings(&["server", "laptop"]),
        &[],
    );
    assert_eq!(several.exit, Exit::Usage);
}

fn parsed(named: &str) -> Result<Parsed> {
    parse(named, &Nix::new(NixFlags::default()), &Events::silent())
}

#[test]
fn what_is_not_there_is_usage() {
    for named in ["./nowhere#x", "/nowhere/at/all", "../nowhere#x", "./nowhere", "nowhere"] {
        assert_eq!(parsed(named).unwrap_err().exit, Exit::Usage, "{named}");
    }
    let top = tempfile::tempdir().unwrap();
    std::fs::create_dir(top.path().join("laptop")).unwrap();
    let failure = parsed(&top.path().join("laptpo#x").to_string_lossy()).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    // An empty directory is no flake.
    assert_eq!(parsed(&top.path().join("laptop").to_string_lossy()).unwrap_err().exit, Exit::Usage);
    let near = parsed(&top.path().join("laptpo").to_string_lossy()).unwrap_err();
    assert!(near.hint.unwrap().contains("laptop"));
}

#[test]
fn a_bare_name_is_no_configuration_where_there_is_no_flake() {
    let top = tempfile::tempdir().unwrap();
    std::fs::create_dir(top.path().join(".git")).unwrap();
    let hint = || not_there(&top.path().join("gnome"), "gnome").hint.unwrap();
    assert!(hint().contains("no flake.nix here either") && hint().contains("`nixbox init`"), "{}", hint());
    std::fs::write(top.path().join("flake.nix"), "").unwrap();
    assert_eq!(hint(), "for a configuration of the flake here: .#gnome");
}

/// All that can be said of a name that leads nowhere.
#[test]
fn errors() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().canonicalize().unwrap();
    for made in ["laptop", "vms/bin"] {
        std::fs::create_dir_all(dir.join(made)).unwrap();
    }
    for made in ["vms/bin/run-a-vm", "vms/bin/run-b-vm", "flake.nix", "notes.txt", "machine.nix"] {
        std::fs::write(dir.join(made), "").unwrap();
    }
    let at = |name: &str| dir.join(name).display().to_string();
    let nix = Nix::new(NixFlags::default());
    let parsed = |typed: &str| (typed.to_owned(), parsed(typed).unwrap_err());
    let of_flake = |typed: &str| (typed.to_owned(), flake(Some(typed), &nix).unwrap_err());
    let names = strings(&["server", "laptop"]);
    let named = |attribute: Option<&str>, configurations: &[String]| {
        let requested = RequestedName { attribute, host: "this-host" };
        let shown = format!("github:a/b#{}", attribute.unwrap_or_default());
        (shown, unresolved(&requested, &Flake::remote("github:a/b"), configurations, &[]))
    };
    let pattern = "*".repeat(100_000);
    let filter = ConfigurationFilter { globs: vec![pattern.clone()], shard: Shard::default() };
    let errors = [
        parsed(&at("laptpo")),
        parsed("nowhere"),
        parsed(&at("zzz#x")),
        parsed(&at("flake.nix")),
        parsed(&at("notes.txt")),
        parsed(&at("vms")),
        of_flake(&at("machine.nix")),
        of_flake("github:a/b#laptop"),
        named(None, &names),
        named(None, &[]),
        named(Some("laptpo"), &names),
        named(Some("laptop"), &[]),
        named(Some("@gaming"), &names),
        named(Some("@gaming"), &[]),
        named(Some("laptpo@gaming"), &names),
        ("--filter ***…".to_owned(), filter.compiled().unwrap_err()),
    ];
    let text: Vec<String> = errors
        .into_iter()
        .map(|(typed, failure)| format!("$ {typed}\nexit {}: {failure}\n", failure.exit.code()))
        .collect();
    let here = std::env::current_dir().unwrap().display().to_string();
    let text = text
        .join("\n")
        .replace(&dir.display().to_string(), "/home/u")
        .replace(&here, "/here")
        .replace(&pattern, "***…");
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("errors", text);
    });
    let wrong: std::result::Result<Shard, String> = "4/3".parse();
    assert_eq!(wrong.unwrap_err(), "give K/N with K from 1 to N, such as 2/3");
}

#[test]
fn urls_pass_through() {
    for (named, reference, attribute) in [
        ("github:a/b#c", "github:a/b", Some("c")),
        ("github:a/b", "github:a/b", None),
        ("git+https://x/y?ref=z#a.b", "git+https://x/y?ref=z", Some("a.b")),
        ("nixpkgs#vm", "nixpkgs", Some("vm")),
    ] {
        let Ok(Parsed::Flake { flake, attribute: found }) = parsed(named) else { panic!("{named}") };
        assert_eq!((flake.reference.as_str(), found.as_deref()), (reference, attribute));
        assert_eq!(flake.dir, None);
    }
}

#[test]
fn local_flakes_know_their_directory() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().canonicalize().unwrap().join("a b#c");
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::write(dir.join("flake.nix"), "").unwrap();
    for named in [dir.clone(), dir.join("sub")] {
        for attribute in [None, Some("x.y")] {
            let typed = match attribute {
                Some(attribute) => format!("{}#{attribute}", named.display()),
                None => named.display().to_string(),
            };
            let Ok(Parsed::Flake { flake, attribute: found }) = parsed(&typed) else { panic!("{typed}") };
            assert_eq!(flake.dir.as_deref(), Some(dir.as_path()), "{typed}");
            assert_eq!(flake.reference, ".");
            assert_eq!(flake.directory(), Some(dir.as_path()));
            assert_eq!(found.as_deref(), attribute);
        }
    }
    let url = format!("path:{}#x", top.path().display());
    let Ok(Parsed::Flake { flake, .. }) = parsed(&url) else { panic!("{url}") };
    assert_eq!(flake.dir, None, "there is no flake.nix in it");
}

#[test]
fn a_directory_may_have_a_query() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().canonicalize().unwrap();
    std::fs::create_dir_all(dir.join("sub")).unwrap();
    std::fs::write(dir.join("sub/flake.nix"), "").unwrap();
    let Ok(Parsed::Flake { flake, attribute }) = parsed(&format!("{}?dir=sub#x", dir.display())) else { panic!() };
    assert_eq!(flake.reference, format!("path:{}?dir=sub", dir.display()));
    assert_eq!((flake.dir, attribute.as_deref()), (Some(dir.join("sub")), Some("x")));
    assert_eq!(parsed(&format!("{}/nowhere?dir=sub#x", dir.display())).unwrap_err().exit, Exit::Usage);
}

#[test]
fn a_commit_is_named_with_the_flake_s_own_query() {
    let top = tempfile::tempdir().unwrap();
    let (origin, clone) = git::shallow_clone(&top.path().canonicalize().unwrap(), &["flake.nix", "hosts/flake.nix"]);
    let flake = |typed: &str| match parsed(typed) {
        Ok(Parsed::Flake { flake, .. }) => flake,
        other => panic!("{typed}: {other:?}"),
    };
    let at = |typed: &str| {
        let flake = flake(typed);
        at_commit(&flake, flake.git_root.as_deref().unwrap(), "0123")
    };
    let (path, url) = (origin.display(), format!("git+file://{}", origin.display()));
    for (typed, named) in [
        (format!("{path}#x"), format!("{url}?rev=0123")),
        (format!("{path}/hosts#x"), format!("{url}?dir=hosts&rev=0123")),
        (format!("{path}?submodules=1#x"), format!("{url}?submodules=1&rev=0123")),
        (format!("{path}/hosts?submodules=1"), format!("{url}?dir=hosts&submodules=1&rev=0123")),
        (format!("{url}?submodules=1&dir=hosts&narHash=x#y"), format!("{url}?dir=hosts&submodules=1&rev=0123")),
        (format!("{url}?shallow=1"), format!("{url}?shallow=1&rev=0123")),
    ] {
        assert_eq!(at(&typed), named, "{typed}");
    }
    // nix refuses a shallow clone without a word on that.
    let (path, url) = (clone.display(), format!("git+file://{}", clone.display()));
    for (typed, named) in [
        (format!("{path}/hosts#x"), format!("{url}?dir=hosts&shallow=1&rev=0123")),
        (format!("{path}?submodules=1#x"), format!("{url}?submodules=1&shallow=1&rev=0123")),
        (format!("{path}?shallow=1"), format!("{url}?shallow=1&rev=0123")),
    ] {
        assert_eq!(at(&typed), named, "{typed}");
    }
    assert_eq!(flake(&format!("{path}?submodules=1")).reference, format!("{url}?submodules=1&shallow=1"));
    assert_eq!(flake(&format!("{path}?shallow=1")).reference, format!("{url}?shallow=1"));
}

#[test]
fn runners_and_configurations() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().canonicalize().unwrap();
    let script = dir.join("vm/bin/run-nixos-vm");
    std::fs::create_dir_all(script.parent().unwrap()).unwrap();
    std::fs::write(&script, "").unwrap();
    std::os::unix::fs::symlink(dir.join("vm"), dir.join("result")).unwrap();
    let runner = Parsed::Target(Target::Runner { script: script.clone() });
    for named in [dir.join("vm"), dir.join("result"), script.clone()] {
        assert_eq!(parsed(&named.to_string_lossy()), Ok(runner.clone()));
    }
    std::fs::write(dir.join("configuration.nix"), "").unwrap();
    let configuration = Parsed::Target(Target::Configuration { file: dir.join("configuration.nix") });
    assert_eq!(parsed(&dir.to_string_lossy()), Ok(configuration.clone()));
    assert_eq!(parsed(&dir.join("configuration.nix").to_string_lossy()), Ok(configuration));
    std::fs::write(dir.join("flake.nix"), "").unwrap();
    assert!(matches!(parsed(&dir.to_string_lossy()), Ok(Parsed::Flake { .. })));
    assert_eq!(parsed(&dir.join("flake.nix").to_string_lossy()).unwrap_err().exit, Exit::Usage);
    std::fs::write(dir.join("x.txt"), "").unwrap();
    assert_eq!(parsed(&dir.join("x.txt").to_string_lossy()).unwrap_err().exit, Exit::Usage);
}
