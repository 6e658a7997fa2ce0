/** I7, I9, I10, I12, and the client's view: what those saw who do not look into the database. */
import type { Check, Evidence } from "./evidence.ts";
import { sessionsOf } from "./sessions.ts";

/** I7: the same envelope gets the same answer, however often and whenever it comes. */
export const sameAnswer: Check = ({ wire }) => {
  const answered = wire.filter(({ envelope, answer }) => envelope && answer);
  const again = [...Map.groupBy(answered, ({ envelope }) => envelope)]
    .filter(([, lines]) => lines.length > 1);
  return {
    checked: again.length,
    violations: again.flatMap(([envelope, lines]) => {
      const answers = [...new Set(lines.map(({ answer }) => answer))];
      return answers.length > 1
        ? [`envelope ${envelope} was answered ${answers.join(" and ")}`]
        : [];
    }),
  };
};

/** I9: nothing is granted to, or accepted from, an agent once its revocation was answered. */
export const nothingAfterRevocation: Check = ({ client, wire, tables }) => {
  const revocations = client.filter(({ event, refused }) => event === "revoke" && !refused);
  let checked = 0;
  const violations = revocations.flatMap(({ agentId, at }) => {
    const asked = wire.filter((line) => line.agentId === agentId && line.receivedAt > at);
    checked += asked.length;
    const agent = tables.agents.find(({ id }) => id === agentId);
    return [
      ...agent?.status === "revoked" ? [] : [`agent ${agentId} is not revoked`],
      ...tables.grants.filter((grant) => grant.agent_id === agentId && grant.granted_at > at)
        .map(({ lease_id }) => `lease ${lease_id} was granted to a revoked agent`),
      ...tables.attempts.filter((attempt) =>
        attempt.agent_id === agentId && attempt.ended_at > at && attempt.answer !== null &&
        attempt.answer !== "superseded"
      ).map(({ lease_id }) => `a result of lease ${lease_id} was accepted from a revoked agent`),
      ...asked.filter(({ status }) => status !== null && status < 300)
        .map(({ call, at }) => `${call} of a revoked agent succeeded at ${at}`),
    ];
  });
  return { checked, violations };
};

/** I10: a login is sealed only to the agent that was granted the lease; no secret stands anywhere in clear. */
export const sealedToHolder: Check = (
  { tables: { deliveries, grants, agents }, secrets, facts },
) => {
  const holders = new Map(grants.map(({ lease_id, agent_id }) => [lease_id, agent_id]));
  const keys = new Map(agents.map(({ id, thumbprint }) => [id, thumbprint]));
  return {
    checked: deliveries.length + facts.secrets,
    violations: [
      ...deliveries.filter(({ lease_id, agent_id }) => holders.get(lease_id) !== agent_id)
        .map(({ lease_id }) => `the login of lease ${lease_id} was sent to somebody else`),
      ...deliveries.filter(({ agent_id, thumbprint }) => keys.get(agent_id) !== thumbprint)
        .map(({ lease_id }) => `the login of lease ${lease_id} was sealed to another key`),
      ...secrets.map(({ where, secret }) => `the secret ${secret} stands in ${where}`),
    ],
  };
};

/** How long sessions may take to end once their agent is fenced; the fence has a margin for it. */
const WIPE_MS = 1_000;

/**
 * I12: an agent acts on a device only within the time that its last answered heartbeat gave it, by the clock of the
 * machine, and not after it said that it is fenced.
 */
export const noActsWhenFenced: Check = (evidence) => {
  const { facts, wire, agents } = evidence;
  const heard = Map.groupBy(
    wire.filter(({ call, status, delivered }) =>
      (call === "POST heartbeat" || call === "POST session") && status === 200 && delivered
    ),
    ({ agentId }) => agentId,
  );
  const acts = actsByAgent(evidence);
  const violations = acts.flatMap(({ name, at, port }) => {
    const agentId = facts.agents.find((agent) => agent.name === name)?.agentId ?? null;
    const beats = (heard.get(agentId) ?? []).filter(({ receivedAt }) => receivedAt <= at);
    const last = Math.max(0, ...beats.map(({ receivedAt }) => receivedAt));
    const isInTime = at - last <= facts.ttlSeconds * 1_000;
    const fencedAt = Math.max(
      0,
      ...(agents.get(name) ?? []).filter((line) =>
        line.said.event === "fenced" && line.at <= at - WIPE_MS
      )
        .map((line) => line.at),
    );
    if (!isInTime) {
      return [`${name} acted on port ${port} at ${at}, ${at - last} ms after it was heard`];
    }
    return fencedAt > last ? [`${name} acted on port ${port} at ${at}, and was fenced`] : [];
  });
  return { checked: acts.length, violations };
};

interface Act {
  readonly name: string;
  readonly at: number;
  readonly port: number;
}

/** By the name that the login was for, or else by who said at about that time that it starts an attempt on that device. */
function actsByAgent(evidence: Evidence): Act[] {
  const names = new Set(evidence.facts.agents.map(({ name }) => name));
  const starts = startsByPort(evidence);
  return sessionsOf(evidence.farm).flatMap(({ user, openedAt, actsAt, port }) => {
    const far = ({ at }: Act) => Math.abs(at - openedAt);
    // A line of a log may be heard later than what it tells of, when the machine is busy.
    const [nearest] = (starts.get(port) ?? []).toSorted((one, other) => far(one) - far(other));
    const name = user !== undefined && names.has(user) ? user : nearest?.name;
    return name === undefined ? [] : actsAt.map((at) => ({ name, at, port }));
  });
}

function startsByPort({ agents, facts }: Evidence): ReadonlyMap<number | null, Act[]> {
  const ports = new Map(facts.devices.map(({ deviceId, port }) => [deviceId, port]));
  const starts = [...agents].flatMap(([name, lines]) =>
    lines.filter(({ said }) => said.event === "attempt_started")
      .map(({ at, said }) => ({ name, at, port: ports.get(said.device ?? "") ?? 0 }))
  );
  return Map.groupBy(starts, ({ port }) => port);
}

/** A crash of the database takes the whole service away, until it is seen to answer again, and a moment longer. */
const OUTAGE_MS = { before: 2_000, after: 15_000 };
const MOST_TRIES = 2;

/** What a client sees: every call has an answer, after one more try at most, unless the database itself was away. */
export const oneMoreTry: Check = ({ client, faults, monitor }) => {
  const outages = faults.filter(({ fault, phase }) =>
    fault === "kill_database" && phase === "begin"
  );
  const isInOutage = ({ startedAt, at }: Evidence["client"][number]) =>
    outages.some((outage) => {
      const seen = monitor.find((look) => look.at > outage.at)?.at ?? Infinity;
      return startedAt < seen + OUTAGE_MS.after && at > outage.at - OUTAGE_MS.before;
    });
  return {
    checked: client.length,
    violations: client.flatMap((line) => {
      if (line.event === "give_up") return [`a call at ${line.startedAt} was never answered`];
      if (line.tries <= MOST_TRIES || isInOutage(line)) return [];
      return [
        `${line.event} at ${line.startedAt} took ${line.tries} tries: ${line.reasons.join(", ")}`,
      ];
    }),
  };
};
