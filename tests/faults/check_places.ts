/** I1, I3, I4, I5, I6, I15, I16: where jobs are, and what became of each grant. */
import type { Check, Evidence } from "./evidence.ts";
import { livesOf } from "./lease_life.ts";

/** I1: every job in exactly one of ready, leases and done; open exactly while it has not ended. */
export const onePlace: Check = ({ tables, monitor }) => {
  const { jobs, ready, leases, done, openJobs } = tables;
  const places = Map.groupBy([...ready, ...leases, ...done], (row) => row.job_id);
  const ended = new Set(done.map((row) => row.job_id));
  const open = new Set(openJobs.map((row) => row.job_id));
  const known = new Set(jobs.map((job) => job.id));
  return {
    checked: jobs.length + monitor.length,
    violations: [
      ...jobs.filter(({ id }) => places.get(id)?.length !== 1)
        .map(({ id }) => `job ${id} is in ${places.get(id)?.length ?? 0} places`),
      ...[...places.keys()].filter((id) => !known.has(id)).map((id) => `${id} is no job`),
      ...jobs.filter(({ id }) => open.has(id) === ended.has(id))
        .map(({ id }) => `job ${id} is ${open.has(id) ? "open and ended" : "neither"}`),
      ...monitor.filter(({ misplaced }) => misplaced > 0)
        .map(({ at, misplaced }) => `at ${at} ${misplaced} jobs were not in one place`),
    ],
  };
};

/** I3: epochs rise by one with each grant; an epoch of a job belongs to one lease of one agent, also on the wire. */
export const risingEpochs: Check = ({ tables: { grants }, wire, agents, facts }) => {
  const violations: string[] = [];
  const byLease = new Map(grants.map((grant) => [grant.lease_id, grant]));
  for (const [jobId, own] of Map.groupBy(grants, (grant) => grant.job_id)) {
    const sorted = own.toSorted((left, right) => left.granted_at - right.granted_at);
    const epochs = sorted.map(({ epoch }) => epoch);
    if (epochs.some((epoch, index) => epoch !== index + 1)) {
      violations.push(`job ${jobId} was granted with the epochs ${epochs}`);
    }
  }
  const seen = wire.flatMap(({ leases = [] }) => leases);
  for (const lease of seen) {
    const grant = byLease.get(lease.leaseId);
    const same = grant && grant.job_id === lease.jobId && grant.epoch === lease.epoch &&
      grant.agent_id === lease.agentId && grant.boot_id === lease.bootId;
    if (!same) violations.push(`lease ${lease.leaseId} was sent otherwise than it was granted`);
  }
  const ids = new Map(facts.agents.map(({ name, agentId }) => [name, agentId]));
  let started = 0;
  for (const [name, lines] of agents) {
    for (const { said } of lines.filter(({ said }) => said.event === "attempt_started")) {
      started++;
      const grant = byLease.get(said.lease ?? "");
      if (grant?.agent_id === ids.get(name) && grant?.job_id === said.job) continue;
      violations.push(`${name} started ${said.lease}, which was not granted to it`);
    }
  }
  return { checked: grants.length + seen.length + started, violations };
};

/** I4: at most one accepted result for an epoch, at most one success for a job, and the end is that of the highest epoch. */
export const oneResult: Check = ({ tables: { grants, attempts, done }, wire }) => {
  const accepted = attempts.filter(({ answer }) =>
    answer === "accepted" || answer === "accepted_late"
  );
  const highest = new Map<string, number>();
  for (const { job_id, epoch } of grants) {
    highest.set(job_id, Math.max(epoch, highest.get(job_id) ?? 0));
  }
  return {
    checked: accepted.length + done.length,
    violations: [
      ...acceptedTwice({ attempts, wire }),
      ...done.filter(({ job_id, epoch }) => epoch !== (highest.get(job_id) ?? 0))
        .map(({ job_id, epoch }) => `job ${job_id} ended by epoch ${epoch}, which is not its last`),
    ],
  };
};

/** What was accepted more than once, by the tables and by what agents were told. */
export function acceptedTwice(
  { attempts, wire }: Pick<Evidence, "wire"> & Pick<Evidence["tables"], "attempts">,
): string[] {
  const accepted = attempts.filter(({ answer }) =>
    answer === "accepted" || answer === "accepted_late"
  );
  const perEpoch = Map.groupBy(accepted, ({ job_id, epoch }) => `epoch ${epoch} of job ${job_id}`);
  const perJob = Map.groupBy(
    accepted.filter(({ outcome }) => outcome === "completed"),
    ({ job_id }) => `the success of job ${job_id}`,
  );
  const told = Map.groupBy(
    wire.filter(({ answer = "", duplicate }) => /^accepted/.test(answer) && !duplicate),
    ({ leaseId }) => `the result of lease ${leaseId}, on the wire,`,
  );
  return [...perEpoch, ...perJob, ...told].filter(([, all]) => all.length > 1)
    .map(([what, all]) => `${what} was accepted ${all.length} times`);
}

