//! `nixbox init`: the files of a template, written into a directory that has none of them yet.
//!
//! The templates are complete flakes (`flake-templates/`), the same that `nix flake init -t` copies; they are embedded,
//! so that this works without the network. What they share is in `flake-templates/parts/` once, from which
//! `tests/templates.rs` composes them. Git is detected, not run: what is tracked is up to the user.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::InitArgs;
use crate::failure::{Failure, Result};
use crate::resolve::git_root;
use crate::text::{command_line, listed, quote};

/// A file of a template.
#[derive(Debug, Clone, Copy)]
struct TemplateFile {
    name: &'static str,
    text: &'static str,
}

impl TemplateFile {
    /// The only script is executable.
    fn mode(&self) -> u32 {
        if self.name == "vm" { 0o755 } else { 0o644 }
    }
}

/// A template.
#[derive(Debug)]
pub struct Template {
    /// Its name, and that of its directory in `flake-templates/`.
    pub name: &'static str,
    /// One line about it, for the list.
    pub about: &'static str,
    files: &'static [TemplateFile],
    /// What is printed, with nothing written: lines for an existing flake.
    lines: Option<&'static str>,
}

/// A file of a template.
macro_rules! file {
    ($template:literal, $name:literal) => {
        TemplateFile { name: $name, text: include_str!(concat!("../flake-templates/", $template, "/", $name)) }
    };
}

/// A template that is a whole machine.
macro_rules! machine {
    ($name:literal, $about:literal) => {
        Template {
            name: $name,
            about: $about,
            files: &[
                file!($name, "flake.nix"),
                file!($name, "configuration.nix"),
                file!($name, "nixbox.toml"),
                file!($name, "vm"),
                file!($name, "README.md"),
            ],
            lines: None,
        }
    };
}

/// All templates; the first is the default of `nix flake init -t`.
pub const TEMPLATES: [Template; 8] = [
    machine!("gnome", "GNOME, a complete desktop"),
    machine!("plasma", "KDE Plasma 6, a highly configurable desktop"),
    machine!("hyprland", "Hyprland, a tiling compositor with animations"),
    machine!("sway", "Sway, a keyboard-driven tiling compositor"),
    machine!("xfce", "Xfce, a light desktop on X11"),
    machine!("server", "nginx and SSH, without a desktop"),
    machine!("audio", "PipeWire in full, without a desktop"),
    Template {
        name: "existing",
        about: "lines for an existing flake: printed, nothing is written",
        files: &[],
        lines: Some(include_str!("../flake-templates/existing/vm.nix")),
    },
];

/// Asks the user a question and returns the typed line; it is empty at the end of the input.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> io::Result<String>;

/// Writes a template's files. Returns the text for the user.
///
/// Without a name in `arguments` it asks; `ask` is `None` where there is no terminal.
///
/// # Errors
/// Exit 2 for an unknown template, or none, for files that exist already and for an unusable directory; exit 5 when it
/// cannot be written to. Nothing is written then.
pub fn init(arguments: &InitArgs, ask: Option<Ask<'_>>) -> Result<String> {
    let template = match (&arguments.template, ask) {
        (Some(name), _) => named(name)?,
        (None, Some(ask)) => chosen(ask)?,
        (None, None) => {
            return Err(Failure::usage("no template was given")
                .why(table())
                .hint("give one, for example: nixbox init gnome"));
        }
    };
    if let Some(lines) = template.lines {
        return Ok(lines.to_owned());
    }
    let made = directory(&arguments.dir)?;
    if let Err(failure) = write_all(template, &arguments.dir) {
        if made {
            // It is empty, unless another program has written to it meanwhile.
            let _in_use = fs::remove_dir(&arguments.dir);
        }
        return Err(failure);
    }
    Ok(next_steps(template, &arguments.dir))
}

/// The template of this name.
fn named(name: &str) -> Result<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name).ok_or_else(|| {
        let names: Vec<String> = TEMPLATES.iter().map(|template| template.name.to_owned()).collect();
        Failure::usage(format!("unknown template {}", quote(name))).hint(format!("templates: {}", listed(name, &names)))
    })
}

