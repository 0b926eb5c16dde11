//! The report as one page that needs nothing else: no network, no script, no file beside it. Pictures, sounds and logs
//! of the run's directory are in it, within bounds.
//!
//! What a guest wrote can run nothing there: `html!` escapes all but its own literals (the style sheet is the only
//! `PreEscaped`), control characters are made visible in the page as a whole, and the page's own policy (CSP) forbids
//! scripts and everything from elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytesize::ByteSize;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::case::{self, Case, CaseStatus, Suite, line};
use super::comparison::comparison;
use super::evidence::{EmbeddedPicture, Evidence, LogExcerpt};
use super::human::{describe_machine, ended};
use super::text::count;
use crate::model::{Report, artifact};
use crate::text::{escape, seconds};

/// Bytes of pictures, films and sounds on a page, before base64 makes a third more of them. Twelve machines with
/// desktops are to fit into 3 MiB.
const MEDIA: usize = 2000 << 10;
/// Most bytes of a picture.
const PICTURE: usize = 400 << 10;
/// Bytes of logs and of what shows a check's verdict, on a page.
const LOGS: usize = 240 << 10;

const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// The page.
pub fn render(reports: &[Report]) -> String {
    let headline = case::headline(reports);
    let page = html! {
        (DOCTYPE) "\n"
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "nixbox: " (headline) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip-link href="#machines" { "Skip to the machines" }
                header {
                    p { "nixbox" }
                    h1 { (headline) }
                    @if let Some(first) = reports.first() {
                        p { (line(&first.started)) ", by nixbox " (line(&first.nixbox)) }
                    }
                }
                main #machines tabindex="-1" {
                    (overview(reports))
                    @for (number, report) in (1..).zip(reports) {
                        (machine(number, report, reports.len()))
                    }
                }
                footer { p { "This page is self-contained: it can be kept, sent and read offline." } }
            }
        }
        "\n"
    };
    // No markup of ours has a character that this changes.
    escape(&page.into_string())
}

/// The class that colours a verdict, and the sign that stands beside its word.
fn class_and_sign(status: CaseStatus) -> (&'static str, &'static str) {
    match status {
        CaseStatus::Pass => ("pass", "✓ "),
        CaseStatus::Fail => ("fail", "✗ "),
        CaseStatus::Unknown | CaseStatus::UnknownAdvice => ("unknown", "? "),
        CaseStatus::Warn | CaseStatus::Before | CaseStatus::Allowed => ("unknown", "! "),
        CaseStatus::Skip => ("other", "– "),
    }
}

/// A verdict's word with its sign, and its colour.
fn badge(status: CaseStatus, word: &str) -> Markup {
    let (class, sign) = class_and_sign(status);
    html! { span.badge.(class) { span aria-hidden="true" { (sign) } (word) } }
}

/// A table whose last column is a time; it scrolls by itself where the window is too narrow for it.
fn table(label: &str, caption: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table {
                caption.visually-hidden { (caption) }
                thead { tr { @for column in columns { th scope="col" { (column) } } th.num scope="col" { "Time" } } }
                tbody { (rows) }
            }
        }
    }
}

/// All machines in a table.
fn overview(reports: &[Report]) -> Markup {
    let rows = html! {
        @for (number, report) in (1..).zip(reports) {
            @let suite = Suite::of(report);
            tr {
                th scope="row" { a href={ "#m" (number) } { (suite.name) } }
                td { (badge(report.verdict.into(), case::verdict_word(report.verdict))) }
                td.result { (case::cause(report).unwrap_or_default()) }
                td.counts { (suite.counts()) }
                td.num { (seconds(suite.seconds)) }
            }
        }
    };
    let columns = ["Machine", "Verdict", "Cause", "Checks"];
    table("All machines", "The verdict on each machine", &columns, &rows)
}

