//! The report as one page that needs nothing else: no network, no script, no file beside it. Pictures, sounds and logs
//! of the run's directory are in it, within bounds.
//!
//! What a guest wrote can run nothing there: all text goes through one function, `Html::text`; markup is
//! `&'static str`, so that no other string can be taken for it; and the page's own policy (CSP) forbids scripts and
//! everything from elsewhere.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytesize::ByteSize;

use super::case::{self, Case, Kind, Suite, line};
use super::evidence::{Evidence, Log, Shown};
use super::human::{describe_machine, stage_word};
use super::text::count;
use crate::model::{Report, Verdict, artifact};
use crate::text::{escape, seconds};

/// Bytes of pictures, films and sounds on a page, before base64 makes a third more of them. Twelve machines with
/// desktops are to fit into 3 MiB.
const MEDIA: usize = 2000 << 10;
/// Most bytes of a picture.
const PICTURE: usize = 400 << 10;
/// Bytes of logs and of what shows a check's verdict, on a page.
const LOGS: usize = 240 << 10;
/// Most lines that show a check's verdict.
const LINES: usize = 40;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn render(reports: &[Report]) -> String {
    let mut page = Html::default();
    page.raw(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; media-src data:; \
         style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>nixbox: ",
    );
    let headline = case::headline(reports);
    page.text(&headline).raw("</title>\n<style>\n").raw(STYLE).raw("</style>\n</head>\n<body>\n");
    page.raw("<a class=\"skip\" href=\"#machines\">Skip to the machines</a>\n<header>\n<p>nixbox</p>\n<h1>");
    page.text(&headline).raw("</h1>\n");
    if let Some(first) = reports.first() {
        page.raw("<p>").text(&line(&first.started)).raw(", by nixbox ").text(&line(&first.nixbox)).raw("</p>\n");
    }
    page.raw("</header>\n<main id=\"machines\" tabindex=\"-1\">\n");
    overview(&mut page, reports);
    let share = Share { media: MEDIA / reports.len().max(1), logs: LOGS / reports.len().max(1) };
    for (number, report) in (1..).zip(reports) {
        machine(&mut page, number, report, share, reports.len() == 1);
    }
    page.raw("</main>\n<footer>\n<p>This page needs nothing but itself: it can be kept, sent and read offline.</p>\n");
    page.raw("</footer>\n</body>\n</html>\n");
    page.0
}

/// What a machine may take up, in bytes.
#[derive(Clone, Copy)]
struct Share {
    media: usize,
    logs: usize,
}

/// A page that is being written.
#[derive(Default)]
struct Html(String);

impl Html {
    /// Markup of our own.
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anybody's text, between tags or in a quoted attribute.
    fn text(&mut self, text: &str) -> &mut Self {
        for c in escape(text).chars() {
            match escaped(c) {
                Some(reference) => self.0.push_str(reference),
                None => self.0.push(c),
            }
        }
        self
    }

    /// A file as the URL that holds it.
    fn data(&mut self, kind: &'static str, bytes: &[u8]) -> &mut Self {
        self.raw("data:").raw(kind).raw(";base64,");
        self.0.push_str(&Base64Display::new(bytes, &STANDARD).to_string());
        self
    }
}

/// What stands for a character that would mean something.
fn escaped(c: char) -> Option<&'static str> {
    Some(match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '"' => "&quot;",
        '\'' => "&#39;",
        _ => return None,
    })
}

/// The class that colours a verdict, the sign that stands beside its word.
fn look_of(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("pass", "✓ "),
        Verdict::Fail => ("fail", "✗ "),
        Verdict::Unknown => ("unknown", "? "),
    }
}

/// The same of a case.
fn look_of_case(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Pass => ("pass", "✓ "),
        Kind::Fail => ("fail", "✗ "),
        Kind::Unknown | Kind::Unsure => ("unknown", "? "),
        Kind::Warn | Kind::Allowed => ("unknown", "! "),
        Kind::Skip => ("other", "– "),
    }
}