/** I5: what was acknowledged is there. */
export const nothingLost: Check = (evidence) => {
  const { client, wire, tables } = evidence;
  const outcomes = new Map(tables.done.map(({ job_id, outcome }) => [job_id, outcome]));
  const granted = new Set(tables.grants.map(({ lease_id }) => lease_id));
  const answered = Map.groupBy(tables.attempts, ({ lease_id }) => lease_id);
  const backedUp = new Set(tables.backups.map(({ job_id, epoch }) => `${job_id} ${epoch}`));
  const cancelled = client.filter(({ event, refused }) => event === "cancel" && !refused);
  const results = wire.filter(({ answer = "" }) => /^accepted/.test(answer));
  const leases = wire.flatMap(({ leases = [] }) => leases);
  const completed = tables.attempts.filter(({ outcome }) => outcome === "completed");
  const kinds = new Map(tables.jobs.map(({ id, kind }) => [id, kind]));
  const read = completed.filter(({ job_id }) => kinds.get(job_id) === "backup_config");
  return {
    checked: orderedJobs(evidence).length + cancelled.length + results.length + leases.length,
    violations: [
      ...lostJobs(evidence).map((id) => `job ${id} was ordered and answered, and is not there`),
      ...cancelled.filter(({ jobId = "" }) => outcomes.get(jobId) !== "cancelled")
        .map(({ jobId = "" }) => `job ${jobId} was cancelled, and is ${outcomes.get(jobId)}`),
      ...results.filter(({ leaseId = "", answer }) =>
        !answered.get(leaseId)?.some((attempt) => attempt.answer === answer)
      ).map(({ leaseId }) => `the accepted result of lease ${leaseId} is not there`),
      ...leases.filter(({ leaseId }) => !granted.has(leaseId))
        .map(({ leaseId }) => `lease ${leaseId} was sent, and its grant is not there`),
      ...completed.filter(({ job_id }) => !outcomes.has(job_id))
        .map(({ job_id }) => `job ${job_id} was completed, and has not ended`),
      ...read.filter(({ job_id, epoch }) => !backedUp.has(`${job_id} ${epoch}`))
        .map(({ job_id }) => `job ${job_id} was completed, and there is no backup of it`),
    ],
  };
};

function orderedJobs({ client }: Evidence): string[] {
  return client.flatMap(({ jobs = [] }) => jobs.map(({ jobId }) => jobId));
}

/** Jobs that a client was told of and that are nowhere. */
export function lostJobs(evidence: Evidence): string[] {
  const known = new Set(evidence.tables.jobs.map(({ id }) => id));
  return [...new Set(orderedJobs(evidence))].filter((id) => !known.has(id));
}

/** I6: every job has ended, since each site had a healthy agent from the calm on and nothing was held. */
export const everyJobEnds: Check = ({ tables: { jobs, done } }) => {
  const ended = new Set(done.map(({ job_id }) => job_id));
  return {
    checked: jobs.length,
    violations: jobs.filter(({ id }) => !ended.has(id)).map(({ id }) => `job ${id} never ended`),
  };
};

/** I15: a superseded result ended nothing: something else had ended its lease, and it is no accepted one as well. */
export const supersededChangesNothing: Check = ({ tables }) => {
  const superseded = tables.attempts.filter(({ outcome }) => outcome === "superseded");
  const accepted = new Set(
    tables.attempts.filter(({ answer }) => /^accepted/.test(answer ?? ""))
      .map(({ envelope_sha256 }) => envelope_sha256),
  );
  const lives = new Map(livesOf(tables).map((life) => [life.grant.lease_id, life]));
  return {
    checked: superseded.length,
    violations: superseded.flatMap(({ lease_id, envelope_sha256, ended_at }) => {
      const life = lives.get(lease_id);
      if (accepted.has(envelope_sha256)) return [`a result of lease ${lease_id} was also accepted`];
      if (life && life.goneAt < ended_at) return [];
      return [`lease ${lease_id} lived when its result was called superseded`];
    }),
  };
};

/** I16: maintenance of two replicas took each lease away once: every grant has one end, and late results their loss. */
export const oneEnd: Check = ({ tables }) => {
  const live = new Set(tables.leases.map(({ id }) => id));
  const lives = livesOf(tables);
  return {
    checked: lives.length,
    violations: lives.flatMap(({ grant, ends, accepted }) => {
      const count = ends.length + (live.has(grant.lease_id) ? 1 : 0);
      if (count !== 1) return [`lease ${grant.lease_id} ended ${ends.length} times`];
      return accepted.length > 1 ? [`lease ${grant.lease_id} was accepted twice`] : [];
    }),
  };
};
