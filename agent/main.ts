import { UnexpectedReplyError } from "@rookery/shared/client.ts";
import { ProblemError, PROBLEMS } from "@rookery/shared/problem.ts";
import { Agent } from "./agent.ts";
import { CommandLineError, type Order, readCommandLine, USAGE } from "./command_line.ts";
import { enroll, EnrolmentError } from "./enroll.ts";
import { AddressError, openRoute } from "./http.ts";
import { examine, EXIT_CODES, showFindings } from "./doctor/mod.ts";
import { errorText, fromLevel, jsonLog, type Log, textLog } from "./log.ts";
import { CaFileError } from "./network_settings.ts";
import { ReachError } from "./reach_error.ts";
import { readSettings, sessionLimit, SettingsError } from "./settings.ts";
import { readStatus, showStatus } from "./show_status.ts";
import { StateFolder, StateFolderError } from "./state_folder.ts";
import { type AgentFigures, StatusKeeper } from "./status_file.ts";
import { missingReads } from "./workers/worker_source.ts";

const ENROL_MS = 60_000;

const encoder = new TextEncoder();

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

function complain(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${text}\n`));
}

async function main(order: Order): Promise<number> {
  switch (order.command) {
    case "enroll":
      return await enrollCommand(order);
    case "run":
      return await runCommand(order);
    case "status":
      return await statusCommand(order);
    case "doctor":
      return await doctorCommand(order);
    case "help":
      print(USAGE.trimEnd());
      return 0;
  }
}

async function enrollCommand(order: Order): Promise<number> {
  const { state: path, url = "", token = "" } = order;
  const state = await openState(order);
  using route = await openRoute(url, { stateFolder: path, settings: await readSettings(path) });
  const identity = await enroll(
    { controlPlaneUrl: url, joinToken: token },
    { state, send: route.send, signal: AbortSignal.timeout(ENROL_MS), onPending },
  );
  print(`Enrolled as ${identity.name} (${identity.agentId}). Start it with: run --state ${path}`);
  return 0;
}

function onPending(fingerprint: string): void {
  print(`It waits for approval by its fingerprint: ${fingerprint}`);
}

/** An agent as root would have the whole machine at stake for what a device or a control plane sends. */
async function openState({ state: path, allowRoot, command }: Order): Promise<StateFolder> {
  const state = await StateFolder.open(path);
  if (allowRoot || await state.ownUid() !== 0) return state;
  throw new StateFolderError(
    `Cannot ${
      command === "enroll" ? "enrol" : command
    } as root: the agent needs no right of root's. Make it a user ` +
      `that owns ${path}, or let systemd do so (README, Agents); --allow-root does it all the same.`,
  );
}

async function runCommand(order: Order): Promise<number> {
  const { state: path, logLevel } = order;
  const unread = missingReads();
  if (unread.length > 0) {
    complain(
      `Cannot run: device sessions have a thread of their own, which is loaded from ${
        unread.join(" and ")
      }. Add to the flags of deno: --allow-read=${[path, ...unread].join(",")}`,
    );
    return 2;
  }
  const state = await openState(order);
  const identity = await state.readIdentity();
  if (!identity) {
    complain(`Cannot run: ${path} holds no enrolled agent. Enrol it first.`);
    return 2;
  }
  using _lock = await state.lock();
  const settings = await readSettings(path);
  using route = await openRoute(identity.controlPlaneUrl, { stateFolder: path, settings });
  let figures = () => NOTHING;
  await using keeper = new StatusKeeper({
    stateFolder: path,
    capacity: sessionLimit(settings),
    figures: () => figures(),
    log: fromLevel(logLevel, logOf(order)),
  });
  const { log } = keeper;
  const send = keeper.listen(route.send);
  const observe = (ask: () => AgentFigures) => void (figures = ask);
  const agent = await Agent.start({ state, identity, settings, send, log, observe });
  let signals = 0;
  const onSignal = () => (++signals === 1 ? agent.drain() : agent.stop());
  Deno.addSignalListener("SIGTERM", onSignal);
  Deno.addSignalListener("SIGINT", onSignal);
  await agent.finished;
  return 0;
}

const NOTHING: AgentFigures = { sessions: 0, spool: { entries: 0, bytes: 0 } };

function logOf({ log }: Order): Log {
  return (log ?? (Deno.stdout.isTerminal() ? "text" : "json")) === "text" ? textLog() : jsonLog();
}

async function statusCommand({ state: path, json }: Order): Promise<number> {
  const state = StateFolder.read(path);
  const identity = await state.readIdentity();
  if (!identity) {
    complain(`${path} holds no enrolled agent.`);
    return 1;
  }
  const status = await readStatus(state, identity);
  print(json ? JSON.stringify(status, null, 2) : showStatus(status));
  return 0;
}

async function doctorCommand({ state, url, device, json }: Order): Promise<number> {
  const findings = await examine({ stateFolder: state, url, device });
  print(json ? JSON.stringify(findings, null, 2) : showFindings(findings));
  return EXIT_CODES[findings.verdict];
}

/** What to print of an error: those that say what to do need no stack, and a refusal brings its remedy. */
function explain(error: unknown): string {
  if (error instanceof ReachError) return error.message;
  if (error instanceof ProblemError) return `${error.message} ${PROBLEMS[error.type][2]}`;
  return isPlain(error) ? errorText(error) : String((error as Error).stack ?? error);
}

const PLAIN = [
  AddressError,
  CaFileError,
  EnrolmentError,
  SettingsError,
  StateFolderError,
  UnexpectedReplyError,
];

function isPlain(error: unknown): boolean {
  return PLAIN.some((kind) => error instanceof kind) ||
    (error instanceof Error && ["TypeError", "TimeoutError"].includes(error.name));
}

/** An error that does not begin with what failed gets it in front. */
function complainOf(error: unknown, { command }: Order): number {
  const text = explain(error);
  const what = command === "enroll" ? "Cannot enrol" : `Cannot ${command}`;
  complain(text.startsWith("Cannot ") ? text : `${what}: ${text}`);
  return 1;
}

async function runProgram(args: readonly string[]): Promise<number> {
  let order: Order;
  try {
    order = readCommandLine(args);
  } catch (error) {
    if (!(error instanceof CommandLineError)) throw error;
    complain(`${error.message}\n\n${USAGE.trimEnd()}`);
    return 2;
  }
  return await main(order).catch((error: unknown) => complainOf(error, order));
}

if (import.meta.main) Deno.exit(await runProgram(Deno.args));
