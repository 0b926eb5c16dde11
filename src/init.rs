//! `nixbox init`: the files of a template, written into a directory that has none of them yet.
//!
//! The templates are complete flakes (`flake-templates/`), the same that `nix flake init -t` copies; they are embedded,
//! so that this works without the network. What they share stands once, in `flake-templates/parts/`, from which
//! `tests/templates.rs` composes them. Git is looked for, not run: what is tracked is the user's to say.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::InitArgs;
use crate::failure::{Failure, Result};
use crate::resolve::{git_root, listed};
use crate::text::{command_line, quote};

/// A file of a template.
#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    text: &'static str,
}

impl File {
    /// The one script is started by its name.
    fn mode(&self) -> u32 {
        if self.name == "vm" { 0o755 } else { 0o644 }
    }
}

/// What can be asked for.
#[derive(Debug)]
pub struct Template {
    /// Its name, and that of its directory in `flake-templates/`.
    pub name: &'static str,
    /// What it is, for somebody who chooses.
    pub about: &'static str,
    files: &'static [File],
    /// What is printed instead of written: lines for a flake that is there already.
    lines: Option<&'static str>,
}

/// A file of a template, by the template's name.
macro_rules! file {
    ($template:literal, $name:literal) => {
        File { name: $name, text: include_str!(concat!("../flake-templates/", $template, "/", $name)) }
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
    machine!("gnome", "GNOME, a desktop that is complete at once"),
    machine!("plasma", "KDE Plasma 6, a desktop with a setting for everything"),
    machine!("hyprland", "Hyprland, a tiling compositor with animations"),
    machine!("sway", "Sway, a tiling compositor for the keyboard"),
    machine!("xfce", "Xfce, a light desktop on X11"),
    machine!("server", "nginx and SSH, without a desktop"),
    machine!("audio", "PipeWire in full, without a desktop"),
    Template {
        name: "existing",
        about: "the lines for a flake that is there already: printed, nothing is written",
        files: &[],
        lines: Some(include_str!("../flake-templates/existing/vm.nix")),
    },
];

/// Asks somebody a question, for the line that is typed; it is empty where there will be none.
pub type Ask<'a> = &'a mut dyn FnMut(&str) -> io::Result<String>;

/// Writes a template's files. Answers with what to tell the user.
///
/// Without a name in `arguments` it asks; `ask` is `None` where there is nobody.
///
/// # Errors
/// Exit 2 for a template that is not there, or none that is chosen, for files that are in the way and for a directory
/// that cannot be one; exit 5 when it cannot be written to. Nothing is written then.
pub fn init(arguments: &InitArgs, ask: Option<Ask<'_>>) -> Result<String> {
    let template = match (&arguments.template, ask) {
        (Some(name), _) => named(name)?,
        (None, Some(ask)) => chosen(ask)?,
        (None, None) => {
            return Err(Failure::usage("no template is named").why(table()).hint("name one: nixbox init gnome"));
        }
    };
    if let Some(lines) = template.lines {
        return Ok(lines.to_owned());
    }
    let made = directory(&arguments.dir)?;
    if let Err(failure) = write_all(template, &arguments.dir) {
        if made {
            // It is empty; where it is not, it is no longer ours alone.
            let _in_use = fs::remove_dir(&arguments.dir);
        }
        return Err(failure);
    }
    Ok(told(template, &arguments.dir))
}

/// The template of this name.
fn named(name: &str) -> Result<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name).ok_or_else(|| {
        let names: Vec<String> = TEMPLATES.iter().map(|template| template.name.to_owned()).collect();
        Failure::usage(format!("there is no template {}", quote(name)))
            .hint(format!("there are: {}", listed(name, &names)))
    })
}