/// The section of one of so many machines, which takes its part of the page's room.
fn machine(number: usize, report: &Report, machines: usize) -> Markup {
    let suite = Suite::of(report);
    let evidence = Evidence::of(report);
    let status = CaseStatus::from(report.verdict);
    let mut room = LOGS / machines;
    html! {
        section.card.machine.(class_and_sign(status).0) #{ "m" (number) } aria-labelledby={ "h" (number) } {
            div.heading {
                h2 #{ "h" (number) } { (suite.name) }
                (badge(status, case::verdict_word(report.verdict)))
                span.duration {
                    @if let Some(stage) = report.stage { (ended(stage, suite.seconds)) }
                    @else { (seconds(suite.seconds)) }
                }
            }
            (cause(report, &suite))
            @if let Some(comparison) = comparison(report) { p.faint { "Against " (line(&comparison)) } }
            @if let Some(apply) = &report.apply {
                h3 { "Apply exactly what was tested" }
                pre.wrap tabindex="0" { (line(apply)) }
            }
            (media(&evidence, MEDIA / machines))
            (checks(&suite, machines == 1 || status != CaseStatus::Pass, &mut room))
            (phases(report))
            @if !suite.not_tested.is_empty() {
                h3 { "Not tested" }
                ul.plain {
                    @for (what, why) in &suite.not_tested {
                        li { @if !what.is_empty() { strong { (what) } ": " } (why) }
                    }
                }
            }
            @if let Some(outside) = case::outside(report) {
                h3 { "The outside" }
                p { (outside) }
            }
            @if !report.notes.is_empty() {
                h3 { "Notes" }
                ul.plain { @for note in &report.notes { li { (line(note)) } } }
            }
            (facts(report))
            (logs(&evidence, room))
        }
    }
}

/// The cause, what shows it, what to do.
fn cause(report: &Report, suite: &Suite) -> Markup {
    let Some(cause) = case::cause(report) else { return Markup::default() };
    let lead = suite.lead(&cause);
    let hint = report.hint.as_deref().or(lead.and_then(|case| case.hint.as_deref()));
    html! {
        p.cause { (cause) }
        @if let Some(lead) = lead {
            @if let Some(position) = &lead.position { p.faint { "at " code { (position) } } }
            (excerpt(lead, usize::MAX))
        }
        @if let Some(hint) = hint { p.hint { (line(hint)) } }
    }
}

/// The lines that show a case's verdict, as far as so many bytes go.
fn excerpt(case: &Case, most: usize) -> Markup {
    let lines = case.excerpt().join("\n");
    let head = &lines[..fitting(lines.chars(), most)];
    html! {
        @if !head.is_empty() {
            pre tabindex="0" { (head) @if head.len() < lines.len() { "\n…" } }
        }
    }
}

/// Files of a run's directory by name, each with a title.
type Files = &'static [(&'static str, &'static str)];

/// What the run's directory holds of screen and sound card, as far as it fits.
fn media(evidence: &Evidence, mut room: usize) -> Markup {
    // Of a film and a sound, all is shown or nothing: a part is kept for them.
    let film = recording(evidence, artifact::FILM, 20, &mut room);
    let sound = recording(evidence, artifact::SOUND, 50, &mut room);
    let pictures = pictures(evidence, &mut room);
    // Where the pictures left more than was kept for them.
    let film = film.or_else(|| recording(evidence, artifact::FILM, 100, &mut room));
    let sound = sound.or_else(|| recording(evidence, artifact::SOUND, 100, &mut room));
    let too_large = evidence.size(artifact::SOUND).filter(|_| sound.is_none());
    if pictures.is_empty() && film.is_none() && sound.is_none() && too_large.is_none() {
        return Markup::default();
    }
    html! {
        h3 { "Screen and sound" }
        div.pictures {
            @for (name, caption, EmbeddedPicture { png, size: (width, height) }) in &pictures {
                figure {
                    img width=(width) height=(height) alt=(caption) src=(data("image/png", png));
                    figcaption { (caption) " " code { (name) } }
                }
            }
        }
        @if let Some(film) = &film {
            // Folded, since it moves and cannot be paused.
            details {
                summary { "The screen during the boot, as a film " code.faint { (artifact::FILM) } }
                div.pictures {
                    figure { img alt="The screen from the machine's start on" src=(data("image/gif", film)); }
                }
            }
        }
        @if let Some(sound) = &sound {
            figure {
                audio controls preload="none" src=(data("audio/wav", sound)) {}
                figcaption { "What came out of the sound card " code { (artifact::SOUND) } }
            }
        }
        @if let Some(size) = too_large {
            p.faint {
                code { (artifact::SOUND) } " (" (ByteSize(size))
                ") is too large for this page: it is among the artifacts"
            }
        }
    }
}