/// A word with its sign, coloured besides.
fn mark(page: &mut Html, (class, sign): (&'static str, &'static str), word: &str) {
    page.raw("<span class=\"mark ").raw(class).raw("\"><span aria-hidden=\"true\">").raw(sign).raw("</span>");
    page.text(word).raw("</span>");
}

/// All machines in a table.
fn overview(page: &mut Html, reports: &[Report]) {
    page.raw("<div class=\"wide\" role=\"region\" aria-label=\"All machines\" tabindex=\"0\">\n<table>\n");
    page.raw("<caption class=\"unseen\">What was found out about each machine</caption>\n<thead><tr>");
    page.raw("<th scope=\"col\">Machine</th><th scope=\"col\">Verdict</th><th scope=\"col\">Cause</th>");
    page.raw("<th scope=\"col\">Checks</th><th scope=\"col\" class=\"num\">Time</th></tr></thead>\n<tbody>\n");
    for (number, report) in (1..).zip(reports) {
        let suite = Suite::of(report);
        page.raw("<tr><th scope=\"row\"><a href=\"#m").text(&number.to_string()).raw("\">");
        page.text(&suite.name).raw("</a></th><td>");
        mark(page, look_of(report.verdict), case::verdict_word(report.verdict));
        page.raw("</td><td class=\"seen\">").text(&case::cause(report).unwrap_or_default());
        page.raw("</td><td class=\"tally\">").text(&suite.tally());
        page.raw("</td><td class=\"num\">").text(&seconds(suite.seconds)).raw("</td></tr>\n");
    }
    page.raw("</tbody>\n</table>\n</div>\n");
}

fn machine(page: &mut Html, number: usize, report: &Report, share: Share, alone: bool) {
    let suite = Suite::of(report);
    let evidence = Evidence::of(report);
    let id = number.to_string();
    let look = look_of(report.verdict);
    page.raw("<section class=\"card machine ").raw(look.0).raw("\" id=\"m").text(&id).raw("\" aria-labelledby=\"h");
    page.text(&id).raw("\">\n<div class=\"top\"><h2 id=\"h").text(&id).raw("\">").text(&suite.name).raw("</h2>");
    mark(page, look, case::verdict_word(report.verdict));
    page.raw("<span class=\"took\">");
    if let Some(stage) = report.stage {
        page.raw("at ").text(stage_word(stage)).raw(", ");
    }
    page.text(&seconds(suite.seconds)).raw("</span></div>\n");
    why(page, report, &suite);
    apply(page, report);
    pictures(page, &evidence, share.media);
    let mut room = share.logs;
    checks(page, &suite, alone || report.verdict != Verdict::Pass, &mut room);
    phases(page, report);
    list(page, "Not tested", suite.aside.iter().map(|(what, why)| (what.clone(), why.clone())));
    list(page, "Notes", report.notes.iter().map(|note| (String::new(), line(note))));
    facts(page, report);
    logs(page, &evidence, room);
    page.raw("</section>\n");
}

/// The cause, what shows it, what to do.
fn why(page: &mut Html, report: &Report, suite: &Suite) {
    let Some(cause) = case::cause(report) else { return };
    page.raw("<p class=\"cause\">").text(&cause).raw("</p>\n");
    let lead = suite.cases.iter().filter(|case| case.kind.weighs()).find(|case| cause.contains(&case.summary));
    if let Some(lead) = lead {
        if let Some(place) = &lead.place {
            let place = format!("{}:{}:{}", place.file, place.line, place.column);
            page.raw("<p class=\"faint\">at <code>").text(&place).raw("</code></p>\n");
        }
        shown(page, lead, usize::MAX);
    }
    if let Some(hint) = report.hint.as_deref().or(lead.and_then(|case| case.hint.as_deref())) {
        page.raw("<p class=\"hint\">").text(&line(hint)).raw("</p>\n");
    }
}