/// The template that somebody at a terminal chooses, by its number or name.
fn chosen(ask: Ask<'_>) -> Result<&'static Template> {
    let mut question = format!("{}\nwhich one? ", table());
    loop {
        let answer = ask(&question).map_err(|error| Failure::host("the answer cannot be read").because(error))?;
        // The end of the input: there will be no other answer.
        if answer.is_empty() {
            return Err(Failure::usage("no template is chosen").hint("name one: nixbox init gnome"));
        }
        let answer = answer.trim();
        let by_number = answer.parse::<usize>().ok().and_then(|number| TEMPLATES.get(number.wrapping_sub(1)));
        match by_number.map_or_else(|| named(answer), Ok) {
            Ok(template) => return Ok(template),
            Err(_) => question = format!("a number from 1 to {}, or a name: ", TEMPLATES.len()),
        }
    }
}

/// The templates, numbered, a line each.
fn table() -> String {
    let line =
        |(index, template): (usize, &Template)| format!("{}  {:<9} {}", index + 1, template.name, template.about);
    TEMPLATES.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// Makes the directory where it is missing, but none above it: a slip there would go unnoticed. Says whether it did.
fn directory(dir: &Path) -> Result<bool> {
    let failed = |error: io::Error| {
        Failure::host(format!("{} cannot be made", dir.display()))
            .because(error)
            .hint("name another directory by --dir")
    };
    match fs::metadata(dir) {
        Ok(there) if there.is_dir() => Ok(false),
        Ok(_) => Err(Failure::usage(format!("{} is no directory", dir.display())).hint("name another one by --dir")),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::create_dir(dir) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let above = dir.parent().unwrap_or(Path::new("/"));
                Err(Failure::usage(format!("{} is not there", above.display()))
                    .hint(format!("make it first: {}", command_line(["mkdir", "-p", &above.to_string_lossy()]))))
            }
            Err(error) => Err(failed(error)),
        },
        Err(error) => Err(failed(error)),
    }
}

