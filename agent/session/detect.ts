import { PROBE_DRIVER } from "@rookery/shared/drivers/probe.ts";
import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import { type Evidence, MOST_ANSWER_CHARACTERS } from "@rookery/shared/jobs/detect_platform.ts";
import { DeviceError, plainText } from "../ssh/ssh_failure.ts";
import type { DeviceConnection, NegotiatedAlgorithms } from "../ssh/transport.ts";
import type { RunCommand } from "./command.ts";
import { openCommandLine } from "./command_line.ts";
import { execRunner } from "./exec_command.ts";
import { connectTo, type DeviceOrder, withinLimits } from "./order.ts";
import { readable } from "./run_commands.ts";

/** Which commands to try on a device of which nothing is known; that each of them only reads was checked before. */
export interface DetectOrder extends DeviceOrder {
  readonly kind: "detect_platform";
  readonly probes: readonly string[];
}

export interface DetectReport extends Evidence {
  readonly kind: "detect_platform";
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

const MOST_BYTES = 256 * 1_024;

/** Collects what a device shows of itself. A device that gives no shell, or loses patience, has shown what it has. */
export function detectPlatform(
  order: DetectOrder,
  options: { readonly signal: AbortSignal },
): Promise<DetectReport> {
  return withinLimits(order, options, async (signal) => {
    let ident = "";
    const connection = await connectTo(order, {
      signal,
      onStage: ({ stage, seen = "" }) => {
        if (stage === "banner") ident = seen;
      },
    });
    try {
      const asked = await ask(connection, { order, signal });
      const { hostKey, algorithms } = connection;
      return { kind: "detect_platform", ident, ...asked, hostKey, algorithms };
    } finally {
      await connection.close();
    }
  });
}

interface Asking {
  readonly order: DetectOrder;
  readonly signal: AbortSignal;
}

/** In a shell, or command by command where there is none to be had. */
async function ask(
  connection: DeviceConnection,
  asking: Asking,
): Promise<Pick<Evidence, "prompt" | "answers">> {
  const answers: Evidence["answers"] = [];
  const prompt = await forgiving(asking, () => askInShell(connection, { ...asking, answers }));
  if (prompt !== undefined || answers.length > 0) return { prompt: prompt ?? null, answers };
  await forgiving(asking, () => askByExec(connection, { ...asking, answers }));
  return { prompt: null, answers };
}

/** What was heard until a device lost its patience stands. */
async function forgiving<Result>(
  { signal }: Asking,
  run: () => Promise<Result>,
): Promise<Result | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof DeviceError) || signal.aborted) throw error;
    return undefined;
  }
}

async function askInShell(
  connection: DeviceConnection,
  { order, signal, answers }: Asking & { readonly answers: Evidence["answers"] },
): Promise<string> {
  const line = await openCommandLine(connection, {
    driver: PROBE_DRIVER,
    secrets: { username: "" },
    idleSeconds: order.limits.idleSeconds,
    signal,
  });
  await askEach(line.run, { order, answers });
  await line.logOut();
  return plainText(line.prompt, 200);
}

async function askByExec(
  connection: DeviceConnection,
  { order, signal, answers }: Asking & { readonly answers: Evidence["answers"] },
): Promise<void> {
  const { idleSeconds } = order.limits;
  const run = execRunner(connection, { driver: PROBE_DRIVER, signal, idleSeconds });
  await askEach(run, { order, answers });
}

async function askEach(
  run: RunCommand,
  { order, answers }: { readonly order: DetectOrder; readonly answers: Evidence["answers"] },
): Promise<void> {
  for (const command of order.probes) {
    const { bytes } = await run(command, {
      ...{ maxBytes: MOST_BYTES, isWhole: () => true, confirmPrompt: false },
    });
    answers.push({ command, text: readable(bytes).slice(0, MOST_ANSWER_CHARACTERS) });
  }
}