/// The template that the user chooses at the terminal, by number or name.
fn chosen(ask: Ask<'_>) -> Result<&'static Template> {
    let mut question = format!("{}\nwhich one? ", table());
    loop {
        let answer = ask(&question).map_err(|error| Failure::host("the answer cannot be read").because(error))?;
        // The end of the input.
        if answer.is_empty() {
            return Err(Failure::usage("no template was chosen").hint("give one, for example: nixbox init gnome"));
        }
        let answer = answer.trim();
        let by_number = answer.parse::<usize>().ok().and_then(|number| TEMPLATES.get(number.wrapping_sub(1)));
        match by_number.map_or_else(|| named(answer), Ok) {
            Ok(template) => return Ok(template),
            Err(_) => question = format!("a number from 1 to {}, or a name: ", TEMPLATES.len()),
        }
    }
}

/// The templates, numbered, one per line.
fn table() -> String {
    let line =
        |(index, template): (usize, &Template)| format!("{}  {:<9} {}", index + 1, template.name, template.about);
    TEMPLATES.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// Creates the directory if it is missing, but not its parents: a typo there would go unnoticed. Returns whether it did.
fn directory(dir: &Path) -> Result<bool> {
    let failed = |error: io::Error| {
        Failure::host(format!("{} cannot be created", dir.display()))
            .because(error)
            .hint("choose another directory with --dir")
    };
    match fs::metadata(dir) {
        Ok(there) if there.is_dir() => Ok(false),
        Ok(_) => {
            Err(Failure::usage(format!("{} is not a directory", dir.display())).hint("choose another one with --dir"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::create_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let above = dir.parent().unwrap_or(Path::new("/"));
                Err(Failure::usage(format!("{} does not exist", above.display()))
                    .hint(format!("create it first: {}", command_line(["mkdir", "-p", &above.to_string_lossy()]))))
            }
            Err(error) => Err(failed(error)),
        },
        Err(error) => Err(failed(error)),
    }
}

/// Writes all files or none: temporary files first, which are then renamed.
fn write_all(template: &Template, dir: &Path) -> Result<()> {
    // A dangling symlink counts as well.
    let existing: Vec<&str> =
        template.files.iter().map(|file| file.name).filter(|name| dir.join(name).symlink_metadata().is_ok()).collect();
    if !existing.is_empty() {
        return Err(exists(&existing, template, dir));
    }
    let failed = |error: io::Error| {
        Failure::host(format!("cannot write into {}", dir.display()))
            .because(error)
            .hint(format!("choose another directory: nixbox init {} --dir DIR", template.name))
    };
    let mut temporaries = Vec::new();
    for file in template.files {
        temporaries.push((file.name, written(file, dir).map_err(failed)?));
    }
    let mut placed: Vec<PathBuf> = Vec::new();
    for (name, temporary) in temporaries {
        let place = dir.join(name);
        match temporary.persist_noclobber(&place) {
            Ok(_) => placed.push(place),
            Err(error) => {
                // They are ours: none of them existed before.
                placed.iter().for_each(|place| drop(fs::remove_file(place)));
                return Err(match error.error.kind() {
                    ErrorKind::AlreadyExists => exists(&[name], template, dir),
                    _ => failed(error.error),
                });
            }
        }
    }
    Ok(())
}

/// A temporary file with a template's text, removed again unless it is renamed.
fn written(file: &TemplateFile, dir: &Path) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(".nixbox-init-")
        .permissions(Permissions::from_mode(file.mode()))
        .tempfile_in(dir)?;
    temporary.write_all(file.text.as_bytes())?;
    // A full disk may be reported only now.
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

fn exists(names: &[&str], template: &Template, dir: &Path) -> Failure {
    let exist = if names.len() == 1 { "already exists" } else { "already exist" };
    Failure::usage(format!("{} {exist} in {}", names.join(", "), dir.display())).why("nothing was written").hint(
        format!("choose another directory (nixbox init {} --dir DIR), or see `nixbox init existing`", template.name),
    )
}

/// What was written, and what to do next.
fn next_steps(template: &Template, dir: &Path) -> String {
    let names: Vec<&str> = template.files.iter().map(|file| file.name).collect();
    let mut text = format!("wrote {} in {}\n", names.join(", "), dir.display());
    // By its absolute path: the work tree may begin above the directory that a relative path starts from.
    let whole = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let here = dir == Path::new(".");
    let shown = dir.to_string_lossy();
    if git_root(&whole).is_some() {
        let words: &[&str] = if here { &["git", "add"] } else { &["git", "-C", &shown, "add"] };
        let add = command_line(words.iter().chain(&names));
        text.push_str(&format!("\nin a git work tree nix sees tracked files only, so add them first:\n  {add}\n"));
    }
    text.push_str("\nnext:\n");
    if !here {
        text.push_str(&format!("  {}\n", command_line(["cd", &shown])));
    }
    text.push_str("  ./vm               build the machine and show it\n");
    text.push_str("  nixbox try .#vm    test whether it works\n");
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Config;
    use crate::model::Exit;

    fn arguments(template: Option<&str>, dir: &Path) -> InitArgs {
        InitArgs { template: template.map(str::to_owned), dir: dir.to_owned() }
    }

    fn files_in(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A place with a space in its path.
    fn place() -> tempfile::TempDir {
        tempfile::Builder::new().prefix("nixbox init ").tempdir().unwrap()
    }

    #[test]
    fn a_template_is_written_whole_and_its_script_can_be_started() {
        let place = place();
        let dir = place.path().join("new");
        let text = init(&arguments(Some("gnome"), &dir), None).unwrap();
        assert_eq!(files_in(&dir), ["README.md", "configuration.nix", "flake.nix", "nixbox.toml", "vm"]);
        for file in TEMPLATES[0].files {
            assert_eq!(fs::read_to_string(dir.join(file.name)).unwrap(), file.text);
            let mode = fs::metadata(dir.join(file.name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o700, file.mode() & 0o700, "{}", file.name);
        }
        assert!(text.contains(&format!("cd '{}'", dir.display())), "a path with a space is quoted: {text}");
        assert!(!text.contains("git"), "{text}");
    }

    #[test]
    fn in_a_git_work_tree_the_files_to_add_are_named() {
        let place = place();
        fs::create_dir(place.path().join(".git")).unwrap();
        let dir = place.path().join("machines");
        let text = init(&arguments(Some("server"), &dir), None).unwrap();
        let line = format!("  git -C '{}' add flake.nix configuration.nix nixbox.toml vm README.md\n", dir.display());
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_written() {
        let place = place();
        fs::write(place.path().join("vm"), "mine").unwrap();
        symlink("nowhere", place.path().join("README.md")).unwrap();
        let failure = init(&arguments(Some("sway"), place.path()), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.what.starts_with("vm, README.md already exist"), "{failure}");
        assert_eq!(files_in(place.path()), ["README.md", "vm"]);
        assert_eq!(fs::read_to_string(place.path().join("vm")).unwrap(), "mine");
    }

    #[test]
    fn what_comes_into_the_way_meanwhile_takes_the_others_back() {
        let place = place();
        // A file that is named twice is in its own way at the second time.
        let [a, b] = ["a", "b"].map(|name| TemplateFile { name, text: name });
        let files = Box::leak(Box::new([a, b, a]));
        let template = Template { name: "twice", about: "", files, lines: None };
        let failure = write_all(&template, place.path()).unwrap_err();
        assert!(failure.what.starts_with("a already exists"), "{failure}");
        assert_eq!(files_in(place.path()), [""; 0]);
    }

    #[test]
    fn a_directory_that_cannot_be_one_is_named() {
        let place = place();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        let deep = place.path().join("a b/c");
        for (dir, what, hint) in [(&file, "is not a directory", "--dir"), (&deep, "a b does not exist", "mkdir -p '")] {
            let failure = init(&arguments(Some("xfce"), dir), None).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.contains(what) && failure.hint.as_ref().unwrap().contains(hint), "{failure}");
        }
        assert_eq!(files_in(place.path()), ["file"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_directory_that_cannot_be_written_to_is_a_failure_of_this_host() {
        // Not even root may write there.
        for dir in ["/proc/self", "/proc/self/new"] {
            let failure = init(&arguments(Some("audio"), Path::new(dir)), None).unwrap_err();
            assert!(failure.hint.is_some(), "{failure}");
            assert!(failure.exit == Exit::Unknown || dir.ends_with("new"), "{failure}");
        }
    }

    #[test]
    fn a_typo_lists_the_nearest_first() {
        let failure = init(&arguments(Some("gnom"), Path::new("/nowhere")), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.unwrap().starts_with("templates: gnome, "));
    }

    #[test]
    fn without_a_terminal_the_templates_are_listed() {
        let failure = init(&arguments(None, Path::new("/nowhere")), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        insta::assert_snapshot!("list", failure.to_string());
    }

    #[test]
    fn at_a_terminal_a_number_or_a_name_chooses() {
        let place = place();
        for (typed, name) in [(&["9\n", "x\n", "5\n"][..], "xfce"), (&["server\n"], "server")] {
            let dir = place.path().join(name);
            let mut asked = Vec::new();
            let mut ask = |question: &str| {
                asked.push(question.to_owned());
                Ok(typed[asked.len() - 1].to_owned())
            };
            init(&arguments(None, &dir), Some(&mut ask)).unwrap();
            assert!(asked[0].contains("5  xfce") && asked.len() == typed.len(), "{asked:?}");
            assert!(fs::read_to_string(dir.join("configuration.nix")).unwrap().contains(&format!("\"{name}\"")));
        }
        let mut end_of_input = |_: &str| Ok(String::new());
        let failure = init(&arguments(None, place.path()), Some(&mut end_of_input)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn lines_for_an_existing_flake_are_printed_only() {
        let text = init(&arguments(Some("existing"), Path::new("/nowhere")), None).unwrap();
        assert!(text.contains("import ./vm.nix"), "{text}");
    }

    #[test]
    fn each_template_differs_from_the_others_only_where_it_has_to() {
        let text = |template: &Template, name: &str| {
            template.files.iter().find(|file| file.name == name).unwrap().text.to_owned()
        };
        // Flakes differ in their name only.
        let flake = |template: &Template| {
            let named = [format!("name = \"{}\";", template.name), format!("--flake .#{}`", template.name)];
            let flake = text(template, "flake.nix");
            assert!(named.iter().all(|part| flake.contains(part)), "{}", template.name);
            named.iter().fold(flake, |flake, part| flake.replace(part, "NAME"))
        };
        for template in TEMPLATES.iter().filter(|template| template.lines.is_none()) {
            assert_eq!(flake(template), flake(&TEMPLATES[0]), "{}", template.name);
            assert_eq!(text(template, "vm"), text(&TEMPLATES[0], "vm"), "{}", template.name);
            let settings = Config::parse(&text(template, "nixbox.toml"), "nixbox.toml").unwrap().settings_for("");
            assert!(!settings.scripts.is_empty(), "{}", template.name);
            let readme = text(template, "README.md");
            assert!(readme.lines().count() <= 12 && readme.contains("./vm"), "{}", template.name);
        }
    }
}
