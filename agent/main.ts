import { parseArgs } from "node:util";
import { Agent } from "./agent.ts";
import { enroll, EnrolmentError } from "./enroll.ts";
import { errorText, jsonLog } from "./log.ts";
import { makeSend } from "./http.ts";
import { readSettings, SettingsError } from "./settings.ts";
import { StateFolder, StateFolderError } from "./state_folder.ts";

const USAGE = `rookery-agent: backs up the devices of a site for a Rookery control plane

  enroll --url URL --token TOKEN   join a control plane, once
  run                              work until SIGTERM (drains) or a second one (stops)
  status                           say who this agent is

  --state DIR                      the agent's folder (default: data/agent); may hold settings.json
`;

const encoder = new TextEncoder();

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

function complain(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${text}\n`));
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals: [command] } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      state: { type: "string", default: "data/agent" },
      url: { type: "string" },
      token: { type: "string" },
    },
  });
  if (command === "enroll") return await enrollCommand(values);
  if (command === "run") return await runCommand(values.state);
  if (command === "status") return await statusCommand(values.state);
  complain(USAGE);
  return 2;
}

async function enrollCommand(values: { state: string; url?: string; token?: string }) {
  if (values.url === undefined || values.token === undefined) {
    complain("Cannot enrol: name --url and --token");
    return 2;
  }
  const state = await StateFolder.open(values.state);
  const identity = await enroll(
    { controlPlaneUrl: values.url, joinToken: values.token },
    { state, send: makeSend(), signal: AbortSignal.timeout(60_000) },
  );
  print(
    `Enrolled as ${identity.name} (${identity.agentId}). Start it with: run --state ${values.state}`,
  );
  return 0;
}

async function runCommand(path: string): Promise<number> {
  const state = await StateFolder.open(path);
  const identity = await state.readIdentity();
  if (!identity) {
    complain(`Cannot run: ${path} holds no enrolled agent. Enrol it first.`);
    return 2;
  }
  using _lock = await state.lock();
  const agent = await Agent.start({
    state,
    identity,
    settings: await readSettings(path),
    log: jsonLog(),
  });
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
  print(`control plane ${identity.controlPlaneUrl}`);
  print(`sites         ${identity.siteIds.join(", ")}`);
  return 0;
}

/** Errors that say what to do need no stack. */
function isPlain(error: unknown): boolean {
  return error instanceof EnrolmentError || error instanceof SettingsError ||
    error instanceof StateFolderError ||
    (error instanceof Error && ["ProblemError", "TypeError"].includes(error.name));
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    complain(isPlain(error) ? errorText(error) : String((error as Error).stack ?? error));
    Deno.exit(1);
  }
}
