//! What real nixpkgs says, as the user is told it. Each text is written as nix prints it, hashes shortened to the same.

use super::tests::{built, said_log};
use super::*;

const INPUT: &str = "/nix/store/gc8zzi2jn8f3kwm1hcr3b1ryyj4d1dqn-source";
const TREE: &str = "/home/u/nixos";

/// (what it is, nix's message)
const EVALUATIONS: [(&str, &str); 18] = [
    (
        "assertion",
        "error:\n       … while evaluating the option `system.build.toplevel':\n\n       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n\n       error:\n       Failed assertions:\n       - You must set the option ‘boot.loader.grub.devices’ or 'boot.loader.grub.mirroredBoots' to make the system bootable.",
    ),
    (
        "option that does not exist",
        "error:\n       … while calling the 'throw' builtin\n         at INPUT/lib/modules.nix:378:13:\n          377|           else\n          378|             throw baseMsg\n             |             ^\n\n       error: The option `virtualisation.vmVariant.services.ngnix' does not exist. Definition values:\n       - In `TREE/hosts/web.nix':\n           {\n             enable = true;\n           }\n\n       Did you mean `services.nginx', `services.nginxx' or `services.nifi'?",
    ),
    (
        "type",
        "error:\n       … while evaluating the option `services.openssh.ports':\n\n       error: A definition for option `virtualisation.vmVariant.services.openssh.ports.\"[definition 1-entry 1]\"' is not of type `16 bit unsigned integer; between 0 and 65535 (both inclusive)'. Definition values:\n       - In `TREE/hosts/web.nix': \"22\"",
    ),
    (
        "conflicting definitions",
        "error: The option `networking.hostName' has conflicting definition values:\n       - In `TREE/hosts/web.nix': \"web\"\n       - In `TREE/common.nix': \"nixos\"\n       Use `lib.mkForce value' or `lib.mkDefault value' to change the priority on any of these definitions.",
    ),
    (
        "unfree",
        "error: Package ‘steam-1.0.0.83’ in INPUT/pkgs/by-name/st/steam-unwrapped/package.nix:41 has an unfree license (‘unfreeRedistributable’), refusing to evaluate.\n\n       a) To temporarily allow unfree packages, you can use an environment variable\n          for a single invocation of the nix tools.\n\n            $ export NIXPKGS_ALLOW_UNFREE=1\n\n       b) For `nixos-rebuild` you can set\n         { nixpkgs.config.allowUnfree = true; }\n       in configuration.nix to override this.",
    ),
    (
        "unfree, today",
        "error: Refusing to evaluate package 'nvidia-x11-580.95' in INPUT/pkgs/os-specific/linux/nvidia-x11/generic.nix:214 because it has an unfree license (‘unfree’)\n\n       a) To temporarily allow unfree packages, you can use an environment variable\n          for a single invocation of the nix tools.",
    ),
    (
        "insecure",
        "error: Refusing to evaluate package 'qtwebengine-5.15.19' in INPUT/pkgs/development/libraries/qt-5/modules/qtwebengine.nix:448 because it is marked as insecure\n\n       Known issues:\n        - qt5 qtwebengine is unmaintained upstream since april 2025.\n\n       You can install it anyway by allowing this package, using the\n       following methods:",
    ),
    (
        "insecure, before",
        "error: Package ‘openssl-1.1.1w’ in INPUT/pkgs/development/libraries/openssl/default.nix:210 is marked as insecure, refusing to evaluate.\n\n\n       Known issues:\n        - OpenSSL 1.1 is reaching its end of life on 2023/09/11\n        - CVE-2024-0000",
    ),
    (
        "broken",
        "error: Package ‘mole-2.0.0’ in INPUT/pkgs/by-name/mo/mole/package.nix:30 is marked as broken, refusing to evaluate.",
    ),
    (
        "another system",
        "error: Package ‘steam-1.0.0.83’ in INPUT/pkgs/by-name/st/steam/package.nix:41 is not available on the requested hostPlatform:\n         hostPlatform.system = \"aarch64-linux\"\n         package.meta.platforms = [\n           \"x86_64-linux\"\n         ]\n       , refusing to evaluate.",
    ),
    (
        "removed option",
        "error:\n       Failed assertions:\n       - The option definition `systemd.extraConfig' in `TREE/modules/core.nix' no longer has any effect; please remove it.\n       Use systemd.settings.Manager instead.",
    ),
    (
        "config in imports",
        "error:\n       … while calling the 'seq' builtin\n         at INPUT/lib/modules.nix:402:18:\n          401|         options = checked options;\n\n       … while evaluating the module argument `config' in \"TREE/hosts/web.nix\":\n\n       … if you get an infinite recursion here, you probably reference `config` in `imports`. If you are trying to achieve a conditional import behavior dependent on `config`, consider importing unconditionally, and using `mkEnableOption` and `mkIf` to control its effect.\n\n       (stack trace truncated; use '--show-trace' to show the full, detailed trace)\n\n       error: infinite recursion encountered\n       at INPUT/lib/modules.nix:652:66:\n          651|       extraArgs = mapAttrs (",
    ),
    (
        "a module argument in imports",
        "error:\n       … while evaluating the module argument `inputs' in \"TREE/flake.nix:anon-1\":\n\n       … noting that argument `inputs` is not externally provided, so querying `_module.args` instead, requiring `config`\n\n       … if you get an infinite recursion here, you probably reference `config` in `imports`. If you are trying to achieve a conditional import behavior dependent on `config`, consider importing unconditionally, and using `mkEnableOption` and `mkIf` to control its effect.\n\n       error: infinite recursion encountered",
    ),
    (
        "infinite recursion",
        "error:\n       … while evaluating the option `networking.hostName':\n\n       … from call site\n         at TREE/hosts/web.nix:9:3:\n            8| x\n\n       error: infinite recursion encountered\n       at INPUT/lib/modules.nix:1:2:",
    ),
    (
        "package that is not there",
        "error:\n       … while evaluating the option `environment.systemPackages':\n\n       error: attribute 'firefx' missing\n       at TREE/hosts/web.nix:12:5:\n           11|   environment.systemPackages = [\n           12|     pkgs.firefx\n             |     ^\n           13|   ];\n       Did you mean one of firefox, firejail or fire?",
    ),
    (
        "undefined variable",
        "error: undefined variable 'firefox'\n       at TREE/hosts/web.nix:12:5:\n           11|   environment.systemPackages = [\n           12|     firefox\n             |     ^\n           13|   ];",
    ),
    (
        "syntax",
        "error: syntax error, unexpected '}', expecting ';'\n       at TREE/hosts/web.nix:7:1:\n            6|   services.nginx.enable = true\n            7| }\n             | ^",
    ),
    (
        "option that a package set lost",
        "error: 'noto-fonts-emoji' has been renamed to/replaced by 'noto-fonts-color-emoji'",
    ),
];

