//! HTTP requests made from inside the guest, with curl or else bash's `/dev/tcp`.
//!
//! NixOS has both in `/run/current-system/sw/bin` (`environment.corePackages`), which is on our units' PATH; curl speaks
//! TLS, and bash stays when curl is taken out. wget is only where it was asked for; nc is in the same list, without TLS.

use std::time::Duration;

use super::Error;
use super::facts::HttpAnswer;
use super::shell::{Output, Script};
use crate::text::{bounded, quoted};

/// A request.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// `http://…` or `https://…` (the latter needs curl in the guest). A redirect is an answer, not followed.
    pub url: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// How long one attempt may take.
    pub deadline: Duration,
    /// How many bytes of the body are kept.
    pub body_limit: usize,
    /// Whether the machine itself is asked, wherever the name leads and whoever signed its certificate.
    pub here: bool,
}

impl HttpRequest {
    /// A plain GET within 10 s of which 64 KiB are kept.
    pub fn new(url: impl Into<String>) -> Self {
        let (url, method) = (url.into(), "GET".to_owned());
        Self { url, method, deadline: Duration::from_secs(10), body_limit: 64 << 10, here: false }
    }
}

/// The machine itself.
const LOOPBACK: &str = "127.0.0.1";

/// Before the status that the guest's script tells on stderr.
const MARK: &str = "nixbox-http ";

/// The script that makes a request, written for the guest's `/bin/sh`.
pub(super) fn script(request: &HttpRequest) -> Result<Script, Error> {
    let HttpRequest { url, method, .. } = request;
    if url.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Error::Unaskable(format!("{url:?} holds characters that a request cannot have")));
    }
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(Error::Unaskable(format!("{method:?} is no HTTP method")));
    }
    let seconds = request.deadline.as_secs().max(1);
    let method_option = if method == "HEAD" { "--head".to_owned() } else { format!("-X {method}") };
    let place = if request.here { format!("--noproxy '*' -k --connect-to ::{LOOPBACK}: ") } else { String::new() };
    let mut text = format!(
        "if command -v curl >/dev/null; then\n exec curl -q -sS {place}--max-time {seconds} {method_option} \
         -w '%{{stderr}}\\n{MARK}%{{http_code}}\\n' -- {}\nfi\n",
        quoted(url)
    );
    match Plain::parse(url) {
        Some(plain) => {
            let bytes =
                format!("{method} {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", plain.path, plain.authority);
            text.push_str(&format!(
                "host={} port={} request={}\n\
                 if command -v bash >/dev/null; then\n \
                 exec bash -c 'exec 3<>\"/dev/tcp/$0/$1\" || exit 7; trap : PIPE; printf %s \"$2\" >&3; echo {MARK}raw >&2; cat <&3' \
                 \"$host\" \"$port\" \"$request\"\nfi\n",
                quoted(if request.here { LOOPBACK } else { &plain.host }),
                plain.port,
                quoted(&bytes),
            ));
        }
        None if url.starts_with("https://") => {}
        None => return Err(Error::Unaskable(format!("{url:?} is no http:// or https:// address"))),
    }
    text.push_str("echo 'the guest has neither curl nor, for plain http, bash' >&2\nexit 127\n");
    Ok(Script {
        // curl ends by itself at its --max-time and then says why.
        deadline: request.deadline + Duration::from_secs(2),
        limit: request.body_limit.saturating_add(16 << 10),
        ..Script::new(text)
    })
}

/// What came of it.
pub(super) fn answer(request: &HttpRequest, output: &Output) -> HttpAnswer {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut body = output.stdout.as_slice();
    let status = match stderr.lines().rev().find_map(|line| line.strip_prefix(MARK)) {
        Some("raw") => {
            let end = body.windows(4).position(|window| window == b"\r\n\r\n").map(|at| (at, at + 4));
            let end = end.or_else(|| body.windows(2).position(|window| window == b"\n\n").map(|at| (at, at + 2)));
            let (head, rest) = end.map_or((body, &[][..]), |(head, rest)| (&body[..head], &body[rest..]));
            body = rest;
            status_line(&String::from_utf8_lossy(head))
        }
        code => code.and_then(|code| code.trim().parse().ok()),
    }
    .unwrap_or(0);
    let body = String::from_utf8_lossy(&body[..body.len().min(request.body_limit)]).into_owned();
    let error = (status == 0).then(|| {
        if output.timed_out {
            return format!("no answer within {} s", request.deadline.as_secs());
        }
        let said = stderr.lines().rfind(|line| !line.trim().is_empty() && !line.starts_with(MARK));
        let said = said.unwrap_or("nothing came back, or it was not HTTP").trim_start_matches("curl: ");
        bounded(said, 512)
    });
    HttpAnswer { status, body, error }
}

