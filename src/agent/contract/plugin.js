// Written by `nixbox hook install @AGENT@`; the same command with --uninstall removes it.
//
// Calls nixbox when a session becomes idle, after an edit, and before a turn. @AGENT@ has no way to block the end of a turn:
// a failure is sent as the next message, once; the second time it is only shown. Without nixbox nothing happens.
import { spawn } from "node:child_process";
import { dirname, sep } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = "@PROGRAM@";
// In milliseconds. nixbox itself stops earlier.
const LIMITS = { "session.idle": @TURN_END@, "tool.execute.after": @EDIT@, "chat.message": @PROMPT@ };
const EDITS = new Set(["edit", "multiedit", "write", "patch", "apply_patch"]);
// A check that takes longer than this is announced, in milliseconds.
const PATIENCE = 2000;

// Sessions that are being tested, and that the user aborted; what runs for each.
const testing = new Set();
const aborted = new Set();
const running = new Map();

// A plugin in a project is for that project's sessions only.
const beside = dirname(dirname(fileURLToPath(import.meta.url)));
const project = [".opencode", ".kilo"].some((name) => beside.endsWith(sep + name)) ? dirname(beside) : undefined;
const isOurs = (directory) =>
  !project || !directory || directory === project || directory.startsWith(project + sep);

// The response of nixbox; an empty one if it cannot be started.
function ask(payload) {
  return new Promise((resolve) => {
    let answer = "";
    const child = spawn(PROGRAM, ["hook", "@AGENT@"], {
      cwd: payload.directory,
      stdio: ["pipe", "pipe", "ignore"],
    });
    const children = running.get(payload.session) ?? new Set();
    running.set(payload.session, children.add(child));
    const clock = setTimeout(() => child.kill(), LIMITS[payload.event]);
    const end = () => {
      clearTimeout(clock);
      children.delete(child);
      try {
        const said = JSON.parse(answer);
        resolve(said && typeof said === "object" ? said : {});
      } catch {
        resolve({});
      }
    };
    child.on("error", end);
    child.on("close", end);
    child.stdout.on("data", (data) => (answer += data));
    child.stdin.on("error", () => {});
    child.stdin.end(JSON.stringify(payload));
  });
}

// What was asked for a session that its user has stopped is not waited for.
function stop(session) {
  for (const child of running.get(session) ?? []) child.kill();
}

// A turn of this session has ended.
async function ended(session, directory, send, show) {
  if (testing.has(session) || !isOurs(directory)) return;
  testing.add(session);
  const clock = setTimeout(() => show("nixbox tests the configuration; its verdict follows").catch(() => {}), PATIENCE);
  const answer = await ask({ event: "session.idle", directory, session });
  clearTimeout(clock);
  testing.delete(session);
  if (answer.prompt) {
    await send(answer.prompt);
  } else if (answer.note) {
    await show(answer.note);
  }
}

// opencode 1: an object of hooks.
async function server({ client, directory }) {
  return {
    event: async ({ event }) => {
      const session = event.properties?.sessionID;
      if (event.type === "session.error" && event.properties.error?.name === "MessageAbortedError") {
        aborted.add(session);
        stop(session);
      }
      if (event.type === "session.deleted") stop(event.properties?.info?.id);
      if (event.type !== "session.idle" || aborted.delete(session)) return;
      try {
        const { data } = await client.session.get({ path: { id: session } });
        // A session with a parent is a subagent's.
        if (data?.parentID) return;
        await ended(
          session,
          data?.directory ?? directory,
          (text) => client.session.prompt({ path: { id: session }, body: { parts: [{ type: "text", text }] } }),
          (message) => client.tui.showToast({ body: { message, variant: "info" } }),
        );
      } catch {
        // A broken hook blocks nothing.
      }
    },
    "chat.message": async (input) => {
      // Its user goes on: what the last turn came to is not waited for any more. A verdict that is sent as a message
      // begins no turn, as nixbox knows by itself.
      stop(input?.sessionID);
      if (isOurs(directory)) await ask({ event: "chat.message", directory, session: input?.sessionID });
    },
    "tool.execute.after": async (input, output) => {
      if (!EDITS.has(input.tool) || !isOurs(directory)) return;
      const file = input.args?.filePath ?? output.metadata?.filepath;
      const patchText = input.args?.patchText;
      const files = file ? [file] : [];
      const answer = await ask({ event: "tool.execute.after", directory, session: input.sessionID, files, patchText });
      if (answer.append) output.output += "\n\n" + answer.append;
    },
  };
}

// opencode 2: a context with subscriptions. An aborted turn ends with another event.
async function setup(ctx) {
  const stopped = new AbortController();
  const listen = async () => {
    for await (const event of ctx.event.subscribe({ signal: stopped.signal })) {
      if (event.type !== "session.execution.succeeded") continue;
      const sessionID = event.data?.sessionID;
      if (!sessionID) continue;
      const report = async () => {
        const found = await ctx.session.get({ sessionID });
        const session = found?.data ?? found;
        if (session?.parentID) return;
        await ended(
          sessionID,
          session?.location?.directory,
          (text) => ctx.session.prompt({ sessionID, text }),
          async (text) => console.error(`nixbox: ${text}`),
        );
      };
      report().catch(() => {});
    }
  };
  listen().catch(() => {});
  return () => stopped.abort();
}

export default { id: "nixbox", server, setup };
