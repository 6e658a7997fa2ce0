import assert from "node:assert/strict";
import { CHECKS, judge } from "./check.ts";
import type { ClientLine } from "./history.ts";
import {
  AGENT,
  AT,
  attempt,
  type Change,
  claimOf,
  DEVICE,
  done,
  evidence,
  grant,
  job,
  NAME,
  resultOf,
  session,
  SITE,
  wire,
} from "./forged.ts";

const first = grant("job-1", 1);
const second = grant("job-1", 2, { granted_at: AT + 5_000 });
const revocation: ClientLine = {
  ...{ at: AT - 1_000, startedAt: AT - 1_100, event: "revoke", tries: 1, reasons: [] },
  agentId: AGENT,
};

/** Which checks find something wrong, with what they say. */
function found(change: Change): Record<string, readonly string[]> {
  const told = CHECKS.map(([name, , check]) => [name, check(evidence(change)).violations] as const);
  return Object.fromEntries(told.filter(([, violations]) => violations.length > 0));
}

function assertFinds(name: string, change: Change, what: RegExp): void {
  const violations = found(change)[name];
  assert.ok(violations, `${name} found nothing`);
  assert.match(violations.join("\n"), what);
}

/** A run of two leases of different devices, the job of the second one ended as well. */
function withSecond(other: ReturnType<typeof grant>, more: Parameters<typeof job>[1] = {}): Change {
  return {
    tables: {
      jobs: [job("job-1"), job(other.job_id, { device_id: other.device_id, ...more })],
      grants: [first, other],
      attempts: [attempt(first), attempt(other)],
      done: [done(first), done(other)],
      backups: [first, other].map(({ job_id, epoch }) => ({ job_id, epoch, status: "verified" })),
    },
  };
}

Deno.test("judge() finds nothing in a run in which nothing is wrong, and ends with the line of counts", () => {
  assert.deepEqual(found({}), {});
  const { lines, violations } = judge(evidence());
  assert.equal(violations, 0);
  assert.equal(lines.at(-1), "jobs 1, kills 0, pauses 0, cuts 0, seed 7");
  assert.match(lines.join("\n"), /I11 .* 0 checked, 0 violations/);
});

Deno.test("I1 finds jobs in no place, in two, both open and ended, and what was seen on the way", () => {
  assertFinds("I1", { tables: { done: [] } }, /job-1 is in 0 places/);
  const ready = [{ site_id: SITE, job_id: "job-1", device_id: DEVICE, epoch: 1 }];
  assertFinds("I1", { tables: { ready } }, /job-1 is in 2 places/);
  const openJobs = [{ site_id: SITE, job_id: "job-1", device_id: DEVICE }];
  assertFinds("I1", { tables: { openJobs } }, /job-1 is open and ended/);
  assertFinds("I1", { tables: { jobs: [] } }, /job-1 is no job/);
  const monitor = [{ at: AT, jobs: 1, misplaced: 2, overfull: 0 }];
  assertFinds("I1", { monitor }, /2 jobs were not in one place/);
});

Deno.test("I2 finds two leases of a device at once, and two connections that speak to it in turns", () => {
  const other = grant("job-2", 1, { granted_at: AT + 500 });
  assertFinds("I2", withSecond(other), /two leases lived for device device-1/);
  const apart = grant("job-2", 1, { granted_at: AT + 2_000 });
  assert.equal(found(withSecond(apart)).I2, undefined);
  assertFinds("I2", { farm: [...session(1, AT), ...session(2, AT + 120)] }, /connections 1 and 2/);
  // One whose agent was stopped stays open and says nothing more.
  const [opened, login] = session(1, AT);
  const closed = { ...session(1, AT).at(-1), at: AT + 90_000 } as NonNullable<typeof opened>;
  const silent = [opened, login, closed].filter((line) => line !== undefined);
  assert.equal(found({ farm: [...silent, ...session(2, AT + 120)] }).I2, undefined);
});

