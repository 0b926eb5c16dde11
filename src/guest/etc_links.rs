//! Links in /etc that lead nowhere: of `environment.etc` whose source does not exist, and of a time zone that does not.
//! nix builds /etc without looking at what is inside of the packages that it links to.

use super::facts::DanglingLink;
use crate::text::bounded;

/// Prints the path of each link that leads nowhere, a tab, and where it would lead in the end; three levels deep, and not
/// below directories that are links themselves.
pub(super) const SCRIPT: &str = r#"for X in /etc/* /etc/*/* /etc/*/*/*; do
 [ -L "$X" ] && [ ! -e "$X" ] && [ "$(readlink -f -- "${X%/*}")" = "${X%/*}" ] &&
  printf '%s\t%s\n' "$X" "$(readlink -m -- "$X")"
done"#;

/// Most links that are kept.
const MOST: usize = 64;

/// Reads what [`SCRIPT`] printed.
pub(super) fn links(lines: &str) -> Vec<DanglingLink> {
    let links = lines.lines().filter_map(|line| {
        let (path, target) = line.split_once('\t')?;
        Some(DanglingLink { path: bounded(path, 1024), target: bounded(target, 1024) })
    });
    links.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn links_that_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().canonicalize().unwrap().join("etc");
        std::fs::create_dir_all(etc.join("xdg/app/deep/er")).unwrap();
        std::fs::write(etc.join("here"), "").unwrap();
        let target = directory.path().join("static");
        for (path, to) in [
            ("fine", "here"),
            ("localtime", "zoneinfo/Nowhere"),
            ("xdg/app/conf", "/nix/store/x-app/etc/conf"),
            ("xdg/app/deep/er/conf", "/gone"),
            ("linked", "xdg"),
        ] {
            symlink(to, etc.join(path)).unwrap();
        }
        symlink(&target, etc.join("static")).unwrap();
        std::fs::create_dir_all(target.join("inside")).unwrap();
        symlink("/gone", target.join("gone")).unwrap();
        symlink("/gone", target.join("inside/gone")).unwrap();
        let script = SCRIPT.replace("/etc/", &format!("{}/", etc.display()));
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        let found = links(&String::from_utf8(output.stdout).unwrap());
        let told: Vec<_> =
            found.iter().map(|it| (it.path.strip_prefix(etc.to_str().unwrap()).unwrap(), &*it.target)).collect();
        let zone = etc.join("zoneinfo/Nowhere").display().to_string();
        assert_eq!(told, [("/localtime", &*zone), ("/xdg/app/conf", "/nix/store/x-app/etc/conf")]);
    }
}