/// The lines that show a case's verdict, as far as there is room. What they took.
fn shown(page: &mut Html, case: &Case, room: usize) -> usize {
    let lines = case::fewer(&case.detail, LINES).join("\n");
    if lines.is_empty() || room == 0 {
        return 0;
    }
    let (head, left_out) = beginning(&lines, room);
    page.raw("<pre tabindex=\"0\">").text(head);
    if left_out {
        page.raw("\n…");
    }
    page.raw("</pre>");
    head.len()
}

/// The command that applies what was tested.
fn apply(page: &mut Html, report: &Report) {
    if let Some(apply) = &report.apply {
        page.raw("<h3>Apply exactly what was tested</h3>\n<pre class=\"wrap\" tabindex=\"0\">");
        page.text(&line(apply)).raw("</pre>\n");
    }
}

/// What was seen and heard.
fn pictures(page: &mut Html, evidence: &Evidence, mut room: usize) {
    let named = [
        (artifact::SCREEN, "The screen at the verdict"),
        (artifact::SESSION, "The session, once its picture was steady"),
        (artifact::GREETER, "The login screen"),
        (artifact::SPECTROGRAM, "What came out of the sound card: time to the right, pitch upwards, left above right"),
    ];
    // Of a film and a sound, all is shown or nothing: a part is kept for them.
    let take = |room: &mut usize, name, percent| {
        let bytes = evidence.bytes(name, (*room * percent / 100) as u64)?;
        *room -= bytes.len();
        [&b"GIF8"[..], b"RIFF"].iter().any(|magic| bytes.starts_with(magic)).then_some(bytes)
    };
    let film = take(&mut room, artifact::FILM, 20);
    let sound = take(&mut room, artifact::SOUND, 50);
    let there: Vec<_> = named.into_iter().filter(|(name, _)| evidence.size(name).is_some()).collect();
    let mut figures: Vec<(_, _, Shown)> = Vec::new();
    for (place, (name, told)) in there.iter().enumerate() {
        let fair = room / (there.len() - place);
        let Some(picture) = evidence.picture(name, fair.min(PICTURE)) else { continue };
        // A session that has not changed since is the screen once more.
        if figures.iter().any(|(_, _, shown)| shown.png == picture.png) {
            continue;
        }
        room -= picture.png.len().min(room);
        figures.push((*name, *told, picture));
    }
    // Where the pictures left more than was kept for them.
    let film = film.or_else(|| take(&mut room, artifact::FILM, 100));
    let sound = sound.or_else(|| take(&mut room, artifact::SOUND, 100));
    let silent = if sound.is_none() { evidence.size(artifact::SOUND) } else { None };
    if figures.is_empty() && film.is_none() && sound.is_none() && silent.is_none() {
        return;
    }
    page.raw("<h3>Seen and heard</h3>\n<div class=\"pictures\">\n");
    for (name, told, picture) in &figures {
        let (width, height) = picture.size;
        page.raw("<figure><img width=\"").text(&width.to_string()).raw("\" height=\"").text(&height.to_string());
        page.raw("\" alt=\"").text(told).raw("\" src=\"").data("image/png", &picture.png).raw("\"><figcaption>");
        page.text(told).raw(" <code>").text(name).raw("</code></figcaption></figure>\n");
    }
    page.raw("</div>\n");
    if let Some(film) = film {
        // Folded, since it moves and cannot be halted.
        page.raw("<details><summary>The way there, as a film <code class=\"faint\">").text(artifact::FILM);
        page.raw("</code></summary>\n<div class=\"pictures\"><figure><img alt=\"The screen from the machine's start on\" src=\"");
        page.data("image/gif", &film).raw("\"></figure></div></details>\n");
    }
    if let Some(sound) = sound {
        page.raw("<figure><audio controls preload=\"none\" src=\"").data("audio/wav", &sound).raw("\"></audio>");
        page.raw("<figcaption>What came out of the sound card <code>")
            .text(artifact::SOUND)
            .raw("</code></figcaption></figure>\n");
    }
    if let Some(size) = silent {
        page.raw("<p class=\"faint\"><code>").text(artifact::SOUND).raw("</code> (").text(&ByteSize(size).to_string());
        page.raw(") lies with the evidence: it is too large for this page</p>\n");
    }
}

