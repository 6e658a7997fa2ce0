/**
 * The histories of a run under faults, as `--history DIR` leaves them. Each teller has a file of JSON lines of its own, outside
 * the database, and appends a line when something has happened. `at` is always milliseconds since 1970 by the clock of
 * the machine, which all tellers share; the last line of a teller that was killed may be cut.
 *
 * | file                 | teller                                                                    | schema          |
 * | -------------------- | ------------------------------------------------------------------------- | --------------- |
 * | `run.json`           | the run: what there was (one object, not lines)                           | `RunFacts`      |
 * | `client.jsonl`       | who ordered, cancelled and requeued, and what was answered                | `ClientLine`    |
 * | `wire.jsonl`         | the gateway: each request of an agent as it reached a replica, its answer | `WireLine`      |
 * | `farm.jsonl`         | the devices: connections, logins, commands                                | `FarmLine`      |
 * | `agent-NAME.jsonl`   | a real agent: each line of its log, with when it was heard                | `AgentLine`     |
 * | `protocol-N.jsonl`   | a process of agents that speak the protocol and no SSH                    | `ProtocolLine`  |
 * | `faults.jsonl`       | the scheduler of the faults                                               | `FaultLine`     |
 * | `monitor.jsonl`      | looks into the database while all goes on, each of one snapshot           | `MonitorLine`   |
 * | `replica-NAME.log`   | a replica of the control plane: its own log, for people                   |                 |
 * | `tables/TABLE.jsonl` | the database at the end: a row a line, its columns by their names         | `tables.ts`     |
 * | `secrets.jsonl`      | where secrets of this run were found in clear: must be empty              | `SecretLine`    |
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

const At = z.number();

export const RunFacts = z.object({
  seed: z.int(),
  seconds: z.int(),
  /** How long an agent may be unheard at every site of the run. */
  ttlSeconds: z.number(),
  startedAt: At,
  /** When no more faults were made and no more jobs ordered. */
  calmAt: At,
  /** When every job had ended, or patience. */
  quietAt: At,
  /** How many secrets were looked for at the end. */
  secrets: z.int(),
  sites: z.array(z.object({ siteId: z.string(), name: z.string(), maxLive: z.int() })),
  agents: z.array(z.object({
    agentId: z.string(),
    name: z.string(),
    /** `protocol`: simulated, without sessions on devices. */
    kind: z.enum(["real", "protocol"]),
    capacity: z.int(),
  })),
  devices: z.array(z.object({
    deviceId: z.string(),
    siteId: z.string(),
    /** Of its SSH server; null: there is none, protocol agents only say that they were there. */
    port: z.int().nullable(),
  })),
  policies: z.array(z.object({
    policyId: z.string(),
    /** It runs by itself at each full so many minutes from `createdAt` on, to `calmAt`; null: now and then it is disabled. */
    everyMinutes: z.int().nullable(),
    createdAt: At,
    deviceIds: z.array(z.string()),
  })),
});
export type RunFacts = z.infer<typeof RunFacts>;

/** One call of the API, from its first try to its end; `tries` beyond 1 are what a client sees of faults. */
export const ClientLine = z.object({
  at: At,
  event: z.enum([
    ...["order", "cancel", "requeue", "read", "revoke", "run_policy", "switch_policy"] as const,
    "give_up",
  ]),
  startedAt: At,
  tries: z.int(),
  /** Why each try but the last one failed. */
  reasons: z.array(z.string()),
  /** The problem that it was refused with; absent for a success. */
  refused: z.string().optional(),
  urgency: z.string().optional(),
  priority: z.int().optional(),
  /** Of an order or a requeue: the jobs as they were answered. */
  jobs: z.array(z.object({ jobId: z.string(), deviceId: z.string(), coalesced: z.boolean() }))
    .optional(),
  jobId: z.string().optional(),
  agentId: z.string().optional(),
  /** `cancelled` or `requested`. */
  state: z.string().optional(),
  policyId: z.string().optional(),
  occurrenceId: z.string().optional(),
});
export type ClientLine = z.infer<typeof ClientLine>;