/// Writes all files or none: each beside its place first, then each into its place.
fn write_all(template: &Template, dir: &Path) -> Result<()> {
    // A link that leads nowhere is in the way too.
    let in_the_way: Vec<&str> =
        template.files.iter().map(|file| file.name).filter(|name| dir.join(name).symlink_metadata().is_ok()).collect();
    if !in_the_way.is_empty() {
        return Err(exists(&in_the_way, template, dir));
    }
    let failed = |error: io::Error| {
        Failure::host(format!("cannot write into {}", dir.display()))
            .because(error)
            .hint(format!("name another directory: nixbox init {} --dir DIR", template.name))
    };
    let mut beside = Vec::new();
    for file in template.files {
        beside.push((file.name, written(file, dir).map_err(failed)?));
    }
    let mut placed: Vec<PathBuf> = Vec::new();
    for (name, temporary) in beside {
        let place = dir.join(name);
        match temporary.persist_noclobber(&place) {
            Ok(_) => placed.push(place),
            Err(error) => {
                // They are ours: their places were free.
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

/// A file with a template's text, which goes by itself unless it is put into its place.
fn written(file: &File, dir: &Path) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(".nixbox-init-")
        .permissions(Permissions::from_mode(file.mode()))
        .tempfile_in(dir)?;
    temporary.write_all(file.text.as_bytes())?;
    // A full disk may say so only now.
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

fn exists(names: &[&str], template: &Template, dir: &Path) -> Failure {
    let there = if names.len() == 1 { "is there already" } else { "are there already" };
    Failure::usage(format!("{} {there}, in {}", names.join(", "), dir.display())).why("nothing was written").hint(
        format!("choose another directory (nixbox init {} --dir DIR), or see `nixbox init existing`", template.name),
    )
}

/// What to tell the user: what is there now, and what comes next.
fn told(template: &Template, dir: &Path) -> String {
    let names: Vec<&str> = template.files.iter().map(|file| file.name).collect();
    let mut told = format!("wrote {} in {}\n", names.join(", "), dir.display());
    // By its whole path: git may be above the directory that a relative one begins in.
    let whole = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let here = dir == Path::new(".");
    let shown = dir.to_string_lossy();
    if git_root(&whole).is_some() {
        let words: &[&str] = if here { &["git", "add"] } else { &["git", "-C", &shown, "add"] };
        let add = command_line(words.iter().chain(&names));
        told.push_str(&format!("\nin a git work tree nix sees tracked files only, so first:\n  {add}\n"));
    }
    told.push_str("\nnext:\n");
    if !here {
        told.push_str(&format!("  {}\n", command_line(["cd", &shown])));
    }
    told.push_str("  ./vm               build the machine and see it\n");
    told.push_str("  nixbox try .#vm    whether it works, and why not\n");
    told
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
        let told = init(&arguments(Some("gnome"), &dir), None).unwrap();
        assert_eq!(files_in(&dir), ["README.md", "configuration.nix", "flake.nix", "nixbox.toml", "vm"]);
        for file in TEMPLATES[0].files {
            assert_eq!(fs::read_to_string(dir.join(file.name)).unwrap(), file.text);
            let mode = fs::metadata(dir.join(file.name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o700, file.mode() & 0o700, "{}", file.name);
        }
        assert!(told.contains(&format!("cd '{}'", dir.display())), "a path with a space is quoted: {told}");
        assert!(!told.contains("git"), "{told}");
    }

    #[test]
    fn in_a_git_work_tree_the_files_to_add_are_told() {
        let place = place();
        fs::create_dir(place.path().join(".git")).unwrap();
        let dir = place.path().join("machines");
        let told = init(&arguments(Some("server"), &dir), None).unwrap();
        let line = format!("  git -C '{}' add flake.nix configuration.nix nixbox.toml vm README.md\n", dir.display());
        assert!(told.contains(&line), "{told}");
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_half_written() {
        let place = place();
        fs::write(place.path().join("vm"), "mine").unwrap();
        symlink("nowhere", place.path().join("README.md")).unwrap();
        let failure = init(&arguments(Some("sway"), place.path()), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.what.starts_with("vm, README.md are there already"), "{failure}");
        assert_eq!(files_in(place.path()), ["README.md", "vm"]);
        assert_eq!(fs::read_to_string(place.path().join("vm")).unwrap(), "mine");
    }

    #[test]
    fn what_comes_into_the_way_meanwhile_takes_the_others_back() {
        let place = place();
        // A file that is named twice is in its own way at the second time.
        let [a, b] = ["a", "b"].map(|name| File { name, text: name });
        let files = Box::leak(Box::new([a, b, a]));
        let template = Template { name: "twice", about: "", files, lines: None };
        let failure = write_all(&template, place.path()).unwrap_err();
        assert!(failure.what.starts_with("a is there already"), "{failure}");
        assert_eq!(files_in(place.path()), [""; 0]);
    }

    #[test]
    fn a_directory_that_cannot_be_one_is_named() {
        let place = place();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        let deep = place.path().join("a b/c");
        for (dir, what, hint) in [(&file, "is no directory", "--dir"), (&deep, "a b is not there", "mkdir -p '")] {
            let failure = init(&arguments(Some("xfce"), dir), None).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.contains(what) && failure.hint.as_ref().unwrap().contains(hint), "{failure}");
        }
        assert_eq!(files_in(place.path()), ["file"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_directory_that_cannot_be_written_to_is_this_hosts_fault() {
        // Where even root may not write.
        for dir in ["/proc/self", "/proc/self/new"] {
            let failure = init(&arguments(Some("audio"), Path::new(dir)), None).unwrap_err();
            assert!(failure.hint.is_some(), "{failure}");
            assert!(failure.exit == Exit::Unknown || dir.ends_with("new"), "{failure}");
        }
    }

    #[test]
    fn a_slip_names_the_nearest_first() {
        let failure = init(&arguments(Some("gnom"), Path::new("/nowhere")), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.unwrap().starts_with("there are: gnome, "));
    }

    #[test]
    fn without_a_terminal_the_templates_are_listed() {
        let failure = init(&arguments(None, Path::new("/nowhere")), None).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let why = failure.why.unwrap();
        assert!(TEMPLATES.iter().all(|template| why.contains(template.name)), "{why}");
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
        let mut nobody = |_: &str| Ok(String::new());
        let failure = init(&arguments(None, place.path()), Some(&mut nobody)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn lines_for_a_flake_that_is_there_are_printed_only() {
        let told = init(&arguments(Some("existing"), Path::new("/nowhere")), None).unwrap();
        assert!(told.contains("import ./vm.nix"), "{told}");
    }

    #[test]
    fn each_template_differs_from_the_others_only_where_it_has_to() {
        let text = |template: &Template, name: &str| {
            template.files.iter().find(|file| file.name == name).unwrap().text.to_owned()
        };
        // Its name is all that a flake says of its own.
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