#[test]
fn evaluations() {
    let source = SourceTree { root: Some(TREE.into()), directory: Some(TREE.into()), is_git: true };
    let told = EVALUATIONS.map(|(name, text)| {
        let text = text.replace("INPUT", INPUT).replace("TREE", TREE);
        let failure = evaluation(&said_log(&text), &source, "web");
        format!("## {name}\n{failure}\n")
    });
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("nixpkgs-evaluation", told.join("\n"));
    });
}

#[test]
fn builds() {
    let told = [
        (
            "collision",
            "pkgs.buildEnv error: two given paths contain a conflicting subpath:\n  `/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-python3-3.13.7/bin/idle3' and\n  `/nix/store/210gkdg9m8445as1sl0gsb1ln44sjkgj-python3-3.13.7-env/bin/idle3'\nhint: this may be caused by two different versions of the same package in buildEnv's `paths` parameter\nhint: `pkgs.nix-diff` can be used to compare derivations",
        ),
        ("compiler", "main.c:3:5: error: unknown type name 'foo'\nmake: *** [Makefile:8: all] Error 2"),
        ("sudoers", ">>> /build/sudoers:12:24: syntax error\nalice ALL=(ALL) NOPASWD: ALL\n                ^~~~~~~~\nvisudo: /build/sudoers: parse error near line 12"),
        ("leads over", "checking units\nerror: these units name programs that are not there:\n  web.service: /bin/web\n"),
    ]
    .map(|(name, text)| format!("## {name}\n{}\n", built(text)));
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("nixpkgs-build", told.join("\n"));
    });
}

/// nixpkgs' warnings are notes: of the user's own file, and whole.
#[test]
fn warnings() {
    let (events, mut receiver) = crate::event::Events::channel();
    let mut log = NixLog::default();
    log.source = SourceTree { root: Some(TREE.into()), directory: Some(TREE.into()), is_git: true };
    let text = format!(
        "evaluation warning: The option `virtualisation.vmVariant.services.xserver.displayManager.autoLogin.user' defined in `{TREE}/hosts/web.nix' has been renamed to `services.displayManager.autoLogin.user'."
    );
    log.take(&format!("@nix {}", serde_json::json!({ "action": "msg", "level": 1, "msg": text })), &events);
    drop(events);
    let Ok(crate::event::Event::Note(note)) = receiver.try_recv() else { panic!("no note") };
    assert_eq!(
        note,
        "the configuration warns: The option `services.xserver.displayManager.autoLogin.user' defined in `hosts/web.nix' has been renamed to `services.displayManager.autoLogin.user'."
    );
}
