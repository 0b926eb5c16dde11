//! A model server that says what a script has for it, on loopback: Anthropic's Messages, OpenAI's Responses and chat,
//! Gemini. What it was sent is kept, so that a story can say what the model has read.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What the model says next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Text, with which it ends its turn.
    Say(&'static str),
    /// A tool's call.
    Call(&'static str, Value),
    /// A call of a tool that takes text: Codex's `apply_patch`.
    Patch(String),
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    /// The bodies of the requests that took a step, in order.
    read: Vec<String>,
    /// Steps that were asked for after the last.
    extra: usize,
    /// The paths of all requests, for who looks for what went wrong.
    log: Vec<String>,
}

/// The server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

/// After so many more answers than its script has, a story has gone round in circles.
pub(crate) const LOOP: usize = 6;

impl Server {
    /// Starts it. `tool`: requests that offer it are the conversation; others (titles, routing) are answered with a word.
    pub(crate) fn start(tool: &'static str, steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State { steps: steps.into(), ..State::default() }));
        let server = Self { port, state };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = own.clone();
                std::thread::spawn(move || {
                    // A client that goes away is no matter of the server's.
                    drop(server.answer(stream, tool));
                });
            }
        });
        server
    }

    /// What the model has read, request by request.
    pub(crate) fn read(&self) -> Vec<String> {
        self.state.lock().expect("a lock").read.clone()
    }

    /// How many answers were asked for beyond the script.
    pub(crate) fn extra(&self) -> usize {
        self.state.lock().expect("a lock").extra
    }

    /// Whether all of the script was said.
    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().expect("a lock").steps.is_empty()
    }

    pub(crate) fn log(&self) -> String {
        self.state.lock().expect("a lock").log.join("\n")
    }

    fn step(&self, body: &str) -> Step {
        let mut state = self.state.lock().expect("a lock");
        state.read.push(body.to_owned());
        match state.steps.pop_front() {
            Some(step) => step,
            None => {
                state.extra += 1;
                Step::Say("I have nothing more to say.")
            }
        }
    }

    fn answer(&self, mut stream: TcpStream, tool: &str) -> std::io::Result<()> {
        let (line, body) = read_message(&mut BufReader::new(stream.try_clone()?), || {
            (&stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        })?;
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let request: Value = serde_json::from_str(&body).unwrap_or_default();
        let is_conversation = offers(&request, tool);
        self.state.lock().expect("a lock").log.push(format!("{} {is_conversation} {}", line.trim(), body.len()));
        let is_stream = request["stream"] == true || path.contains("streamGenerateContent");
        let take = || if is_conversation { self.step(&body) } else { Step::Say("ok") };
        let (kind, text) = match path.split('?').next().unwrap_or_default() {
            path if path.ends_with("/messages/count_tokens") => {
                ("application/json", json!({ "input_tokens": 1 }).to_string())
            }
            path if path.ends_with("/messages") => messages(&take(), is_stream),
            path if path.ends_with("/responses") => responses(&take()),
            path if path.ends_with("/chat/completions") => chat(&take(), is_stream),
            path if path.ends_with("enerateContent") => gemini(&take(), is_stream),
            path if path.ends_with(":countTokens") => ("application/json", json!({ "totalTokens": 1 }).to_string()),
            path if path.ends_with("/models") => (
                "application/json",
                json!({ "object": "list", "data": [{ "id": "scripted", "object": "model" }], "models": [] })
                    .to_string(),
            ),
            _ => ("application/json", "{}".to_owned()),
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    }
}

/// The first line of a request or an answer, and its body. Where no header says how long that is, there is none.
fn read_message(
    reader: &mut impl BufRead,
    go_on: impl Fn() -> std::io::Result<()>,
) -> std::io::Result<(String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let header = header.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        is_chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        if header.starts_with("expect:") {
            go_on()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    while is_chunked {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..size]);
        is_chunked = size > 0;
    }
    Ok((line, String::from_utf8_lossy(&body).into_owned()))
}

/// Whether a request offers a tool.
fn offers(request: &Value, tool: &str) -> bool {
    let named = |value: &Value| value["name"] == tool || value["function"]["name"] == tool;
    let declared = |value: &Value| {
        ["functionDeclarations", "function_declarations"]
            .iter()
            .any(|key| value[key].as_array().is_some_and(|list| list.iter().any(named)))
    };
    request["tools"].as_array().is_some_and(|tools| tools.iter().any(|value| named(value) || declared(value)))
}

const STREAM: &str = "text/event-stream";

fn events(events: &[Value]) -> (&'static str, String) {
    let line = |event: &Value| {
        let named = event["type"].as_str().map_or_else(String::new, |name| format!("event: {name}\n"));
        format!("{named}data: {event}\n\n")
    };
    (STREAM, events.iter().map(line).collect())
}

