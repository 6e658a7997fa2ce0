/** Operations as they are drawn at random: by positions, which mean something in every state, so that shrinking works. */
import fc from "fast-check";
import type { Operation, Verdict } from "./lease_model.ts";
import { type AgentName, AGENTS, type Grant, jobsAt, type State } from "./lease_state.ts";
import { OFFSETS } from "./lease_engine.ts";

type Drawn = number | string | boolean | readonly number[];

/** Turned into an operation by the state that it meets; undefined when it makes no sense there. */
export interface Plan {
  readonly name: string;
  readonly values: readonly Drawn[];
  readonly resolve: (state: State) => Operation | undefined;
}

const agent = fc.constantFrom(...AGENTS);
const position = fc.nat({ max: 7 });
const VERDICTS: readonly Verdict[] = [
  { status: "completed" },
  { status: "cancelled" },
  ...(["unreachable", "device_busy", "auth_rejected", "prompt_not_found", "lease_invalid"] as const)
    .map((code) => ({ status: "failed", code }) as const),
];

function pick<Item>(items: readonly Item[], at: number): Item | undefined {
  // From the newest on, which is what mostly matters.
  return items.length === 0 ? undefined : items[items.length - 1 - at % items.length];
}

function plan<Values extends Drawn[]>(
  name: string,
  drawn: { [Index in keyof Values]: fc.Arbitrary<Values[Index]> },
  resolve: (state: State, ...values: Values) => Operation | undefined,
): fc.Arbitrary<Plan> {
  return fc.tuple<Values>(...drawn).map((values) => ({
    ...{ name, values },
    resolve: (state) => resolve(state, ...values),
  }));
}

function bootOf(state: State, name: AgentName, isOld: boolean): string {
  const { boots, boot } = state.agents[name];
  return isOld && boots > 1 ? `${name}${boots - 1}` : boot;
}

/** Mostly current, now and then what a dead boot still sends. */
const isOld = fc.nat({ max: 9 }).map((n) => n === 9);

const enqueue = plan<[number[], boolean, number]>(
  "enqueue",
  [
    fc.uniqueArray(fc.nat({ max: 3 }), { minLength: 1, maxLength: 4 }),
    fc.nat({ max: 3 }).map((n) => n === 3),
    fc.constantFrom(...OFFSETS),
  ],
  (_state, devices, isCheck, offset) => ({
    ...{ type: "enqueue", devices, offset },
    kind: isCheck ? "check_reachability" : "backup_config",
  }),
);

const claim = plan<[AgentName, boolean, number]>(
  "claim",
  [agent, isOld, fc.integer({ min: 1, max: 4 })],
  (state, name, old, wanted) => ({
    ...{ type: "claim", agent: name, boot: bootOf(state, name, old), wanted },
    claim: `${name}-${state.step}`,
  }),
);

/** A claim whose reply was lost. */
const claimAgain = plan<[number]>("claim again", [position], (state, at) => {
  const lease = pick(jobsAt(state, "leases"), at)?.place;
  if (!lease) return undefined;
  const { agent: name, claim: id, boot } = lease;
  return { type: "claim", agent: name, boot, claim: id, wanted: 2 };
});

/** Which of its leases an agent names: bits of a number. */
const heartbeat = plan<[AgentName, boolean, number]>(
  "heartbeat",
  [agent, isOld, fc.nat({ max: 15 })],
  (state, name, old, bits) => {
    const own = state.grants.filter((grant) => grant.agent === name).slice(-4);
    const names = own.filter((_, index) => (15 - bits) & (1 << index));
    return { type: "heartbeat", agent: name, boot: bootOf(state, name, old), names };
  },
);

function grantAt(state: State, at: number): Grant | undefined {
  return pick(state.grants, at);
}

const report = plan<[number, number, number, number]>(
  "report",
  [position, fc.nat({ max: VERDICTS.length - 1 }), fc.nat({ max: 1 }), fc.nat({ max: 9 })],
  (state, at, verdict, envelope, stranger) => {
    const grant = grantAt(state, at);
    const told = VERDICTS[verdict];
    if (!grant || !told) return undefined;
    const other = grant.agent === "a" ? "b" : "a";
    const by = stranger === 9 ? other : grant.agent;
    const sha256 = `${grant.job}/${grant.epoch}/${by}/${envelope}`;
    return { type: "report", by, grant, verdict: told, envelope: sha256 };
  },
);

const release = plan<[number]>("release", [position], (state, at) => {
  const grant = grantAt(state, at);
  return grant && { type: "release", agent: grant.agent, grant };
});

const drain = plan<[AgentName, boolean]>("drain", [agent, isOld], (state, name, old) => (
  { type: "drain", agent: name, boot: bootOf(state, name, old) }
));

const boot = plan<[AgentName, boolean]>("boot", [agent, fc.boolean()], (state, name, again) =>
  // A revoked agent opens no session; that is decided before the engine.
  state.agents[name].revoked ? undefined : { type: "boot", agent: name, again });

const passOfLease = plan<["offer" | "deadline" | "youth", number]>(
  "pass",
  [fc.constantFrom("offer", "deadline", "youth"), position],
  (state, what, at) => {
    const job = pick(jobsAt(state, "leases"), at)?.id;
    return job === undefined ? undefined : { type: "pass", what, job };
  },
);

const passDelay = plan<[number]>("pass delay", [position], (state, at) => {
  const job = pick(jobsAt(state, "ready").filter(({ place }) => !place.due), at)?.id;
  return job === undefined ? undefined : { type: "pass", what: "delay", job };
});

const wear = plan<[number]>("wear", [position], (state, at) => {
  const job = pick(jobsAt(state, "ready"), at)?.id;
  return job === undefined ? undefined : { type: "pass", what: "wear", job };
});

const passSession = plan<[AgentName]>("pass session", [agent], (_state, name) => (
  { type: "pass", what: "session", agent: name }
));

const reap = plan<[]>("reap", [], () => ({ type: "reap", part: "all" }));

const cancel = plan<[number]>("cancel", [position], (state, at) => {
  const job = pick(state.jobs, at)?.id;
  return job === undefined ? undefined : { type: "cancel", job };
});

const revoke = plan<[AgentName, number]>(
  "revoke",
  [agent, fc.nat({ max: 3 })],
  (_, name, chance) =>
    // A revoked agent is out of the play.
    chance === 3 ? { type: "revoke", agent: name } : undefined,
);

const pause = plan<[boolean]>(
  "pause",
  [fc.boolean()],
  (_state, paused) => ({ type: "pause", paused }),
);

/** Several times where a history needs more of them to get anywhere. */
export const PLANS: readonly fc.Arbitrary<Plan>[] = [
  ...[enqueue, enqueue, claim, claim, claim, claimAgain, heartbeat, heartbeat],
  ...[report, report, report, release, drain, boot, passOfLease, passOfLease, passDelay, passDelay],
  ...[wear, passSession, reap, reap, cancel, revoke, pause],
];

/** What may happen in the same moment: all that comes over the network, and the upkeep; no order, see `LeaseRace`. */
export const RACERS: readonly fc.Arbitrary<Plan>[] = [
  ...[claim, claim, claimAgain, heartbeat, report, report, release, drain, boot, reap, reap],
  ...[cancel, revoke, pause],
];