Deno.test("I3 finds epochs that fall or repeat, and leases that were sent or started otherwise than granted", () => {
  const fallen = grant("job-1", 2, { granted_at: AT - 5_000 });
  assertFinds("I3", { tables: { grants: [first, fallen] } }, /with the epochs 2,1/);
  const gap = grant("job-1", 3, { granted_at: AT + 5_000 });
  assertFinds("I3", { tables: { grants: [first, gap] } }, /with the epochs 1,3/);
  const to = { ...first, agent_id: "agent-2" };
  assertFinds("I3", { wire: [claimOf(to)] }, /sent otherwise/);
  const said = { event: "attempt_started", lease: "another", job: "job-1" };
  const agents = new Map([[NAME, [{ at: AT, said }]]]);
  assertFinds("I3", { agents }, /started another/);
});

Deno.test("I4 finds a second accepted result of an epoch, of a job and on the wire, and an end by an old epoch", () => {
  const again = attempt(first, { envelope_sha256: "another" });
  assertFinds(
    "I4",
    { tables: { attempts: [attempt(first), again] } },
    /epoch 1 of job job-1 was accepted 2/,
  );
  const attempts = [attempt(first), attempt(second)];
  assertFinds("I4", { tables: { grants: [first, second], attempts } }, /success of job job-1/);
  assertFinds("I4", { wire: [resultOf(first), resultOf(first, { envelope: "b" })] }, /on the wire/);
  assert.equal(
    found({ wire: [resultOf(first), resultOf(first, { duplicate: true })] }).I4,
    undefined,
  );
  assertFinds("I4", { tables: { grants: [first, second] } }, /ended by epoch 1/);
});

Deno.test("I5 finds acknowledged orders, cancellations, results, leases and backups that are not there", () => {
  const { client: [order] } = evidence();
  assert.ok(order);
  const jobs = [{ jobId: "job-9", deviceId: DEVICE, coalesced: false }];
  assertFinds("I5", { client: [{ ...order, jobs }] }, /job-9 was ordered and answered/);
  const cancel = { ...order, event: "cancel" as const, jobId: "job-1", state: "cancelled" };
  assertFinds("I5", { client: [cancel] }, /job-1 was cancelled, and is completed/);
  assertFinds("I5", { tables: { attempts: [] } }, /accepted result of lease job-1\/1 is not there/);
  assertFinds("I5", { wire: [claimOf(second)] }, /lease job-1\/2 was sent/);
  assertFinds("I5", { tables: { done: [] } }, /was completed, and has not ended/);
  assertFinds("I5", { tables: { backups: [] } }, /there is no backup of it/);
});

Deno.test("I6 finds a job that never ended", () => {
  assertFinds("I6", { tables: { done: [] } }, /job-1 never ended/);
});

Deno.test("I7 finds an envelope with two answers, and counts those that were asked about twice", () => {
  const answers = [resultOf(first), resultOf(first, { answer: "superseded" })];
  assertFinds("I7", { wire: answers }, /accepted and superseded/);
  assert.match(judge(evidence()).lines.join("\n"), /I7 .* 0 checked/);
});

Deno.test("I8 finds a grant beyond the limit of a site or of an agent", () => {
  const other = grant("job-2", 1, { device_id: "device-2", granted_at: AT + 500 });
  const change = withSecond(other);
  const { facts } = evidence();
  assert.equal(found(change).I8, undefined);
  const sites = [{ siteId: SITE, name: "north", maxLive: 1 }];
  assertFinds("I8", { ...change, facts: { ...facts, sites } }, /2 leases lived for site-1/);
  const agents = facts.agents.map((agent) => ({ ...agent, capacity: 1 }));
  assertFinds("I8", { ...change, facts: { ...facts, agents } }, /2 leases lived for agent-1/);
  const monitor = [{ at: AT, jobs: 1, misplaced: 0, overfull: 1 }];
  assertFinds("I8", { monitor }, /overfull/);
});

