/** All that is known of a run, read from its histories: what the invariants are judged by, and nothing else. */
import { join } from "node:path";
import { z } from "zod";
import {
  AgentLine,
  ClientLine,
  FarmLine,
  FaultLine,
  MonitorLine,
  ProtocolLine,
  readLines,
  RunFacts,
  SecretLine,
  WireLine,
} from "./history.ts";

import { PROTOCOL_PROCESSES } from "./plan.ts";

/** A time of the database as milliseconds since 1970, to the microsecond. */
const Time = z.string().transform((text) => {
  const [, seconds = "", fraction = "0", zone = "Z"] =
    /^([^.+Z]+?)(?:\.(\d+))?([+-]\d\d:\d\d|Z)?$/.exec(text) ?? [];
  return Date.parse(`${seconds}${zone}`) + Number(`0.${fraction}`) * 1_000;
});
const Key = { site_id: z.string(), job_id: z.string() };

const JobRow = z.object({
  id: z.string(),
  site_id: z.string(),
  device_id: z.string(),
  kind: z.string(),
  priority: z.int(),
  urgency: z.enum(["interactive", "normal", "bulk"]),
  due_at: Time,
  created_at: Time,
  policy_id: z.string().nullable(),
  occurrence_at: z.string().nullable(),
});
export type JobRow = z.infer<typeof JobRow>;

const ReadyRow = z.object({ ...Key, device_id: z.string(), epoch: z.int() });
const LeaseRow = z.object({ ...Key, id: z.string(), device_id: z.string() });
const OpenJobRow = z.object({ ...Key, device_id: z.string() });

const DoneRow = z.object({
  ...Key,
  device_id: z.string(),
  epoch: z.int(),
  agent_id: z.string().nullable(),
  /** `completed`, `failed`, `cancelled`, `dead`, … */
  outcome: z.string(),
  failure_code: z.string().nullable(),
  ended_at: Time,
});
export type DoneRow = z.infer<typeof DoneRow>;

const GrantRow = z.object({
  ...Key,
  lease_id: z.string(),
  device_id: z.string(),
  agent_id: z.string(),
  boot_id: z.string(),
  epoch: z.int(),
  granted_at: Time,
  credential_id: z.string().nullable(),
});
export type GrantRow = z.infer<typeof GrantRow>;

const AttemptRow = z.object({
  ...Key,
  lease_id: z.string(),
  device_id: z.string(),
  epoch: z.int(),
  agent_id: z.string(),
  /** That of a report, or `released`, `expired`, `lost`, `superseded`. */
  outcome: z.string(),
  failure_code: z.string().nullable(),
  answer: z.enum(["accepted", "accepted_late", "superseded"]).nullable(),
  envelope_sha256: z.string().nullable(),
  ended_at: Time,
});
export type AttemptRow = z.infer<typeof AttemptRow>;

const AgentRow = z.object({ id: z.string(), status: z.string(), thumbprint: z.string() });
const DeliveryRow = z.object({
  lease_id: z.string(),
  agent_id: z.string(),
  thumbprint: z.string(),
});
const BackupRow = z.object({ job_id: z.string(), epoch: z.int(), status: z.string() });
const OccurrenceRow = z.object({
  id: z.string(),
  policy_id: z.string(),
  at: Time,
  /** `schedule`, `manual`, `change`. */
  trigger: z.string(),
  decision: z.string().nullable(),
});

export interface Evidence {
  readonly facts: RunFacts;
  readonly client: readonly ClientLine[];
  readonly wire: readonly WireLine[];
  readonly farm: readonly FarmLine[];
  /** By the name of the agent. */
  readonly agents: ReadonlyMap<string, readonly AgentLine[]>;
  readonly protocol: readonly ProtocolLine[];
  readonly faults: readonly FaultLine[];
  readonly monitor: readonly MonitorLine[];
  readonly secrets: readonly SecretLine[];
  readonly tables: Tables;
}

export interface Tables {
  readonly jobs: readonly JobRow[];
  readonly ready: readonly z.infer<typeof ReadyRow>[];
  readonly leases: readonly z.infer<typeof LeaseRow>[];
  readonly openJobs: readonly z.infer<typeof OpenJobRow>[];
  readonly done: readonly DoneRow[];
  readonly grants: readonly GrantRow[];
  readonly attempts: readonly AttemptRow[];
  readonly agents: readonly z.infer<typeof AgentRow>[];
  readonly deliveries: readonly z.infer<typeof DeliveryRow>[];
  readonly backups: readonly z.infer<typeof BackupRow>[];
  readonly occurrences: readonly z.infer<typeof OccurrenceRow>[];
}

/** Reads what `deno task faults --history DIR` left. */
export async function readEvidence(folder: string): Promise<Evidence> {
  const lines = <S extends z.ZodType>(name: string, schema: S) =>
    readLines(join(folder, name), schema);
  const facts = RunFacts.parse(JSON.parse(await Deno.readTextFile(join(folder, "run.json"))));
  const agents = new Map<string, AgentLine[]>();
  for (const { name, kind } of facts.agents) {
    if (kind === "real") agents.set(name, await lines(`agent-${name}.jsonl`, AgentLine));
  }
  return {
    facts,
    agents,
    client: await lines("client.jsonl", ClientLine),
    wire: await lines("wire.jsonl", WireLine),
    farm: await lines("farm.jsonl", FarmLine),
    protocol: (await Promise.all(
      Array.from(
        { length: PROTOCOL_PROCESSES },
        (_, index) => lines(`protocol-${index + 1}.jsonl`, ProtocolLine),
      ),
    )).flat(),
    faults: await lines("faults.jsonl", FaultLine),
    monitor: await lines("monitor.jsonl", MonitorLine),
    secrets: await lines("secrets.jsonl", SecretLine),
    tables: await readTables(folder),
  };
}

/** Reads what `exportTables` wrote. */
export async function readTables(folder: string): Promise<Tables> {
  const rows = <S extends z.ZodType>(name: string, schema: S) =>
    readLines(join(folder, "tables", `${name}.jsonl`), schema);
  return {
    jobs: await rows("jobs", JobRow),
    ready: await rows("ready", ReadyRow),
    leases: await rows("leases", LeaseRow),
    openJobs: await rows("open_jobs", OpenJobRow),
    done: await rows("done", DoneRow),
    grants: await rows("grants", GrantRow),
    attempts: await rows("attempts", AttemptRow),
    agents: await rows("agents", AgentRow),
    deliveries: await rows("secret_deliveries", DeliveryRow),
    backups: await rows("backups", BackupRow),
    occurrences: await rows("occurrences", OccurrenceRow),
  };
}

/** What a check found. */
export interface Finding {
  /** How many things were looked at: what was never looked at holds nothing. */
  readonly checked: number;
  /** One sentence each. */
  readonly violations: readonly string[];
}

export type Check = (evidence: Evidence) => Finding;
