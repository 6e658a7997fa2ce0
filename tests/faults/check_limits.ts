/** I2, I8, I13, I14: how many at a time, in which order, and how often. */
import { failureClass, FailureCode, RETRY_POLICIES } from "@rookery/shared/jobs/failure.ts";
import { offsetSeconds } from "../../control-plane/jobs/rank.ts";
import type { AttemptRow, Check, Evidence, JobRow } from "./evidence.ts";
import { type LeaseLife, livesOf } from "./lease_life.ts";
import { sessionsOf } from "./sessions.ts";

/** I2: at most one live lease for a job and for a device, and on the wire no two that speak to one device. */
export const oneLease: Check = ({ tables, farm }) => {
  const lives = livesOf(tables);
  const sessions = [...Map.groupBy(sessionsOf(farm), ({ port }) => port).values()];
  return {
    checked: lives.length + sessions.flat().length,
    violations: [
      ...overlaps(lives, ({ grant }) => `device ${grant.device_id}`),
      ...overlaps(lives, ({ grant }) => `job ${grant.job_id}`),
      ...sessions.flatMap(interleaved),
    ],
  };
};

function overlaps(lives: readonly LeaseLife[], name: (life: LeaseLife) => string): string[] {
  return [...Map.groupBy(lives, name)].flatMap(([what, own]) => {
    const sorted = own.toSorted((left, right) => left.grant.granted_at - right.grant.granted_at);
    return sorted.flatMap((life, index) => {
      const next = sorted[index + 1];
      return next && next.grant.granted_at < life.goneAt ? [`two leases lived for ${what}`] : [];
    });
  });
}

/** A connection that is merely open, because its agent was stopped or cut off, speaks to nobody. */
function interleaved(sessions: ReturnType<typeof sessionsOf>): string[] {
  const sorted = sessions.toSorted((left, right) => left.openedAt - right.openedAt);
  return sorted.flatMap((earlier, index) =>
    sorted.slice(index + 1).filter((later) => {
      const [began] = later.actsAt;
      const lastAct = earlier.actsAt.at(-1);
      return began !== undefined && lastAct !== undefined && lastAct > began;
    }).map((later) =>
      `device at port ${earlier.port} was spoken to by connections ${earlier.connection} and ${later.connection} at once`
    )
  );
}

/** I8: nothing is granted while as many leases live as the site, or the agent, may have. */
export const withinLimits: Check = ({ facts, tables, monitor }) => {
  const lives = livesOf(tables);
  const sites = new Map(facts.sites.map(({ siteId, maxLive }) => [siteId, maxLive]));
  const agents = new Map(facts.agents.map(({ agentId, capacity }) => [agentId, capacity]));
  return {
    checked: lives.length * 2,
    violations: [
      ...beyond(lives, ({ grant }) => grant.site_id, sites),
      ...beyond(lives, ({ grant }) => grant.agent_id, agents),
      ...monitor.filter(({ overfull }) => overfull > 0).map(({ at }) =>
        `a site was overfull at ${at}`
      ),
    ],
  };
};

function beyond(
  lives: readonly LeaseLife[],
  owner: (life: LeaseLife) => string,
  limits: ReadonlyMap<string, number>,
): string[] {
  return [...Map.groupBy(lives, owner)].flatMap(([id, own]) => {
    const limit = limits.get(id) ?? 0;
    const sorted = own.toSorted((left, right) => left.grant.granted_at - right.grant.granted_at);
    let live: LeaseLife[] = [];
    return sorted.flatMap((life) => {
      live = live.filter(({ goneAt }) => goneAt > life.grant.granted_at);
      live.push(life);
      return live.length > limit
        ? [`${live.length} leases lived for ${id}, which may have ${limit}`]
        : [];
    });
  });
}

/** What committed a moment before a claim may be unseen by it: its statements have the times of their starts. */
const SETTLED_MS = 1_500;
/** Until a login has succeeded so often, few sessions may use it at a time, which keeps even the best job waiting. */
const TRUSTED_AFTER = 8;

/**
 * I13: who is granted first has the better rank, so that a job passes another one of a better class only when it has
 * waited longer by the gap between their offsets. Looked at for first grants of jobs that nobody raised.
 */
export const boundedInversion: Check = (evidence) => {
  const { tables } = evidence;
  const raised = raisedJobs(evidence);
  const jobs = new Map(tables.jobs.map((job) => [job.id, job]));
  const cancelled = new Set(
    tables.done.filter(({ outcome }) => outcome === "cancelled").map(({ job_id }) => job_id),
  );
  const firsts = livesOf(tables).filter(({ grant }) =>
    grant.epoch === 1 && !raised.has(grant.job_id) && !cancelled.has(grant.job_id)
  );
  const busy = Map.groupBy(livesOf(tables), ({ grant }) => grant.device_id);
  const answered = answeredJobs(evidence);
  const trusted = trustedAt(livesOf(tables));
  const violations: string[] = [];
  for (const own of Map.groupBy(firsts, ({ grant }) => grant.site_id).values()) {
    const sorted = own.toSorted((left, right) => left.grant.granted_at - right.grant.granted_at);
    for (const [index, { grant }] of sorted.entries()) {
      const job = jobs.get(grant.job_id);
      const passed = job &&
        sorted.slice(index + 1, index + 200).find((other) =>
          isPassed(other, {
            grantedAt: grant.granted_at,
            rank: rankOf(job),
            jobs,
            busy,
            answered,
            trusted,
          })
        );
      if (passed) violations.push(`job ${passed.grant.job_id} was passed by ${grant.job_id}`);
    }
  }
  return { checked: firsts.length, violations };
};