Deno.test("I9 finds what a revoked agent was granted, what was accepted from it and what it was answered", () => {
  const agents = [{ id: AGENT, status: "revoked", thumbprint: "key-1" }];
  const late = { client: [revocation], tables: { agents } };
  assertFinds("I9", late, /granted to a revoked agent[^]*accepted from a revoked agent/);
  assertFinds("I9", late, /POST heartbeat of a revoked agent succeeded/);
  const early = { ...revocation, at: AT + 90_000 };
  assert.equal(found({ client: [early], tables: { agents } }).I9, undefined);
  assertFinds("I9", { client: [early] }, /is not revoked/);
});

Deno.test("I10 finds logins that were sent to others, and secrets in clear", () => {
  const delivery = { lease_id: "job-1/1", agent_id: AGENT, thumbprint: "key-1" };
  const to = (more: Partial<typeof delivery>) => ({
    tables: { deliveries: [{ ...delivery, ...more }] },
  });
  assertFinds("I10", to({ agent_id: "agent-2" }), /sent to somebody else/);
  assertFinds("I10", to({ thumbprint: "key-2" }), /sealed to another key/);
  assertFinds(
    "I10",
    { secrets: [{ at: AT, where: "jobs", secret: "abc…" }] },
    /abc… stands in jobs/,
  );
});

Deno.test("I11 finds occurrences with two decisions or none, doubled jobs, missing runs and lost acknowledgements", () => {
  const row = { id: "run-1", policy_id: "policy-1", at: AT, trigger: "schedule", decision: "ran" };
  const again = { ...row, id: "run-2" };
  assertFinds("I11", { tables: { occurrences: [row, again] } }, /decided 2 times/);
  assertFinds("I11", { tables: { occurrences: [{ ...row, decision: null }] } }, /never decided/);
  const occurrence = { policy_id: "policy-1", occurrence_at: "2026-01-01" };
  const jobs = [job("job-1", occurrence), job("job-2", occurrence)];
  assertFinds("I11", { tables: { jobs } }, /device-1 of policy policy-1 at 2026-01-01 got 2 jobs/);
  const { client: [order], facts } = evidence();
  assert.ok(order);
  const run: ClientLine = { ...order, event: "run_policy", jobs: [], occurrenceId: "run-9" };
  assertFinds("I11", { client: [run] }, /run-9 was acknowledged/);
  const minute = Math.ceil(AT / 60_000) * 60_000;
  const policy = { policyId: "policy-1", everyMinutes: 1, createdAt: minute - 1, deviceIds: [] };
  const busy = { facts: { ...facts, policies: [policy], calmAt: minute + 50_000 } };
  assertFinds("I11", busy, /no run of policy policy-1/);
  const occurrences = [{ ...row, at: minute }];
  assert.equal(found({ ...busy, tables: { occurrences } }).I11, undefined);
});

Deno.test("I12 finds acts of an agent that was not heard in time, and of one that said it was fenced", () => {
  const heard = wire("POST heartbeat", AT + 20);
  assertFinds("I12", { wire: [heard], farm: session(1, AT + 30_100) }, /after it was heard/);
  // What was answered and never arrived renews nothing.
  assertFinds("I12", { wire: [{ ...heard, delivered: false }] }, /after it was heard/);
  const agents = new Map([[NAME, [{ at: AT + 1_000, said: { event: "fenced" } }]]]);
  assertFinds("I12", { agents, farm: session(1, AT + 2_500) }, /was fenced/);
  assert.equal(found({ agents, farm: session(1, AT + 100) }).I12, undefined);
});