/// A film or a sound, if it takes at most so many percent of the room.
fn recording(evidence: &Evidence, name: &str, percent: usize, room: &mut usize) -> Option<Vec<u8>> {
    let known = |bytes: &Vec<u8>| bytes.starts_with(b"GIF8") || bytes.starts_with(b"RIFF");
    let bytes = evidence.bytes(name, (*room * percent / 100) as u64).filter(known)?;
    *room -= bytes.len();
    Some(bytes)
}

/// The pictures by name and caption.
fn pictures(evidence: &Evidence, room: &mut usize) -> Vec<(&'static str, &'static str, EmbeddedPicture)> {
    const FILES: Files = &[
        (artifact::SCREEN, "The screen at the verdict"),
        (artifact::SESSION, "The session, once its picture was steady"),
        (artifact::GREETER, "The login screen"),
        (artifact::SPECTROGRAM, "What came out of the sound card: time to the right, pitch upwards, left above right"),
    ];
    let mut pictures: Vec<(_, _, EmbeddedPicture)> = Vec::new();
    for (name, caption, share) in present(evidence, FILES) {
        let Some(picture) = evidence.picture(name, (*room / share).min(PICTURE)) else { continue };
        // A session that has not changed since is the screen once more.
        if pictures.iter().all(|(_, _, shown)| shown.png != picture.png) {
            *room -= picture.png.len();
            pictures.push((name, caption, picture));
        }
    }
    pictures
}

/// Those of the files that are there, by name and title, each with the number of those among which the room that is left
/// is to be shared.
fn present(evidence: &Evidence, files: Files) -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    let present: Vec<_> = files.iter().filter(|(name, _)| evidence.size(name) > Some(0)).collect();
    let shares = (1..=present.len()).rev();
    present.into_iter().zip(shares).map(|((name, title), share)| (*name, *title, share))
}

