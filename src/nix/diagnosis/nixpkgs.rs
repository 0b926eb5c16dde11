//! What nixpkgs and NixOS's module system refuse in messages of many lines: what it is in one, and what to write.
//!
//! Such a headline is never cut: who reads half a reason looks for the rest of it.

use super::excerpt::ErrorParts;
use super::headline::short;
use super::patterns::{
    AVAILABLE, CONFLICT, INSECURE_ISSUES, MADE_TWICE, MARKED, MISSING_ATTRIBUTE, MODULE_ARGUMENT, REFUSED, REMOVED,
    SUGGESTED, UNFREE, UNNAMED_ARGUMENT, find,
};
use super::source_tree::SourceTree;

/// What is refused, and the advice.
pub(super) struct Refusal {
    pub(super) what: String,
    pub(super) hint: Option<String>,
    /// Whether it says all of the message.
    is_whole: bool,
}

impl Refusal {
    /// What is left to be told of the message: it says its first line in other words.
    pub(super) fn rest(&self, why: &str) -> Option<String> {
        let rest = why.lines().skip(1).skip_while(|line| line.trim().is_empty()).collect::<Vec<_>>().join("\n");
        Some(rest).filter(|rest| !rest.trim().is_empty() && !self.is_whole)
    }
}

/// What a message means, where it is one that is known.
pub(super) fn refusal(parts: &ErrorParts, source: &SourceTree) -> Option<Refusal> {
    let text = parts.message.join("\n");
    package(&text)
        .or_else(|| removed_option(&text, source))
        .or_else(|| missing_argument(parts, source))
        .or_else(|| recursive_imports(parts, source))
}

/// A package that nixpkgs does not evaluate: its license, known issues, that it is broken or for other systems.
fn package(text: &str) -> Option<Refusal> {
    let found = find(&REFUSED, text)?;
    let name = found.get(1).or_else(|| found.get(2))?.as_str();
    let refuse =
        |why: String, hint: String| Some(Refusal { what: format!("{name} {why}"), hint: Some(hint), is_whole: false });
    if let Some(license) = find(&UNFREE, text) {
        let package = package_name(name);
        return refuse(
            format!("has an unfree license ({})", &license[1]),
            format!(
                "allow it: nixpkgs.config.allowUnfreePredicate = pkg: builtins.elem (lib.getName pkg) [ \"{package}\" ]; \
                 or all: nixpkgs.config.allowUnfree = true;"
            ),
        );
    }
    if text.contains("marked as insecure") || text.contains("marked insecure") {
        let issue = find(&INSECURE_ISSUES, text).map_or_else(String::new, |found| format!(": {}", found[1].trim()));
        return refuse(
            format!("is marked as insecure{}", issue.trim_end_matches('.')),
            format!("if that is acceptable: nixpkgs.config.permittedInsecurePackages = [ \"{name}\" ];"),
        );
    }
    if find(&AVAILABLE, text).is_some() {
        let system = text.lines().find_map(|line| line.trim().strip_prefix("hostPlatform.system = "));
        let system = system.map_or("this system", |system| system.trim_matches('"'));
        return refuse(
            format!("is not available on {system}"),
            "leave it out there, or allow it: nixpkgs.config.allowUnsupportedSystem = true;".to_owned(),
        );
    }
    let marked = find(&MARKED, text)?;
    refuse(
        format!("is marked as {}", &marked[1]),
        "use another version or package; nixpkgs.config.allowBroken = true; evaluates it all the same".to_owned(),
    )
}

/// The name without its version, as `lib.getName` splits it: before the first dash that no letter follows.
fn package_name(name: &str) -> &str {
    let end = name.match_indices('-').find(|(at, _)| !name[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic()));
    end.map_or(name, |(at, _)| &name[..at])
}

