/**
 * A session thread: everything that a device can touch runs here, with the network and nothing else. Messages in:
 * `ToThread`; out: `FromThread`.
 */
import { compilePolicy, type LocalPolicy } from "../local_policy.ts";
import { runSession, type SessionOrder, type SessionReport } from "../session/session.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import { withTurns } from "../ssh/turn.ts";
import { unlockedKeys } from "../ssh/unlocked_keys.ts";
import type { FromThread, SentReport, ToThread } from "./messages.ts";
import { Pulse } from "./pulse.ts";

const TICK_MS = 100;

type RunMessage = Extract<ToThread, { type: "run" }>;

/** Without the worker's own library: this file is type-checked with the rest. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<ToThread>) => void) | null;
  postMessage(message: FromThread, transfer: ArrayBuffer[]): void;
}

const scope = globalThis as unknown as WorkerScope;
const running = new Map<number, AbortController>();
let pulse = new Pulse();
let policy: LocalPolicy = { networks: [] };

function open(message: Extract<ToThread, { type: "open" }>): void {
  pulse = new Pulse(message.pulse);
  policy = message.policy;
  setInterval(() => {
    const { heapUsed, external } = Deno.memoryUsage();
    pulse.tick(heapUsed + external);
    unlockedKeys.forgetOld();
  }, TICK_MS);
  pulse.tick(0);
}

async function run(message: RunMessage): Promise<void> {
  const { id } = message;
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const order = openOrder(message);
    const report = await withTurns(
      () => takeTurn(id),
      () =>
        runSession(order, {
          signal: controller.signal,
          onStep: (step, percent) =>
            send({ type: "progress", id, step: step.slice(0, 80), percent }),
        }),
    );
    send({ type: "completed", id, report: sentReport(report) });
  } catch (error) {
    send(answerOf(id, error));
  } finally {
    running.delete(id);
  }
}

/**
 * Deno ends a thread between two turns of its event loop. One that was given up in the middle of a long turn is stopped here,
 * before it reads or writes anything more.
 */
function takeTurn(id: number): void {
  pulse.untilHeld();
  if (pulse.isGivenUp) throw new DeviceError("lease_lost");
  pulse.onTurn(id);
}

/** The policy came with the thread and not with the order: no message of a session changes it. */
function openOrder({ order, credential }: RunMessage): SessionOrder {
  const secrets: SessionOrder["credential"] = JSON.parse(new TextDecoder().decode(credential));
  credential.fill(0);
  const allows = compilePolicy(policy);
  const { port } = order.target;
  return {
    ...order,
    credential: secrets,
    allowAddress: (address) => allows({ address, port }),
  };
}

/** Each text in a buffer of its own, which changes hands without being copied. */
function sentReport(report: SessionReport): SentReport {
  if (report.kind !== "backup_config") return report as SentReport;
  return {
    ...report,
    captures: report.captures.map(({ outcome, raw }) => ({ outcome, raw: new Uint8Array(raw) })),
  };
}

function answerOf(id: number, error: unknown): FromThread {
  if (error instanceof DeviceError) {
    const { code, message, hostKey } = error;
    return {
      ...{ type: "failed", id, code, message: message.slice(0, 2_000) },
      ...(hostKey ? { hostKey } : {}),
    };
  }
  return { type: "faulted", id, message: String(error).slice(0, 2_000) };
}

function send(message: FromThread): void {
  const buffers = message.type === "completed" && message.report.kind === "backup_config"
    ? message.report.captures.map(({ raw }) => raw.buffer as ArrayBuffer)
    : [];
  scope.postMessage(message, buffers);
}

// What a session throws that may not go on is no fault, and nothing for the log of a process that is to end this thread.
globalThis.addEventListener("error", (event) => {
  if (pulse.isGivenUp) event.preventDefault();
});

scope.onmessage = ({ data }) => {
  if (data.type === "open") open(data);
  else if (data.type === "run") void run(data);
  else running.get(data.id)?.abort(new DeviceError(data.code));
};