/// The checks, worst first.
fn checks(page: &mut Html, suite: &Suite, open: bool, room: &mut usize) {
    if suite.cases.is_empty() {
        return;
    }
    page.raw("<h3>Checks</h3>\n<details").raw(if open { " open" } else { "" }).raw("><summary>");
    page.text(&suite.tally()).raw("</summary>\n");
    page.raw("<div class=\"wide\" role=\"region\" aria-label=\"Checks of ")
        .text(&suite.name)
        .raw("\" tabindex=\"0\">\n<table>\n");
    page.raw("<caption class=\"unseen\">Checks of ").text(&suite.name).raw(", worst first</caption>\n");
    page.raw(
        "<thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Check</th><th scope=\"col\">What was seen</th>",
    );
    page.raw("<th scope=\"col\" class=\"num\">Time</th></tr></thead>\n<tbody>\n");
    let mut cases: Vec<&Case> = suite.cases.iter().collect();
    cases.sort_by_key(|case| case.kind);
    for case in cases {
        page.raw("<tr><td>");
        mark(page, look_of_case(case.kind), case.kind.word());
        page.raw("</td><th scope=\"row\" class=\"id\">")
            .text(&case.id)
            .raw("</th><td class=\"seen\">")
            .text(&case.summary);
        if case.flaky {
            page.raw(" <span class=\"faint\">(failed, and then passed)</span>");
        }
        if !case.detail.is_empty() {
            page.raw("<details><summary>").text(&count(case.detail.len(), "line")).raw("</summary>");
            // Half of the room is the logs'.
            *room -= shown(page, case, *room / 2).min(*room);
            page.raw("</details>");
        }
        if let Some(hint) = &case.hint {
            page.raw("<p class=\"hint\">").text(hint).raw("</p>");
        }
        page.raw("</td><td class=\"num\">");
        if case.seconds > 0.0 {
            page.text(&seconds(case.seconds));
        }
        page.raw("</td></tr>\n");
    }
    page.raw("</tbody>\n</table>\n</div>\n</details>\n");
}

/// How long each phase took, one below the other on a common axis.
fn phases(page: &mut Html, report: &Report) {
    let sane = |seconds: f64| if seconds.is_finite() { seconds.clamp(0.0, 1e9) } else { 0.0 };
    let whole: f64 = report.phases.iter().map(|time| sane(time.seconds)).sum();
    if whole <= 0.0 {
        return;
    }
    page.raw("<h3>Time</h3>\n<ol class=\"phases\">\n");
    let mut before = 0.0;
    for time in &report.phases {
        let took = sane(time.seconds);
        page.raw("<li><span>")
            .text(time.phase.label())
            .raw("</span><span class=\"track\" aria-hidden=\"true\"><span style=\"");
        let (left, width) = (before / whole * 100.0, took / whole * 100.0);
        page.text(&format!("margin-left:min({left:.2}%,100% - 3px);width:{width:.2}%"));
        page.raw("\"></span></span><span class=\"num\">").text(&seconds(took)).raw("</span></li>\n");
        before += took;
    }
    page.raw("</ol>\n");
}

/// A heading with a list of `what: why` below it.
fn list(page: &mut Html, heading: &'static str, items: impl Iterator<Item = (String, String)>) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    page.raw("<h3>").raw(heading).raw("</h3>\n<ul class=\"plain\">\n");
    for (what, why) in items {
        page.raw("<li>");
        if !what.is_empty() {
            page.raw("<strong>").text(&what).raw("</strong>: ");
        }
        page.text(&why).raw("</li>\n");
    }
    page.raw("</ul>\n");
}

