// Written by `nixbox hook install opencode`; the same command with --uninstall removes it.
//
// Calls nixbox when a session becomes idle, and after an edit. opencode has no way to block the end of a turn: a failure
// is sent as the next message, once; the second time in a row it is only shown.
import { spawn } from "node:child_process";
import { dirname, sep } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = "@PROGRAM@";
// In milliseconds. nixbox itself stops earlier.
const LIMITS = { "session.idle": @TURN_END@, "tool.execute.after": @EDIT@ };
const EDITS = new Set(["edit", "multiedit", "write", "patch", "apply_patch"]);

// Sessions that continue because of us, that are being tested, that the user aborted.
const prompted = new Set();
const testing = new Set();
const aborted = new Set();

// A plugin in a project is for that project's sessions only.
const beside = dirname(dirname(fileURLToPath(import.meta.url)));
const project = beside.endsWith(sep + ".opencode") ? dirname(beside) : undefined;
const isOurs = (directory) =>
  !project || !directory || directory === project || directory.startsWith(project + sep);

// The response of nixbox; an empty one if it cannot be started.
function ask(payload) {
  return new Promise((resolve) => {
    let answer = "";
    const child = spawn(PROGRAM, ["hook", "opencode"], {
      cwd: payload.directory,
      stdio: ["pipe", "pipe", "ignore"],
    });
    const clock = setTimeout(() => child.kill(), LIMITS[payload.event]);
    const end = () => {
      clearTimeout(clock);
      try {
        resolve(JSON.parse(answer) ?? {});
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

// A turn of this session has ended.
async function ended(session, directory, send, show) {
  if (testing.has(session) || !isOurs(directory)) return;
  testing.add(session);
  const answer = await ask({ event: "session.idle", directory, again: prompted.has(session) });
  testing.delete(session);
  prompted.delete(session);
  if (answer.prompt) {
    prompted.add(session);
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
      }
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
    "tool.execute.after": async (input, output) => {
      if (!EDITS.has(input.tool) || !isOurs(directory)) return;
      const file = input.args?.filePath ?? output.metadata?.filepath;
      const answer = await ask({ event: "tool.execute.after", directory, files: file ? [file] : [] });
      if (answer.append) output.output += "\n\n" + answer.append;
    },
  };
}

// opencode 2: a context with subscriptions. An aborted turn ends with another event.
async function setup(ctx) {
  const stop = new AbortController();
  const listen = async () => {
    for await (const event of ctx.event.subscribe({ signal: stop.signal })) {
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
          (text) => console.error(`nixbox: ${text}`),
        );
      };
      report().catch(() => {});
    }
  };
  listen().catch(() => {});
  return () => stop.abort();
}

export default { id: "nixbox", server, setup };
