//! Store paths in texts: found, and taken for what they are called, so that a path that merely moved is no difference.

use std::cmp::Ordering;
use std::ops::Range;

use crate::nix::STORE_DIR;

/// Characters of a store path's hash.
const HASH: usize = 32;

/// Where store paths stand in a text: from their first character to the end of their name.
pub(crate) fn store_paths(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(STORE_DIR).map(|at| from + at) {
        from = at + STORE_DIR.len();
        let hash = from + 1;
        let is_hash = bytes.get(hash..hash + HASH).is_some_and(|hash| hash.iter().all(u8::is_ascii_alphanumeric));
        if bytes.get(from) != Some(&b'/') || !is_hash || bytes.get(hash + HASH) != Some(&b'-') {
            continue;
        }
        let name = hash + HASH + 1;
        let of_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+._?=-".contains(byte);
        let end = name + bytes[name..].iter().take_while(of_name).count();
        if end > name {
            found.push(at..end);
            from = end;
        }
    }
    found
}

/// The whole file that a store path at the beginning of a text names: up to what ends a word.
pub(crate) fn whole_path(text: &str) -> &str {
    let ends = |c: char| c.is_whitespace() || "\"'`;,:()<>|&{}[]$*\\".contains(c);
    text[..text.find(ends).unwrap_or(text.len())].trim_end_matches(['.', '/'])
}

/// The name of a store path, without directory and hash.
pub(crate) fn name_of(path: &str) -> &str {
    let name = path.strip_prefix(STORE_DIR).and_then(|path| path.strip_prefix('/')).unwrap_or(path);
    let name = name.split('/').next().unwrap_or(name);
    name.get(HASH + 1..).filter(|_| name.as_bytes().get(HASH) == Some(&b'-')).unwrap_or(name)
}

/// A text with the names of store paths instead of them: what is shown.
pub(crate) fn readable(text: &str) -> String {
    replaced(text, |name| name.to_owned())
}

/// The same without versions: what is compared.
pub(crate) fn nameless(text: &str) -> String {
    replaced(text, |name| split(name).0.to_owned())
}

fn replaced(text: &str, as_: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for range in store_paths(text) {
        out.push_str(&text[from..range.start]);
        out.push_str(&as_(name_of(&text[range.clone()])));
        from = range.end;
    }
    out.push_str(&text[from..]);
    out
}

/// Name and version, as nix divides them (`builtins.parseDrvName`): a version begins after the first dash that no
/// letter follows. What an output is called is none of it.
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    let bytes = name.as_bytes();
    let dash = (1..bytes.len()).find(|&at| bytes[at - 1] == b'-' && !bytes[at].is_ascii_alphabetic());
    let Some(at) = dash else { return (name, None) };
    let mut version = &name[at..];
    while let Some((before, output)) = version.rsplit_once('-')
        && OUTPUTS.contains(&output)
    {
        version = before;
    }
    (&name[..at - 1], Some(version))
}

/// Whether a store path is a package's, by its name: `dbus-1` is a directory of configuration, `tzdata-2026a` is none.
pub(crate) fn is_package(name: &str) -> bool {
    split(name).1.is_some_and(|version| version.contains('.') || version.len() > 3)
}

/// What nixpkgs calls outputs.
const OUTPUTS: [&str; 14] = [
    "bin", "man", "lib", "dev", "doc", "info", "out", "data", "modules", "static", "terminfo", "getent", "debug",
    "devdoc",
];

/// Which version is the later one, as nix has it (`builtins.compareVersions`).
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (components(a).into_iter(), components(b).into_iter());
    loop {
        let (left, right) = (a.next(), b.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
        if less(&left, &right) {
            return Ordering::Less;
        }
        if less(&right, &left) {
            return Ordering::Greater;
        }
    }
}

/// Runs of digits and runs of other characters.
fn components(version: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut last: Option<bool> = None;
    for c in version.chars() {
        if c == '.' || c == '-' {
            last = None;
            continue;
        }
        let is_digit = c.is_ascii_digit();
        if last == Some(is_digit) {
            if let Some(component) = all.last_mut() {
                component.push(c);
            }
        } else {
            all.push(c.to_string());
        }
        last = Some(is_digit);
    }
    all
}

fn less(a: &str, b: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a < b,
        (None, Some(_)) if a.is_empty() => true,
        _ if a == "pre" && b != "pre" => true,
        _ if b == "pre" => false,
        (None, Some(_)) => true,
        (Some(_), None) => false,
        (None, None) => a < b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nginx-1.26.2";

    #[test]
    fn a_path_that_moved_is_no_difference() {
        let other = A.replace("0123", "3210").replace("1.26.2", "1.27.0");
        let (a, b) = (format!("x \"{A}/bin/nginx\" -c {A}"), format!("x \"{other}/bin/nginx\" -c {other}"));
        assert_eq!(nameless(&a), nameless(&b));
        assert_eq!(nameless(&a), "x \"nginx/bin/nginx\" -c nginx");
        assert_eq!(readable(&b), "x \"nginx-1.27.0/bin/nginx\" -c nginx-1.27.0");
        assert_eq!(whole_path(&format!("{A}/bin/nginx\" -c")), format!("{A}/bin/nginx"));
        assert_eq!(name_of(&format!("{A}/bin/nginx")), "nginx-1.26.2");
        for none in ["/nix/store/", "/nix/store/short-x", "/nix/store/0123456789abcdfghijklmnpqrsvwxyz", "/nix/störe/x"]
        {
            assert_eq!(readable(none), none);
        }
    }

    #[test]
    fn names_and_versions_as_nix_divides_them() {
        let cases = [
            ("nginx-1.26.2", "nginx", Some("1.26.2")),
            ("nix-2.8.0pre-x", "nix", Some("2.8.0pre-x")),
            ("unit-foo.service", "unit-foo.service", None),
            ("gtk+3-3.24.1-dev", "gtk+3", Some("3.24.1")),
            ("linux-6.12.5-modules", "linux", Some("6.12.5")),
            ("openssl-3.0.13-bin", "openssl", Some("3.0.13")),
            ("python3.12-six-1.16.0", "python3.12-six", Some("1.16.0")),
            ("-", "-", None),
            ("a-", "a-", None),
            ("", "", None),
        ];
        for (name, pname, version) in cases {
            assert_eq!(split(name), (pname, version), "{name}");
        }
    }

    #[test]
    fn versions_in_their_order() {
        for (a, b) in [
            ("1.0", "2.3"),
            ("2.1", "2.3"),
            ("2.3", "2.3.1"),
            ("2.3pre1", "2.3"),
            ("2.3pre3", "2.3pre12"),
            ("2.3a", "2.3c"),
            ("2.3pre1", "2.3c"),
            ("2.3pre1", "2.3q"),
            ("1.9", "1.10"),
        ] {
            assert_eq!(compare_versions(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare_versions(b, a), Ordering::Greater, "{b} {a}");
        }
        assert_eq!(compare_versions("2.3", "2.3"), Ordering::Equal);
    }
}