/// The code in `HTTP/1.1 200 OK`.
fn status_line(text: &str) -> Option<u16> {
    let mut words = text.lines().next()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

/// The parts of an `http://` address.
struct Plain {
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Plain {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // Credentials in the address need curl.
        if authority.contains('@') {
            return None;
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Self { authority: authority.to_owned(), host: host.to_owned(), port, path })
    }
}

/// The port of the guest's own that an address leads to, over plain HTTP.
pub fn own_port(url: &str) -> Option<u16> {
    let Plain { host, port, .. } = Plain::parse(url)?;
    (host == "localhost" || host.starts_with("127.") || host == "::1").then_some(port)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::Command;

    use super::*;

    fn output(stdout: &str, stderr: &str) -> Output {
        Output { stdout: stdout.into(), stderr: stderr.into(), ..Output::default() }
    }

    #[test]
    fn what_each_tool_says() {
        let request = HttpRequest::new("http://localhost/");
        let curl = answer(&request, &output("hello", "\nnixbox-http 200\n"));
        assert_eq!((curl.status, curl.body.as_str(), curl.error), (200, "hello", None));
        let refused = answer(&request, &output("", "curl: (7) Failed to connect to localhost\n\nnixbox-http 000\n"));
        assert_eq!(refused.error.as_deref(), Some("(7) Failed to connect to localhost"));
        let raw = answer(&request, &output("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\ngone", "nixbox-http raw\n"));
        assert_eq!((raw.status, raw.body.as_str()), (404, "gone"));
        let none = answer(&request, &Output { timed_out: true, ..Output::default() });
        assert_eq!(none.error.as_deref(), Some("no answer within 10 s"));
    }

    #[test]
    fn ports_of_its_own() {
        assert_eq!(own_port("http://127.0.0.1:8080/x"), Some(8080));
        assert_eq!(own_port("http://localhost/"), Some(80));
        assert_eq!(own_port("http://[::1]:81"), Some(81));
        for other in ["https://localhost/", "http://example.org/", "http://u:p@localhost/", "localhost:80"] {
            assert_eq!(own_port(other), None, "{other}");
        }
    }

    #[test]
    fn addresses() {
        let parts = |url| Plain::parse(url).map(|plain| (plain.host, plain.port, plain.path));
        assert_eq!(parts("http://127.0.0.1:8080/a?b#c"), Some(("127.0.0.1".into(), 8080, "/a?b".into())));
        assert_eq!(parts("http://[::1]"), Some(("::1".into(), 80, "/".into())));
        assert_eq!(parts("http://[::1]:81?q"), Some(("::1".into(), 81, "/?q".into())));
        assert_eq!(parts("https://x/"), None);
        assert_eq!(parts("http://x:y/"), None);
        assert!(matches!(script(&HttpRequest::new("ftp://x")), Err(Error::Unaskable(_))));
        assert!(matches!(script(&HttpRequest::new("http://x/\r\nEvil: y")), Err(Error::Unaskable(_))));
    }

    #[test]
    fn a_real_request_with_bash_alone() {
        if !std::path::Path::new("/bin/bash").exists() {
            return;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/it's?x=%20", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            // bash writes line by line.
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 418 Teapot\r\n\r\nshort and stout").unwrap();
            String::from_utf8(asked).unwrap()
        });
        let request = HttpRequest::new(url);
        let bin = tempfile::tempdir().unwrap();
        for tool in ["bash", "cat"] {
            std::os::unix::fs::symlink(format!("/bin/{tool}"), bin.path().join(tool)).unwrap();
        }
        let text = script(&request).unwrap().text;
        let ran = Command::new("/bin/sh").args(["-c", &text]).env("PATH", bin.path()).output().unwrap();
        let answer = answer(&request, &Output { stdout: ran.stdout, stderr: ran.stderr, ..Output::default() });
        assert_eq!((answer.status, answer.body.as_str()), (418, "short and stout"), "{answer:?}");
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET /it's?x=%20 HTTP/1.0\r\nHost: 127.0.0.1:"), "{asked}");
        assert!(asked.ends_with("\r\nConnection: close\r\n\r\n"), "{asked}");
    }
}