Deno.test("I13 finds a job that was passed by a worse one, unless its device was busy or it was raised", () => {
  const other = grant("job-2", 1, { device_id: "device-2", granted_at: AT + 20_000 });
  const { client: [order] } = evidence();
  assert.ok(order);
  const urgent = withSecond(other, { urgency: "interactive" });
  const ordered = (coalesced: boolean, at = order.at) => ({
    client: [{ ...order, at, jobs: [{ jobId: "job-2", deviceId: "device-2", coalesced }] }],
  });
  assertFinds("I13", { ...urgent, ...ordered(false) }, /job-2 was passed by job-1/);
  const bulk = withSecond(other, { urgency: "bulk" });
  assert.equal(found({ ...bulk, ...ordered(false) }).I13, undefined);
  assert.equal(found({ ...urgent, ...ordered(true) }).I13, undefined);
  // Its login had not succeeded often enough to be used by more than one at a time.
  const untrusted = withSecond({ ...other, credential_id: "login-1" }, { urgency: "interactive" });
  assert.equal(found({ ...untrusted, ...ordered(false) }).I13, undefined);
  // Its order was not over when the other one was granted.
  assert.equal(found({ ...urgent, ...ordered(false, AT + 100) }).I13, undefined);
});

Deno.test("I14 finds more failures than the policy allows, and a refused login that was tried twice", () => {
  const grants = [1, 2, 3, 4, 5, 6].map((epoch) =>
    grant("job-1", epoch, { granted_at: AT + epoch * 5_000 })
  );
  const failing = (count: number, code: string) => ({
    tables: {
      grants: grants.slice(0, count),
      attempts: grants.slice(0, count).map((each) =>
        attempt(each, { outcome: "failed", failure_code: code })
      ),
    },
  });
  assertFinds("I14", failing(6, "connection_lost"), /failed 6 times, of 5/);
  assert.equal(found(failing(5, "connection_lost")).I14, undefined);
  assertFinds("I14", failing(2, "auth_rejected"), /never retried/);
  assertFinds("I14", failing(3, "configuration_truncated"), /failed 3 times, of 2/);
});

Deno.test("I15 finds a superseded result whose lease still lived, and one that was accepted as well", () => {
  const superseded = attempt(first, {
    ...{ outcome: "superseded", answer: "superseded", envelope_sha256: "another" },
    ended_at: AT + 500,
  });
  const with_ = (row: typeof superseded) => ({ tables: { attempts: [attempt(first), row] } });
  assertFinds("I15", with_(superseded), /lived when its result was called superseded/);
  assert.equal(found(with_({ ...superseded, ended_at: AT + 2_000 })).I15, undefined);
  const same = { ...superseded, envelope_sha256: "envelope of job-1/1", ended_at: AT + 2_000 };
  assertFinds("I15", with_(same), /was also accepted/);
});

Deno.test("I16 finds a lease that ended twice, and one that vanished", () => {
  const lost = attempt(first, { outcome: "lost", answer: null, envelope_sha256: null });
  assertFinds(
    "I16",
    { tables: { attempts: [lost, { ...lost, ended_at: AT + 2_000 }] } },
    /ended 2 times/,
  );
  assertFinds("I16", { tables: { attempts: [] } }, /ended 0 times/);
  const late = attempt(first, { answer: "accepted_late", ended_at: AT + 2_000 });
  assert.equal(found({ tables: { attempts: [lost, late] } }).I16, undefined);
});

Deno.test("the client's view finds calls without an answer and more than one repetition, outages aside", () => {
  const { client: [order] } = evidence();
  assert.ok(order);
  const reasons = ["reset", "reset"];
  assertFinds("client", { client: [{ ...order, event: "give_up" }] }, /never answered/);
  const slow = { ...order, tries: 3, reasons };
  assertFinds("client", { client: [slow] }, /took 3 tries: reset, reset/);
  const outage = { at: order.startedAt - 500, target: "database", phase: "begin" } as const;
  const faults = [{ ...outage, fault: "kill_database" }];
  assert.equal(found({ client: [slow], faults }).client, undefined);
  // Once the database is seen to answer again, it is no excuse any more.
  const late = { ...slow, startedAt: AT + 20_000, at: AT + 21_000 };
  const monitor = [{ at: AT, jobs: 1, misplaced: 0, overfull: 0 }];
  assertFinds("client", { client: [late], faults, monitor }, /took 3 tries/);
});