/** Whether a job that was granted later stood before it in the queue, due, and its device free. */
function isPassed(
  { grant }: LeaseLife,
  by: {
    readonly grantedAt: number;
    readonly rank: number;
    readonly jobs: ReadonlyMap<string, JobRow>;
    readonly busy: ReadonlyMap<string, readonly LeaseLife[]>;
    readonly answered: ReadonlyMap<string, number>;
    readonly trusted: ReadonlyMap<string | null, number>;
  },
): boolean {
  const job = by.jobs.get(grant.job_id);
  // An order that took long has its jobs from its beginning on, and shows them when it is over.
  const there = by.answered.get(grant.job_id) ?? Infinity;
  if ((by.trusted.get(grant.credential_id) ?? Infinity) > by.grantedAt) return false;
  if (!job || there > by.grantedAt - SETTLED_MS || grant.granted_at < by.grantedAt + SETTLED_MS) {
    return false;
  }
  const isBusy = (by.busy.get(grant.device_id) ?? []).some((life) =>
    life.grant.granted_at < by.grantedAt && life.goneAt > by.grantedAt - SETTLED_MS
  );
  return !isBusy && rankOf(job) < by.rank;
}

function rankOf(job: JobRow): number {
  return job.due_at + offsetSeconds(job) * 1_000;
}

/** From when on a login is trusted; at once where there is none to trust. */
function trustedAt(lives: readonly LeaseLife[]): ReadonlyMap<string | null, number> {
  const byLogin = Map.groupBy(lives, ({ grant }) => grant.credential_id);
  return new Map([...byLogin].map(([credentialId, own]) => {
    if (credentialId === null) return [null, 0];
    const successes = own.flatMap(({ accepted }) => accepted)
      .filter(({ outcome }) => outcome === "completed").map(({ ended_at }) => ended_at);
    return [credentialId, successes.sort((one, other) => one - other)[TRUSTED_AFTER] ?? Infinity];
  }));
}

/** When a client was told of a job, which was there by then. */
function answeredJobs({ client }: Evidence): ReadonlyMap<string, number> {
  return new Map(client.flatMap(({ at, jobs = [] }) => jobs.map(({ jobId }) => [jobId, at])));
}

/** A job that somebody, or a policy, ordered again while it waited may have another rank than it began with. */
function raisedJobs({ client, facts, tables }: Evidence): ReadonlySet<string> {
  const byPolicies = new Set(facts.policies.flatMap(({ deviceIds }) => deviceIds));
  return new Set([
    ...client.flatMap(({ jobs = [] }) => jobs.filter(({ coalesced }) => coalesced))
      .map(({ jobId }) => jobId),
    ...tables.jobs.filter(({ device_id }) => byPolicies.has(device_id)).map(({ id }) => id),
  ]);
}

/** Lost sessions that do not count as failures. */
const FREE_LOSSES = 2;

/** I14: no job has more failures than the class of its last one allows; a refused login is never tried twice. */
export const boundedRetries: Check = ({ tables: { attempts, agents } }) => {
  const revoked = new Set(agents.filter(({ status }) => status !== "active").map(({ id }) => id));
  const counted = attempts.filter(({ agent_id, outcome }) =>
    outcome !== "lost" || !revoked.has(agent_id)
  );
  const byJob = [...Map.groupBy(counted, ({ job_id }) => job_id)];
  return {
    checked: byJob.length,
    violations: byJob.flatMap(([jobId, own]) => {
      const failed = own.filter(({ outcome, answer }) => outcome === "failed" && answer !== null);
      const losses = own.filter(({ outcome }) => outcome === "lost").length;
      const last = failed.toSorted((left, right) => left.epoch - right.epoch).at(-1);
      const most = Math.max(allowed(last), RETRY_POLICIES.session.attempts * Number(losses > 0));
      const failures = failed.length + Math.max(0, losses - FREE_LOSSES);
      const logins = failed.filter((attempt) => allowed(attempt) === 1).length;
      if (logins > 1) return [`job ${jobId} failed ${logins} times in a way that is never retried`];
      return failures > most ? [`job ${jobId} failed ${failures} times, of ${most}`] : [];
    }),
  };
};

function allowed(attempt: AttemptRow | undefined): number {
  const code = FailureCode.safeParse(attempt?.failure_code);
  return code.success ? RETRY_POLICIES[failureClass(code.data)].attempts : 5;
}