/// `mkRemovedOptionModule`'s assertion, or what is thrown where such an option is read: what it says to do instead is
/// on the lines behind.
fn removed_option(text: &str, source: &SourceTree) -> Option<Refusal> {
    let text = text.replace(" '\n", "' ");
    let found = find(&REMOVED, &text)?;
    let (option, file) = (found[1].to_owned(), found.get(2).map(|file| short(file.as_str(), source)));
    let rest: Vec<&str> = text[found.get(0)?.end()..]
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty() && !line.starts_with("- "))
        .collect();
    let instead = rest.join(" ");
    let instead = instead.trim_end_matches('.');
    let failed = text.lines().filter(|line| line.starts_with("- ")).count();
    let more = if failed > 1 { format!(" (and {} more)", failed - 1) } else { String::new() };
    let place = file.map_or_else(String::new, |file| format!("{file}: "));
    let what = if instead.is_empty() {
        format!("{place}{option} was removed from NixOS{more}")
    } else {
        format!("{place}{option} was removed from NixOS: {instead}{more}")
    };
    let hint = found.get(2).map(|file| format!("remove it from {}", short(file.as_str(), source)));
    Some(Refusal { what, hint, is_whole: failed == 1 })
}

/// An argument that a module asks for and nobody passes: the module system looks it up, and finds no such attribute.
fn missing_argument(parts: &ErrorParts, source: &SourceTree) -> Option<Refusal> {
    let found = find(&MISSING_ATTRIBUTE, parts.message.first()?)?;
    let name = found.get(1)?.as_str();
    parts.position.as_deref().filter(|place| place.contains("/lib/modules.nix:"))?;
    let mut asking = parts.traces.iter().rev().filter_map(|(doing, _)| find(&MODULE_ARGUMENT, doing));
    let file = asking.find(|asked| &asked[1] == name).map(|asked| short(asked[2].trim_end_matches(':'), source));
    let module = file.filter(|file| file.contains(".nix")).unwrap_or_else(|| "a module".to_owned());
    let hint =
        format!("pass it: specialArgs = {{ inherit {name}; }}; (extraSpecialArgs for a module of home-manager's)");
    Some(Refusal {
        what: format!("{module} asks for the module argument `{name}`, which nobody passes"),
        hint: Some(hint),
        is_whole: false,
    })
}

/// nixpkgs says in the trace what an infinite recursion most likely comes from: that advice, and its place.
fn recursive_imports(parts: &ErrorParts, source: &SourceTree) -> Option<Refusal> {
    if !parts.message.first()?.contains("infinite recursion encountered") {
        return None;
    }
    let advice = parts.traces.iter().find_map(|(doing, _)| {
        let advice = doing.strip_prefix("if you get an infinite recursion here, ")?;
        Some(advice.trim_end_matches('.').to_owned())
    })?;
    // The module that asked for it: `while evaluating the module argument `config' in "FILE"`.
    let asking = parts.traces.iter().filter_map(|(doing, _)| find(&MODULE_ARGUMENT, doing));
    let asked: Vec<(String, String)> =
        asking.map(|found| (found[1].to_owned(), short(found[2].trim_end_matches(':'), source))).collect();
    let users = |file: &str| !file.starts_with('…') && file.contains(".nix");
    let module = asked.iter().rev().find(|(_, file)| users(file)).or(asked.last());
    let place = parts
        .places()
        .find_map(|place| source.relative(place))
        .map(str::to_owned)
        .or_else(|| module.map(|(_, file)| file.clone()));
    let (first, rest) = advice.split_once(". ").unwrap_or((advice.as_str(), ""));
    let argument = module.filter(|(argument, _)| argument != "config");
    let what = match (argument, first.strip_prefix("you probably reference ")) {
        (Some((argument, _)), _) => {
            format!("infinite recursion: `imports` needs the module argument `{argument}`, which needs `config`")
        }
        (None, Some(referenced)) => format!("infinite recursion: you probably reference {referenced}"),
        (None, None) => format!("infinite recursion: {first}"),
    };
    let what = place.map_or_else(|| what.clone(), |place| format!("{what} ({place})"));
    let hint = match (argument, rest) {
        (Some((argument, _)), _) => Some(format!("pass `{argument}` by specialArgs instead of _module.args")),
        (None, "") => None,
        (None, rest) => Some(
            rest.strip_prefix("If you are trying to achieve a ")
                .map_or_else(|| rest.to_owned(), |rest| format!("for a {rest}")),
        ),
    };
    Some(Refusal { what, hint, is_whole: false })
}

