import { UnexpectedReplyError } from "@rookery/shared/client.ts";
import { ProblemError, PROBLEMS } from "@rookery/shared/problem.ts";
import { Agent } from "./agent.ts";
import { CommandLineError, type Order, readCommandLine, USAGE } from "./command_line.ts";
import { enroll, EnrolmentError, fingerprintOf } from "./enroll.ts";
import { AddressError, openRoute } from "./http.ts";
import { errorText, jsonLog } from "./log.ts";
import { CaFileError } from "./network_settings.ts";
import { ReachError } from "./reach_error.ts";
import { readSettings, SettingsError } from "./settings.ts";
import { StateFolder, StateFolderError } from "./state_folder.ts";
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
      return await runCommand(order.state);
    case "status":
      return await statusCommand(order.state);
    case "help":
      print(USAGE.trimEnd());
      return 0;
  }
}

async function enrollCommand({ state: path, url = "", token = "" }: Order): Promise<number> {
  const state = await StateFolder.open(path);
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

async function runCommand(path: string): Promise<number> {
  const unread = missingReads();
  if (unread.length > 0) {
    complain(
      `Cannot run: device sessions have a thread of their own, which is loaded from ${
        unread.join(" and ")
      }. Add to the flags of deno: --allow-read=${[path, ...unread].join(",")}`,
    );
    return 2;
  }
  const state = await StateFolder.open(path);
  const identity = await state.readIdentity();
  if (!identity) {
    complain(`Cannot run: ${path} holds no enrolled agent. Enrol it first.`);
    return 2;
  }
  using _lock = await state.lock();
  const settings = await readSettings(path);
  using route = await openRoute(identity.controlPlaneUrl, { stateFolder: path, settings });
  const agent = await Agent.start({ state, identity, settings, send: route.send, log: jsonLog() });
  let signals = 0;
  const onSignal = () => (++signals === 1 ? agent.drain() : agent.stop());
  Deno.addSignalListener("SIGTERM", onSignal);
  Deno.addSignalListener("SIGINT", onSignal);
  await agent.finished;
  return 0;
}

async function statusCommand(path: string): Promise<number> {
  const state = await StateFolder.open(path);
  const identity = await state.readIdentity();
  if (!identity) {
    complain(`${path} holds no enrolled agent.`);
    return 1;
  }
  print(`agent         ${identity.name} (${identity.agentId})`);
  print(`fingerprint   ${await fingerprintOf(identity)}`);
  print(`control plane ${identity.controlPlaneUrl}`);
  print(`sites         ${identity.siteIds.join(", ")}`);
  return 0;
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