/// A file as the URL that holds it.
fn data(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// The checks, worst first. Each takes at most half of the room that is left, so that some remains for the logs.
fn checks(suite: &Suite, open: bool, room: &mut usize) -> Markup {
    if suite.cases.is_empty() {
        return Markup::default();
    }
    let mut lines = |case| {
        let lines = excerpt(case, *room / 2);
        *room = room.saturating_sub(lines.0.len());
        lines
    };
    let rows = html! {
        @for case in suite.worst_first() {
            tr {
                td { (badge(case.status, case.status.word())) }
                th.id scope="row" { (case.id) }
                td.result {
                    (case.summary)
                    @if case.flaky { " " span.faint { "(failed, and then passed)" } }
                    @if !case.detail.is_empty() {
                        details { summary { (count(case.detail.len(), "line")) } (lines(case)) }
                    }
                    @if let Some(hint) = &case.hint { p.hint { (hint) } }
                }
                td.num { @if case.seconds > 0.0 { (seconds(case.seconds)) } }
            }
        }
    };
    let label = format!("Checks of {}", suite.name);
    html! {
        h3 { "Checks" }
        details open[open] {
            summary { (suite.counts()) }
            (table(&label, &format!("{label}, worst first"), &["Verdict", "Check", "Result"], &rows))
        }
    }
}

/// How long each phase took, one below the other on a common axis.
fn phases(report: &Report) -> Markup {
    let times = report.phases.iter().map(|time| (time.phase.label(), case::finite(time.seconds)));
    let whole: f64 = times.clone().map(|(_, took)| took).sum();
    let mut before = 0.0;
    let bars = times.map(|(label, took)| {
        let (left, width) = (before / whole * 100.0, took / whole * 100.0);
        before += took;
        (label, took, format!("margin-left:min({left:.2}%,100% - 3px);width:{width:.2}%"))
    });
    html! {
        @if whole > 0.0 {
            h3 { "Time" }
            ol.phases {
                @for (label, took, style) in bars {
                    li {
                        span { (label) }
                        span.track aria-hidden="true" { span style=(style) {} }
                        span.num { (seconds(took)) }
                    }
                }
            }
        }
    }
}

/// What was tested and how.
fn facts(report: &Report) -> Markup {
    let machine = report.machine.as_ref();
    let all = [
        ("Target", Some(report.target.resolved.clone())),
        ("Derivation", report.target.drv_path.clone()),
        ("System", report.target.toplevel.clone()),
        ("Machine", machine.map(describe_machine)),
        ("Why not faster", machine.and_then(|machine| machine.accelerator_reason.clone())),
        ("Started", Some(report.started.clone())),
        ("Exit code", Some(report.exit.to_string())),
        ("Artifacts", report.artifacts.as_ref().map(|path| path.display().to_string())),
    ];
    html! {
        h3 { "Target and machine" }
        dl {
            @for (name, value) in all {
                @if let Some(value) = value.filter(|value| !value.is_empty()) { dt { (name) } dd { (line(&value)) } }
            }
        }
    }
}

/// The logs, folded, in at most so many bytes.
fn logs(evidence: &Evidence, mut room: usize) -> Markup {
    const FILES: Files = &[
        (artifact::CONSOLE, "Console"),
        (artifact::JOURNAL, "Journal"),
        (artifact::NIX_LOG, "nix"),
        (artifact::QEMU_LOG, "Runner and QEMU"),
    ];
    let logs = present(evidence, FILES).filter_map(|(name, title, share)| {
        let log = evidence.log(name, (room / share) as u64)?;
        let text = html! { (within(&log, room / share)) };
        room = room.saturating_sub(text.0.len());
        Some((name, title, text))
    });
    html! {
        @for (number, (name, title, text)) in logs.enumerate() {
            @if number == 0 { h3 { "Logs" } }
            details {
                summary { (title) " " code.faint { (name) } }
                pre tabindex="0" { (text) }
            }
        }
    }
}

/// A log, cut so that it takes at most so many bytes of the page.
fn within(log: &LogExcerpt, most: usize) -> String {
    // An escaped character may be longer than the character.
    let whole = log.tail.is_empty() && log.omitted == 0;
    let head = &log.head[..fitting(log.head.chars(), if whole { most } else { most / 3 })];
    let tail = &log.tail[log.tail.len() - fitting(log.tail.chars().rev(), most - most / 3)..];
    match log.omitted + (log.head.len() - head.len() + log.tail.len() - tail.len()) as u64 {
        0 => head.to_owned(),
        omitted => format!("{head}\n\n… {} omitted …\n\n{tail}", ByteSize(omitted)),
    }
}

/// How many bytes a character takes on the page.
fn width(c: char) -> usize {
    match c {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        '"' => "&quot;".len(),
        _ => c.len_utf8(),
    }
}

/// Bytes of those of the characters, from the first, that take at most so many on the page.
fn fitting(chars: impl Iterator<Item = char>, most: usize) -> usize {
    let fits = |taken: &mut usize, c: char| {
        *taken += width(c);
        (*taken <= most).then_some(c.len_utf8())
    };
    chars.scan(0, fits).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::report::examples;
    use crate::signal::Picture;

    /// Elements that are not closed.
    const VOID: &[&str] = &["meta", "img"];

    /// Well-formed as far as we write it; without script, handlers, or anything from elsewhere.
    pub(in super::super) fn check(reports: &[Report], page: &str) {
        assert!(page.starts_with("<!DOCTYPE html>\n") && page.ends_with("</html>\n"));
        let lower = page.to_lowercase();
        for never in ["<script", "<iframe", "<object", "<embed", "<form", "<link", "<base", "<svg"] {
            assert!(!lower.contains(never), "{never}");
        }
        assert_eq!(page.matches("http-equiv=\"Content-Security-Policy\"").count(), 1);
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()));
        let (head, body) = page.split_once("<style>").unwrap();
        let (style, body) = body.split_once("</style>").unwrap();
        assert_eq!(style.trim(), STYLE.trim());
        let mut open: Vec<&str> = Vec::new();
        let mut ids = Vec::new();
        for piece in head["<!DOCTYPE html>\n".len()..].split('<').chain(body.split('<')).skip(1) {
            let Some((tag, text)) = piece.split_once('>') else {
                assert!(piece.trim().is_empty(), "a `<` that is no tag: {piece}");
                continue;
            };
            assert!(!text.contains('>') && references_only(text), "{text}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
                continue;
            }
            let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
            while !rest.is_empty() {
                let (key, after) = match rest.split_once('=') {
                    Some((key, after)) if !key.contains(' ') => (key, after),
                    _ => {
                        assert!(["open"].contains(&rest) || rest.starts_with("controls "), "{tag}");
                        rest = rest.strip_prefix("controls ").unwrap_or("");
                        continue;
                    }
                };
                assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !key.starts_with("on"), "{key}");
                let (value, after) = after.strip_prefix('"').expect("quoted").split_once('"').expect("closed");
                assert!(references_only(value), "{value}");
                match key {
                    "href" => assert!(value.starts_with('#'), "{value}"),
                    "src" => assert!(value.starts_with("data:image/") || value.starts_with("data:audio/"), "{value}"),
                    "id" => ids.push(value),
                    "style" => assert!(value.starts_with("margin-left:min(") && !value.contains("url"), "{value}"),
                    _ => {}
                }
                rest = after.trim_start();
            }
            if name == "img" {
                assert!(tag.contains(" alt=\""));
            }
            if !VOID.contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "an id stands twice");
        assert_eq!(page.matches("<section ").count(), reports.len());
    }

    /// A page to be read and compared: an element a line, without its style sheet and what is not text.
    pub(in super::super) fn readable(page: &str) -> String {
        let page = page.replace(STYLE, "…").replace("><", ">\n<");
        let data = regex::Regex::new("base64,[A-Za-z0-9+/=]+").unwrap();
        data.replace_all(&page, "base64,…").into_owned()
    }

    /// Each `&` begins one of our references.
    fn references_only(text: &str) -> bool {
        let known = ["amp;", "lt;", "gt;", "quot;"];
        text.split('&').skip(1).all(|rest| known.iter().any(|known| rest.starts_with(known)))
    }

    /// The evidence of a run with a desktop: what is here as large as it comes, and a console without end.
    pub(in super::super) fn evidence(directory: &Path, seed: u32) {
        let pixel = |i: u32| {
            // Noise over a slope: a photograph, as far as a PNG is concerned.
            let mut noise = i ^ seed;
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise = (noise ^ noise << 5).wrapping_mul(0x9e37_79b1);
            let slope = (i % 800 / 8 + (i & 0xf_ffff) / 800 / 4) as u8;
            [noise >> 28, noise >> 24 & 15, noise >> 20 & 15].map(|part| slope + part as u8)
        };
        let names = [artifact::SCREEN, artifact::SESSION, artifact::GREETER, artifact::SPECTROGRAM];
        for (number, name) in (1..).zip(names) {
            let pixels = (0..800 * 500).map(|i| pixel(i ^ number << 20));
            let screen = Picture::new(800, 500, pixels.collect()).unwrap().to_png().unwrap();
            assert!(screen.len() > 300_000);
            fs::write(directory.join(name), &screen).unwrap();
        }
        fs::write(directory.join(artifact::FILM), [b"GIF89a", &[7; 30_000][..]].concat()).unwrap();
        fs::write(directory.join(artifact::SOUND), [b"RIFF", &[7; 900_000][..]].concat()).unwrap();
        fs::write(directory.join(artifact::JOURNAL), "[    1.000] <'\"&> line\n".repeat(20_000)).unwrap();
        let console = fs::File::create(directory.join(artifact::CONSOLE)).unwrap();
        console.set_len(100 << 20).unwrap();
    }

    #[test]
    fn each_kind_of_report_is_a_page() {
        for report in examples::all() {
            check(std::slice::from_ref(&report), &render(std::slice::from_ref(&report)));
        }
        check(&examples::all(), &render(&examples::all()));
        check(&[], &render(&[]));
    }

    #[test]
    fn a_page_with_pictures_sound_and_logs() {
        let directory = tempfile::tempdir().unwrap();
        evidence(directory.path(), 0);
        fs::write(directory.path().join(artifact::JOURNAL), "[    1.000] systemd: Started x & y.\n").unwrap();
        fs::remove_file(directory.path().join(artifact::CONSOLE)).unwrap();
        let mut report = examples::fail();
        report.artifacts = Some(directory.path().to_owned());
        let page = readable(&render(&[report])).replace(&directory.path().display().to_string(), "DIRECTORY");
        insta::assert_snapshot!("html-with-evidence", page);
    }

    #[test]
    fn the_width_of_a_character_is_that_of_its_escape() {
        for c in ['&', '<', '>', '"', '\'', 'ä', '漢'] {
            assert_eq!(width(c), html! { (c) }.0.len(), "{c}");
        }
    }

    /// A colour's luminance (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        let linear = |part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
        0.2126 * linear(part(1)) + 0.7152 * linear(part(3)) + 0.0722 * linear(part(5))
    }

    #[test]
    fn text_can_be_told_from_its_ground_in_light_and_dark() {
        let (light, dark) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
        for theme in [light, dark] {
            let of = |name: &str| {
                let at = theme.find(&format!("--{name}: #")).expect(name) + name.len() + 4;
                luminance(&theme[at..at + 7])
            };
            let contrast = |one: f64, other: f64| (one.max(other) + 0.05) / (one.min(other) + 0.05);
            for ink in ["ink", "faint", "good", "bad", "doubt", "calm", "focus"] {
                for ground in ["ground", "card", "well"] {
                    let contrast = contrast(of(ink), of(ground));
                    assert!(contrast >= 4.5, "{ink} on {ground}: {contrast:.2}");
                }
            }
        }
    }

    #[test]
    fn twelve_machines_with_desktops_fit_into_three_mib() {
        let directories: Vec<_> = (0..12).map(|_| tempfile::tempdir().unwrap()).collect();
        let reports: Vec<Report> = (0..)
            .zip(&directories)
            .map(|(number, directory)| {
                evidence(directory.path(), number);
                let mut report = if number % 3 == 0 { examples::fail() } else { examples::pass() };
                report.artifacts = Some(directory.path().to_owned());
                report
            })
            .collect();
        let page = render(&reports);
        check(&reports, &page);
        assert!(page.len() < 3 << 20, "{}", page.len());
        assert_eq!(page.matches("<img ").count(), 12 * 5, "each picture and film is there");
        let page = render(&reports[..1]);
        check(&reports[..1], &page);
        assert!(page.len() < 3 << 20 && page.contains("<audio controls "), "{}", page.len());
        assert!(page.contains(" omitted …"));
    }
}