/// What nix or the module system proposes in place of a name that is not there.
pub(super) fn suggestion(parts: &ErrorParts) -> Option<String> {
    let text = parts.message.join(" ");
    if let Some(found) = find(&UNNAMED_ARGUMENT, &text) {
        return Some(format!("name it among the arguments at the head of the file: {{ {}, ... }}:", &found[1]));
    }
    let found = find(&SUGGESTED, &text)?;
    Some(format!("did you mean {}?", found[1].trim().trim_start_matches("one of ")))
}

/// A message without the lines that the suggestion is on.
pub(super) fn without_suggestion(why: &str) -> String {
    let lines: Vec<&str> = why.lines().filter(|line| !line.trim_start().starts_with("Did you mean ")).collect();
    lines.join("\n").trim_end().to_owned()
}

/// The two packages that hold the same file, as buildEnv's builder says on two lines, or the two sources of one in /etc, and
/// what to do.
pub(super) fn conflict(log: &str) -> Option<Refusal> {
    if let Some(found) = find(&MADE_TWICE, log) {
        let source = |path: &str| {
            let path = path.strip_prefix("/nix/store/").and_then(|path| path.get(33..)).unwrap_or(path);
            path.to_owned()
        };
        let (file, one, other) = (&found[1], source(&found[2]), source(&found[3]));
        return Some(Refusal {
            what: format!("/etc/{file} is made twice, of {one} and of {other}"),
            hint: Some(format!("leave one of the two out: look for {file} in environment.etc and in what makes it")),
            is_whole: false,
        });
    }
    let found = find(&CONFLICT, log)?;
    let name = |path: &str| path.rsplit_once("/nix/store/").map_or(path, |(_, path)| path).to_owned();
    let (one, other) = (name(&found[1]), name(&found[2]));
    let split = |path: &str| {
        let (package, file) = path.split_once('/')?;
        Some((package.get(33..)?.to_owned(), file.to_owned()))
    };
    let ((one, file), (other, _)) = (split(&one)?, split(&other)?);
    Some(Refusal {
        what: format!("{one} and {other} both have {file}"),
        hint: Some("leave one of the two out, or let one win: (lib.hiPrio pkgs.NAME)".to_owned()),
        is_whole: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_modules() {
        let lookup = "error: attribute 'inputs' missing\n       at /nix/store/gc8zzi2jn8f3kwm1hcr3b1ryyj4d1dqn-source/lib/modules.nix:685:13:\n          684|             x\n             |             ^";
        let what = |text: &str| refusal(&ErrorParts::of(text), &SourceTree::default()).map(|refusal| refusal.what);
        let nobody =
            |module: &str| Some(format!("{module} asks for the module argument `inputs`, which nobody passes"));
        for (file, module) in [("hosts/web.nix", "hosts/web.nix"), (":anon-1974:anon-1", "a module")] {
            let asked = format!(
                "error:\n       … while evaluating the module argument `inputs' in \"{file}\":\n\n       … noting that argument `inputs` is not externally provided, so querying `_module.args` instead, requiring `config`\n\n       {lookup}"
            );
            assert_eq!(what(&asked), nobody(module));
        }
        assert_eq!(what(lookup), nobody("a module"));
        assert_eq!(what("error: attribute 'inputs' missing\n       at /home/u/flake.nix:3:5:"), None);
        let hint = |text: &str| suggestion(&ErrorParts::of(text));
        assert!(hint("error: undefined variable 'pkgs'\n       at /home/u/a.nix:3:5:").is_some());
        assert_eq!(hint("error: undefined variable 'firefox'"), None);
    }

    #[test]
    fn a_file_of_etc_that_is_made_twice() {
        let store = |name: &str| format!("/nix/store/110gkdg9m8445as1sl0gsb1ln44sjkgj-{name}");
        let (one, other) = (store("a.conf"), store("b.conf"));
        let log = format!("duplicate entry pulse/client.conf -> {other}\nmismatched duplicate entry {one} <-> {other}");
        let what = conflict(&log).map(|refusal| refusal.what);
        assert_eq!(what.as_deref(), Some("/etc/pulse/client.conf is made twice, of a.conf and of b.conf"));
    }

    #[test]
    fn names_without_versions() {
        for (name, package) in [
            ("steam-1.0", "steam"),
            ("nvidia-x11-570.86", "nvidia-x11"),
            ("vim", "vim"),
            ("nodejs-slim-20.1", "nodejs-slim"),
        ] {
            assert_eq!(package_name(name), package);
        }
    }
}
