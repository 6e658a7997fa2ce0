/** Evidence made up by hand: a small run in which nothing is wrong, for tests that put one thing wrong. */
import type { AttemptRow, DoneRow, Evidence, GrantRow, JobRow, Tables } from "./evidence.ts";
import type { FarmLine, WireLine } from "./history.ts";

const START = 1_000_000;
/** When the only job was granted, read, reported; logins are trusted by then. */
export const AT = START + 60_000;

export const SITE = "site-1";
export const DEVICE = "device-1";
export const AGENT = "agent-1";
export const NAME = "north-1";
const PORT = 4_001;
const BOOT = "boot-1";

export function job(id: string, more: Partial<JobRow> = {}): JobRow {
  return {
    id,
    site_id: SITE,
    device_id: DEVICE,
    kind: "backup_config",
    priority: 0,
    urgency: "normal",
    due_at: AT - 10_000,
    created_at: AT - 10_000,
    policy_id: null,
    occurrence_at: null,
    ...more,
  };
}

export function grant(jobId: string, epoch: number, more: Partial<GrantRow> = {}): GrantRow {
  return {
    site_id: SITE,
    job_id: jobId,
    lease_id: `${jobId}/${epoch}`,
    device_id: DEVICE,
    agent_id: AGENT,
    boot_id: BOOT,
    epoch,
    granted_at: AT,
    credential_id: null,
    ...more,
  };
}

export function attempt(of: GrantRow, more: Partial<AttemptRow> = {}): AttemptRow {
  const { site_id, job_id, lease_id, device_id, agent_id, epoch } = of;
  return {
    ...{ site_id, job_id, lease_id, device_id, agent_id, epoch },
    outcome: "completed",
    failure_code: null,
    answer: "accepted",
    envelope_sha256: `envelope of ${lease_id}`,
    ended_at: of.granted_at + 1_000,
    ...more,
  };
}

export function done(of: GrantRow, more: Partial<DoneRow> = {}): DoneRow {
  const { site_id, job_id, device_id, agent_id, epoch } = of;
  return {
    ...{ site_id, job_id, device_id, agent_id, epoch },
    outcome: "completed",
    failure_code: null,
    ended_at: of.granted_at + 1_000,
    ...more,
  };
}

/** What the agent was sent, as the gateway saw it. */
export function claimOf(of: GrantRow, more: Partial<WireLine> = {}): WireLine {
  const { lease_id: leaseId, job_id: jobId, epoch, device_id: deviceId } = of;
  const { agent_id: agentId, boot_id: bootId } = of;
  return {
    ...wire("POST claim", of.granted_at + 10),
    leases: [{ leaseId, jobId, epoch, deviceId, agentId, bootId }],
    ...more,
  };
}

export function resultOf(of: GrantRow, more: Partial<WireLine> = {}): WireLine {
  return {
    ...wire("POST result", of.granted_at + 1_000),
    leaseId: of.lease_id,
    envelope: `envelope of ${of.lease_id}`,
    answer: "accepted",
    duplicate: false,
    ...more,
  };
}

export function wire(call: string, at: number): WireLine {
  return {
    ...{ at, receivedAt: at - 5, agentId: AGENT, call, copy: 0, replica: "a", status: 200 },
    delivered: true,
  };
}

/** A session of the device, with an act every 100 ms. */
export function session(connection: number, from: number, acts = 3): FarmLine[] {
  const line = (event: FarmLine["event"], at: number) => ({ at, port: PORT, connection, event });
  return [
    line("opened", from),
    { ...line("login", from + 50), user: NAME, accepted: true },
    ...Array.from({ length: acts }, (_, n) => line("command", from + 100 * (n + 1))),
    line("sent", from + 100 * (acts + 1)),
    line("closed", from + 100 * (acts + 2)),
  ];
}

export type Change = Partial<Omit<Evidence, "tables">> & { readonly tables?: Partial<Tables> };

/** One job, ordered, granted, read, accepted; what a test wants otherwise is put over it. */
export function evidence(change: Change = {}): Evidence {
  const first = grant("job-1", 1);
  return {
    facts: {
      seed: 7,
      seconds: 60,
      ttlSeconds: 30,
      startedAt: START,
      calmAt: AT + 60_000,
      quietAt: AT + 70_000,
      secrets: 1,
      sites: [{ siteId: SITE, name: "north", maxLive: 2 }],
      agents: [{ agentId: AGENT, name: NAME, kind: "real", capacity: 4 }],
      devices: [{ deviceId: DEVICE, siteId: SITE, port: PORT }],
      policies: [],
    },
    client: [{
      at: AT - 9_000,
      startedAt: AT - 10_000,
      event: "order",
      tries: 1,
      reasons: [],
      jobs: [{ jobId: "job-1", deviceId: DEVICE, coalesced: false }],
    }],
    wire: [wire("POST heartbeat", AT + 20), claimOf(first), resultOf(first)],
    farm: session(1, AT + 100),
    agents: new Map([[NAME, [{
      at: AT + 90,
      said: { event: "attempt_started", lease: first.lease_id, job: first.job_id },
    }]]]),
    protocol: [],
    faults: [],
    monitor: [{ at: AT, jobs: 1, misplaced: 0, overfull: 0 }],
    secrets: [],
    ...change,
    tables: {
      jobs: [job("job-1")],
      ready: [],
      leases: [],
      openJobs: [],
      done: [done(first)],
      grants: [first],
      attempts: [attempt(first)],
      agents: [{ id: AGENT, status: "active", thumbprint: "key-1" }],
      deliveries: [{ lease_id: first.lease_id, agent_id: AGENT, thumbprint: "key-1" }],
      backups: [{ job_id: "job-1", epoch: 1, status: "verified" }],
      occurrences: [],
      ...change.tables,
    },
  };
}