/** One request of an agent as it was passed on to a replica. `copy` 1 is a duplicate that the network made. */
export const WireLine = z.object({
  at: At,
  /** When the agent had sent it, whatever it waited for afterwards. */
  receivedAt: At,
  agentId: z.string().nullable(),
  /** `POST claim`, `POST heartbeat`, `POST result`, … */
  call: z.string(),
  copy: z.int(),
  replica: z.string(),
  /** Null: the replica died or hung up. */
  status: z.int().nullable(),
  /** Whether the answer was given to the agent. */
  delivered: z.boolean(),
  bootId: z.string().optional(),
  leaseId: z.string().optional(),
  /** Of a claim: what was granted; of a heartbeat: nothing. */
  leases: z.array(z.object({
    leaseId: z.string(),
    jobId: z.string(),
    epoch: z.int(),
    deviceId: z.string(),
    agentId: z.string(),
    bootId: z.string(),
  })).optional(),
  claimId: z.string().optional(),
  /** Of a result: the digest of the body as it travelled, and the answer. */
  envelope: z.string().optional(),
  answer: z.string().optional(),
  /** The control plane says that it gave this answer before. */
  duplicate: z.boolean().optional(),
});
export type WireLine = z.infer<typeof WireLine>;

export const FarmLine = z.object({
  at: At,
  port: z.int(),
  connection: z.int(),
  event: z.enum(["opened", "login", "command", "sent", "closed"]),
  /** Of a login: agents with a login of their own are known by it. */
  user: z.string().optional(),
  accepted: z.boolean().optional(),
});
export type FarmLine = z.infer<typeof FarmLine>;

/** A line of an agent's log. `said.at` is by the agent's own clock, which may jump. */
export const AgentLine = z.object({
  at: At,
  said: z.looseObject({
    event: z.string(),
    lease: z.string().optional(),
    job: z.string().optional(),
    device: z.string().optional(),
  }),
});
export type AgentLine = z.infer<typeof AgentLine>;

export const ProtocolLine = z.object({
  at: At,
  event: z.enum(["started", "ended", "answered", "dropped", "fenced"]),
  agentId: z.string(),
  leaseId: z.string().optional(),
  jobId: z.string().optional(),
  epoch: z.int().optional(),
  answer: z.string().optional(),
});
export type ProtocolLine = z.infer<typeof ProtocolLine>;

export const FaultLine = z.object({
  at: At,
  fault: z.string(),
  target: z.string(),
  /** What of it: `begin` and `end` of what lasts. */
  phase: z.enum(["begin", "end"]),
  note: z.string().optional(),
});
export type FaultLine = z.infer<typeof FaultLine>;

export const MonitorLine = z.object({
  at: At,
  jobs: z.int(),
  /** Jobs that were not in exactly one of ready, leases and done. */
  misplaced: z.int(),
  /** Sites with more leases than their limit. */
  overfull: z.int(),
});
export type MonitorLine = z.infer<typeof MonitorLine>;

export const SecretLine = z.object({ at: At, where: z.string(), secret: z.string() });
export type SecretLine = z.infer<typeof SecretLine>;

/** Appends to one file, each line with one write, so that a kill cuts at most the last one. */
export interface Teller<Line> extends Disposable {
  tell(line: Omit<Line, "at">): void;
}

export function openTeller<Line>(folder: string, name: string): Teller<Line> {
  const file = openSync(join(folder, name), "a");
  let closed = false;
  return {
    tell(line) {
      // What is heard after the end belongs to no history.
      if (!closed) writeSync(file, `${JSON.stringify({ at: Date.now(), ...line })}\n`);
    },
    [Symbol.dispose]() {
      if (!closed) closeSync(file);
      closed = true;
    },
  };
}

/** Reads the lines of a file, oldest first; none where there is no file. */
export async function readLines<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): Promise<z.infer<Schema>[]> {
  const text = await Deno.readTextFile(path).catch((error: unknown) => {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.flatMap((line, index) => {
    const value = parse(line);
    // A teller that was killed and came again leaves its cut line in the middle.
    if (value === undefined && index < lines.length) return [];
    return [schema.parse(value)];
  });
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