/// A random name for a call: clients tell calls apart by it.
fn call_id(prefix: &str) -> String {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
    format!("{prefix}_{:04}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn messages(step: &Step, is_stream: bool) -> (&'static str, String) {
    let (start, delta, content, reason) = match step {
        Step::Say(text) => (
            json!({ "type": "text", "text": "" }),
            json!({ "type": "text_delta", "text": text }),
            json!({ "type": "text", "text": text }),
            "end_turn",
        ),
        Step::Call(name, input) => {
            let id = call_id("toolu");
            (
                json!({ "type": "tool_use", "id": id, "name": name, "input": {} }),
                json!({ "type": "input_json_delta", "partial_json": input.to_string() }),
                json!({ "type": "tool_use", "id": id, "name": name, "input": input }),
                "tool_use",
            )
        }
        Step::Patch(_) => panic!("no such tool there"),
    };
    let usage = json!({ "input_tokens": 1, "output_tokens": 1 });
    let message = |content: Value, reason: Value| {
        json!({
            "id": call_id("msg"), "type": "message", "role": "assistant", "model": "scripted", "content": content,
            "stop_reason": reason, "stop_sequence": null, "usage": usage,
        })
    };
    if !is_stream {
        return ("application/json", message(json!([content]), json!(reason)).to_string());
    }
    events(&[
        json!({ "type": "message_start", "message": message(json!([]), Value::Null) }),
        json!({ "type": "content_block_start", "index": 0, "content_block": start }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": null }, "usage": { "output_tokens": 1 } }),
        json!({ "type": "message_stop" }),
    ])
}

fn responses(step: &Step) -> (&'static str, String) {
    let item = match step {
        Step::Say(text) => json!({
            "type": "message", "role": "assistant", "id": call_id("msg"),
            "content": [{ "type": "output_text", "text": text }],
        }),
        Step::Call(name, arguments) => json!({
            "type": "function_call", "call_id": call_id("call"), "name": name, "arguments": arguments.to_string(),
        }),
        Step::Patch(patch) => json!({
            "type": "custom_tool_call", "call_id": call_id("call"), "name": "apply_patch", "input": patch,
        }),
    };
    let usage = json!({
        "input_tokens": 1, "input_tokens_details": null, "output_tokens": 1, "output_tokens_details": null,
        "total_tokens": 2,
    });
    let id = call_id("resp");
    events(&[
        json!({ "type": "response.created", "response": { "id": id } }),
        json!({ "type": "response.output_item.done", "item": item }),
        json!({ "type": "response.completed", "response": { "id": id, "usage": usage } }),
    ])
}

fn chat(step: &Step, is_stream: bool) -> (&'static str, String) {
    let (message, reason) = match step {
        Step::Say(text) => (json!({ "role": "assistant", "content": text }), "stop"),
        Step::Call(name, arguments) => {
            let call = json!({
                "index": 0, "id": call_id("call"), "type": "function",
                "function": { "name": name, "arguments": arguments.to_string() },
            });
            (json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls")
        }
        Step::Patch(_) => panic!("no such tool there"),
    };
    let usage = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
    let whole = |object: &str, choice: Value| json!({ "id": "chat-1", "object": object, "created": 1, "model": "scripted", "choices": [choice], "usage": usage });
    if !is_stream {
        let choice = json!({ "index": 0, "message": message, "finish_reason": reason });
        return ("application/json", whole("chat.completion", choice).to_string());
    }
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": reason });
        format!("data: {}\n\n", whole("chat.completion.chunk", choice))
    };
    let text = chunk(message, Value::Null) + &chunk(json!({}), json!(reason)) + "data: [DONE]\n\n";
    (STREAM, text)
}

fn gemini(step: &Step, is_stream: bool) -> (&'static str, String) {
    let part = match step {
        Step::Say(text) => json!({ "text": text }),
        Step::Call(name, args) => json!({ "functionCall": { "name": name, "args": args } }),
        Step::Patch(_) => panic!("no such tool there"),
    };
    let said = json!({
        "candidates": [{ "content": { "role": "model", "parts": [part] }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2 },
    });
    if is_stream { (STREAM, format!("data: {said}\n\n")) } else { ("application/json", said.to_string()) }
}

/// Posts JSON to a server on loopback, and reads its answer: by its length, since Kilo may leave the connection open.
pub(crate) fn post(port: u16, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        Ok(read_message(&mut BufReader::new(stream), || Ok(()))?.1)
    };
    serde_json::from_str(&exchange().unwrap_or_default()).unwrap_or_default()
}