/// What was tested and how.
fn facts(page: &mut Html, report: &Report) {
    page.raw("<h3>What was tested, and how</h3>\n<dl>\n");
    let all = [
        ("Target", Some(report.target.resolved.clone())),
        ("Derivation", report.target.drv_path.clone()),
        ("System", report.target.toplevel.clone()),
        ("Machine", report.machine.as_ref().map(describe_machine)),
        ("Why not faster", report.machine.as_ref().and_then(|machine| machine.accelerator_reason.clone())),
        ("Began", Some(report.started.clone())),
        ("Exit code", Some(report.exit.to_string())),
        ("Evidence", report.artifacts.as_ref().map(|path| path.display().to_string())),
    ];
    for (name, value) in all {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            page.raw("<dt>").text(name).raw("</dt><dd>").text(&line(&value)).raw("</dd>\n");
        }
    }
    page.raw("</dl>\n");
}

/// The logs, folded.
fn logs(page: &mut Html, evidence: &Evidence, mut room: usize) {
    let named = [
        (artifact::CONSOLE, "Console"),
        (artifact::JOURNAL, "Journal"),
        (artifact::NIX_LOG, "What nix said"),
        (artifact::QEMU_LOG, "What the runner and QEMU said"),
    ];
    let there: Vec<_> =
        named.into_iter().filter(|(name, _)| evidence.size(name).is_some_and(|size| size > 0)).collect();
    if there.is_empty() {
        return;
    }
    page.raw("<h3>Logs</h3>\n");
    for (place, (name, told)) in there.iter().enumerate() {
        let fair = room / (there.len() - place);
        let Some(log) = evidence.log(name, fair as u64) else { continue };
        page.raw("<details><summary>").text(told).raw(" <code class=\"faint\">").text(name).raw("</code></summary>\n");
        page.raw("<pre tabindex=\"0\">");
        room -= write_log(page, &log, fair).min(room);
        page.raw("</pre></details>\n");
    }
}

/// A log, within so many bytes of the page. What it took.
fn write_log(page: &mut Html, log: &Log, most: usize) -> usize {
    let before = page.0.len();
    // What stands for a character may be longer than it.
    let (head, cut) = beginning(&log.head, if log.tail.is_empty() && log.left_out == 0 { most } else { most / 3 });
    let tail = end(&log.tail, most - most / 3);
    page.text(head);
    if cut || log.left_out > 0 || tail.len() < log.tail.len() {
        let left_out = log.left_out + (log.head.len() - head.len() + log.tail.len() - tail.len()) as u64;
        page.raw("\n\n… ").text(&ByteSize(left_out).to_string()).raw(" left out here …\n\n");
    }
    page.text(tail);
    page.0.len() - before
}

/// How many bytes a character takes on the page.
fn width(c: char) -> usize {
    escaped(c).map_or(c.len_utf8(), str::len)
}

/// As much of the beginning as takes so many bytes on the page, and whether that is not all.
fn beginning(text: &str, most: usize) -> (&str, bool) {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += width(c);
        if taken > most {
            return (&text[..at], true);
        }
    }
    (text, false)
}

/// As much of the end.
fn end(text: &str, most: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices().rev() {
        taken += width(c);
        if taken > most {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::report::examples;
    use crate::signal::picture::Picture;

    /// Elements that are not closed.
    const VOID: &[&str] = &["meta", "img"];

    /// Well-formed as far as we write it; without script, handlers, or anything from elsewhere.
    pub(in super::super) fn check(reports: &[Report], page: &str) {
        assert!(page.starts_with("<!DOCTYPE html>\n"));
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

    /// Each `&` begins one of our references.
    fn references_only(text: &str) -> bool {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
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
    fn a_page_shows_what_the_report_holds() {
        let page = render(&[examples::fail(), examples::pass()]);
        for text in [
            "<h1>2 machines: 1 failed, 1 passed</h1>",
            "nginx.service failed: exit code 1",
            "another unit listens on tcp 80: httpd.service",
            "systemd[1]: nginx.service: Failed with result &#39;exit-code&#39;.",
            "nixos-rebuild switch --flake &#39;git+file:///home/u/nixos?rev=0123#laptop&#39;",
            "<strong>fwupd.service</strong>",
        ] {
            assert!(page.contains(text), "{text}");
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
        assert!(page.contains("left out here"));
    }
}
