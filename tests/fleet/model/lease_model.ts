/**
 * The lease state machine (DESIGN, section 5) as a pure function: what each operation does to the state, and what it
 * answers. Written from the design and not from the SQL, which it is compared with.
 */
import { failureClass, type FailureCode, RETRY_POLICIES } from "@rookery/shared/jobs/failure.ts";
import {
  type AgentName,
  AGENTS,
  compareRanks,
  type Ended,
  type Grant,
  type Job,
  type JobKind,
  jobsAt,
  type Leased,
  queueOf,
  type State,
} from "./lease_state.ts";

export type Verdict =
  | { readonly status: "completed" }
  | { readonly status: "cancelled" }
  | { readonly status: "failed"; readonly code: FailureCode };

export type Operation =
  | {
    readonly type: "enqueue";
    readonly devices: readonly number[];
    readonly kind: JobKind;
    readonly offset: number;
  }
  | {
    readonly type: "claim";
    readonly agent: AgentName;
    readonly boot: string;
    readonly claim: string;
    readonly wanted: number;
    /** The state in which it chose its jobs, when that is an earlier one: those that are gone since then it does without. */
    readonly chosenIn?: State;
  }
  | {
    readonly type: "heartbeat";
    readonly agent: AgentName;
    readonly boot: string;
    readonly names: readonly Grant[];
  }
  | {
    readonly type: "report";
    readonly by: AgentName;
    readonly grant: Grant;
    readonly verdict: Verdict;
    readonly envelope: string;
  }
  | { readonly type: "release"; readonly agent: AgentName; readonly grant: Grant }
  | { readonly type: "drain"; readonly agent: AgentName; readonly boot: string }
  | { readonly type: "boot"; readonly agent: AgentName; readonly again: boolean }
  | { readonly type: "pass"; readonly what: "offer" | "deadline" | "youth"; readonly job: string }
  | { readonly type: "pass"; readonly what: "delay" | "wear"; readonly job: string }
  | { readonly type: "pass"; readonly what: "session"; readonly agent: AgentName }
  | { readonly type: "reap"; readonly part: ReapPart | "all" }
  | { readonly type: "cancel"; readonly job: string }
  | { readonly type: "revoke"; readonly agent: AgentName }
  | { readonly type: "pause"; readonly paused: boolean };

export const REAP_PARTS = ["sessions", "offers", "deadlines", "promotion"] as const;
export type ReapPart = typeof REAP_PARTS[number];

/** What the engine made up: the ids of jobs that an order opened, by device. */
export type MadeUp = ReadonlyMap<number, string>;

export interface Outcome {
  readonly state: State;
  readonly reply: unknown;
}

const FREE_LOSSES = 2;
/** What waits for its next attempt comes after all that is due, and is raised by whatever is ordered now. */
const DELAYED = { seconds: Infinity, step: 0 };

/** One operation as a whole. */
export function apply(before: State, operation: Operation, madeUp: MadeUp): Outcome {
  const state = structuredClone(before);
  state.step++;
  const reply = perform(state, operation, madeUp);
  return reply === REFUSED ? { state: { ...before, step: state.step }, reply: "queue-full" } : {
    state,
    reply,
  };
}

const REFUSED = Symbol("refused");

function perform(state: State, operation: Operation, madeUp: MadeUp): unknown {
  switch (operation.type) {
    case "enqueue":
      return enqueue(state, operation, madeUp);
    case "claim":
      return claim(state, operation);
    case "heartbeat":
      return heartbeat(state, operation);
    case "report":
      return report(state, operation);
    case "release":
      return release(state, operation);
    case "drain":
      return drain(state, operation);
    case "boot":
      return boot(state, operation);
    case "pass":
      return pass(state, operation);
    case "reap":
      return reap(state, operation.part);
    case "cancel":
      return cancel(state, operation.job);
    case "revoke":
      return revoke(state, operation.agent);
    case "pause":
      state.paused = operation.paused;
      return null;
  }
}

type Of<Type extends Operation["type"]> = Extract<Operation, { type: Type }>;

function enqueue(state: State, { devices, kind, offset }: Of<"enqueue">, madeUp: MadeUp): unknown {
  const rank = { seconds: offset, step: state.step };
  let opened = 0;
  for (const device of devices) {
    const open = state.jobs.find((job) =>
      job.device === device && job.kind === kind && job.place.at !== "done"
    );
    if (!open) {
      opened++;
      state.jobs.push({
        ...{ id: madeUp.get(device) ?? `of ${device}`, device, kind },
        place: {
          ...{ at: "ready", epoch: 0, fails: 0, losses: 0, lastFailure: null },
          ...{ lateAgent: null, lateFails: null, due: true, offset, rank },
        },
      });
    } else if (open.place.at === "ready" && compareRanks(open.place.rank, rank) > 0) {
      Object.assign(open.place, { due: true, offset, rank });
    }
  }
  const all = state.jobs.filter(({ place }) => place.at !== "done").length;
  return opened > 0 && all > state.maxQueued ? REFUSED : opened;
}

function isLive(state: State, { agent, boot }: { agent: AgentName; boot: string }): boolean {
  return state.agents[agent].session === "live" && state.agents[agent].boot === boot;
}

const SESSION_LOST = "session-lost";

function claim(state: State, operation: Of<"claim">): unknown {
  if (!isLive(state, operation)) return SESSION_LOST;
  const { agent, boot } = operation;
  const claimed = (view: State) =>
    jobsAt(view, "leases").filter(({ place }) =>
      place.agent === agent && place.claim === operation.claim
    );
  // A repeated claim is told what is left of it, and granted nothing more.
  if (claimed(operation.chosenIn ?? state).length > 0) return namesOf(claimed(state));
  const granted = choose(operation.chosenIn ?? state, operation)
    .flatMap((id) => queueOf(state).filter((job) => job.id === id));
  for (const job of granted) {
    const { epoch, fails, losses, lastFailure, offset, rank } = job.place;
    const holder = { agent, boot, claim: operation.claim };
    state.grants.push({ job: job.id, epoch: epoch + 1, agent, boot });
    (job as Job).place = {
      ...{ at: "leases", epoch: epoch + 1, fails, losses, lastFailure, offset, rank, ...holder },
      ...{ running: false, cancel: false, offerOver: false, deadlineOver: false, old: false },
    };
  }
  return namesOf(granted);
}

/** The best waiting jobs, one for each free device, as many as agent and site have room for. */
function choose(state: State, { agent, wanted }: Of<"claim">): string[] {
  if (state.paused) return [];
  const leased = jobsAt(state, "leases");
  const ofAgent = leased.filter(({ place }) => place.agent === agent).length;
  const atSite = state.maxLive - leased.length;
  const free = Math.min(wanted, atSite, state.agents[agent].capacity - ofAgent);
  const busy = new Set(leased.map(({ device }) => device));
  const chosen: string[] = [];
  for (const { id, device } of queueOf(state)) {
    if (chosen.length >= free) break;
    if (busy.has(device)) continue;
    busy.add(device);
    chosen.push(id);
  }
  return chosen;
}

function namesOf(jobs: readonly Job[]): string[] {
  return jobs.map(({ id, place }) => `${id}/${"epoch" in place ? place.epoch : 0}`).sort();
}

function nameOf({ job, epoch }: Grant): string {
  return `${job}/${epoch}`;
}

function heldBy(state: State, { agent, boot }: { agent: AgentName; boot: string }) {
  return jobsAt(state, "leases").filter(({ place }) =>
    place.agent === agent && place.boot === boot
  );
}

function heartbeat(state: State, beat: Of<"heartbeat">): unknown {
  if (!isLive(state, beat)) return SESSION_LOST;
  const named = new Set(beat.names.map(nameOf));
  const isNamed = ({ id, place }: Job & { place: Leased }) => named.has(`${id}/${place.epoch}`);
  for (const job of heldBy(state, beat)) if (isNamed(job)) job.place.running = true;
  const forgotten = heldBy(state, beat).filter((job) =>
    job.place.running && job.place.old && !isNamed(job)
  );
  giveBack(state, forgotten, { attempt: "lost", code: "lease_lost", cost: "loss" });
  const held = heldBy(state, beat);
  const still = new Set(namesOf(held));
  return {
    cancel: namesOf(held.filter(({ place }) => place.cancel)),
    unknown: [...named].filter((name) => !still.has(name)).sort(),
  };
}

interface Reason {
  readonly attempt: "released" | "expired" | "lost";
  readonly code: FailureCode;
  readonly cost: "none" | "loss" | "failure";
}

/** Leases that end without a report: cancelled ones end, exhausted ones die, the others wait again. */
function giveBack(
  state: State,
  jobs: readonly (Job & { place: Leased })[],
  { attempt, code, cost }: Reason,
): number {
  for (const job of jobs) {
    const { epoch, agent, cancel, fails, losses, offset, rank, lastFailure } = job.place;
    note(state, { job: job.id, epoch, agent }, { outcome: attempt, failure: code });
    const counts = cost === "failure" || cost === "loss" && losses >= FREE_LOSSES;
    const failures = fails + (counts ? 1 : 0);
    if (cancel) end(state, job, { outcome: "cancelled", agent });
    else if (counts && failures >= RETRY_POLICIES.session.attempts) {
      end(state, job, { outcome: "dead", agent, failure: code });
    } else {
      (job as Job).place = {
        ...{ at: "ready", epoch, fails: failures, losses: losses + (cost === "loss" ? 1 : 0) },
        lastFailure: cost === "none" ? lastFailure : code,
        ...{ lateAgent: agent, lateFails: fails, due: cost === "none", offset },
        rank: cost === "none" ? rank : DELAYED,
      };
    }
  }
  return jobs.length;
}

function end(
  state: State,
  job: Job,
  { outcome, agent, failure = null, late = false }:
    & Pick<Ended, "outcome" | "agent">
    & Partial<Pick<Ended, "failure" | "late">>,
): void {
  const { epoch } = job.place;
  if (outcome === "completed") {
    for (const { device, kind, place } of state.jobs) {
      const isSame = device === job.device && kind === job.kind;
      if (isSame && place.at === "done" && place.outcome === "dead") place.closed = true;
    }
  }
  job.place = { at: "done", outcome, epoch, agent, late, failure, closed: false };
}

function note(
  state: State,
  { job, epoch, agent }: Pick<Grant, "job" | "epoch" | "agent">,
  { outcome, failure = null, answer = null, envelope = null }: {
    outcome: string;
    failure?: FailureCode | null;
    answer?: string | null;
    envelope?: string | null;
  },
): void {
  state.attempts.push({ job, epoch, agent, outcome, failure, answer, envelope });
}

/** A result settles the attempt that it is of, while nobody else was given the job; it gets the same answer for ever. */
function report(state: State, { by, grant, verdict, envelope }: Of<"report">): unknown {
  if (state.agents[by].revoked) return "agent-revoked";
  const job = state.jobs.find(({ id }) => id === grant.job);
  const { place } = job ?? {};
  if (!job || !place) return "unknown";
  const isOf = place.epoch === grant.epoch && grant.agent === by;
  const holds = isOf && place.at === "leases" && place.agent === by;
  const isLate = isOf && place.at === "ready" && place.lateAgent === by;
  if (holds || isLate) {
    const told = place.at === "leases" && place.cancel ? { status: "cancelled" } as const : verdict;
    const answer = isLate ? "accepted_late" : "accepted";
    const failure = told.status === "failed" ? told.code : null;
    note(state, { ...grant, agent: by }, { outcome: told.status, failure, answer, envelope });
    settle(state, job, { verdict: told, agent: by, late: isLate });
    return { answer, duplicate: false };
  }
  const answered = state.attempts.find((attempt) =>
    attempt.job === grant.job && attempt.epoch === grant.epoch && attempt.agent === by &&
    attempt.envelope === envelope
  );
  if (answered) return { answer: answered.answer, duplicate: true };
  const answer = "superseded";
  if (grant.agent === by) note(state, grant, { outcome: answer, answer, envelope });
  return { answer, duplicate: false };
}

function settle(
  state: State,
  job: Job,
  { verdict, agent, late }: { verdict: Verdict; agent: AgentName; late: boolean },
): void {
  const { place } = job;
  if (place.at === "done") return;
  if (verdict.status !== "failed") return end(state, job, { outcome: verdict.status, agent, late });
  const before = place.at === "ready" ? place.lateFails ?? place.fails : place.fails;
  const { attempts } = RETRY_POLICIES[failureClass(verdict.code)];
  if (before + 1 >= attempts) {
    const outcome = attempts === 1 ? "failed" : "dead";
    return end(state, job, { outcome, agent, late, failure: verdict.code });
  }
  const { epoch, losses, offset } = place;
  job.place = {
    ...{ at: "ready", epoch, fails: before + 1, losses, lastFailure: verdict.code },
    ...{ lateAgent: null, lateFails: null, due: false, offset, rank: DELAYED },
  };
}

function release(state: State, { agent, grant }: Of<"release">): unknown {
  const offered = jobsAt(state, "leases").filter(({ id, place }) =>
    id === grant.job && place.epoch === grant.epoch && place.agent === agent && !place.running
  );
  return giveBack(state, offered, RELEASED) > 0;
}

const RELEASED: Reason = { attempt: "released", code: "session_lost", cost: "none" };
const LOST: Reason = { attempt: "lost", code: "session_lost", cost: "loss" };

function drain(state: State, boot: Of<"drain">): unknown {
  if (state.agents[boot.agent].session !== "none" && state.agents[boot.agent].boot === boot.boot) {
    state.agents[boot.agent].capacity = 0;
  }
  giveBack(state, heldBy(state, boot).filter(({ place }) => !place.running), RELEASED);
  return null;
}

/** Opens a session: of a new boot, or of the same one again. */
function boot(state: State, { agent, again }: Of<"boot">): unknown {
  const known = state.agents[agent];
  if (!again) known.boot = `${agent}${++known.boots}`;
  Object.assign(known, { session: "live", capacity: 3 });
  const dead = jobsAt(state, "leases").filter(({ place }) =>
    place.agent === agent && place.boot !== known.boot
  );
  giveBack(state, dead, LOST);
  return null;
}

function pass(state: State, operation: Of<"pass">): unknown {
  if (operation.what === "session") {
    const known = state.agents[operation.agent];
    if (known.session === "live") known.session = "dead";
    return null;
  }
  const { what } = operation;
  const place = state.jobs.find(({ id }) => id === operation.job)?.place;
  if (place?.at === "ready" && what === "delay" && !place.due) {
    const rank = { seconds: Math.max(place.offset, 0), step: state.step };
    Object.assign(place, { due: true, rank });
  }
  if (place?.at === "ready" && what === "wear") Object.assign(place, WORN);
  if (place?.at !== "leases") return null;
  if (what === "offer") place.offerOver = true;
  if (what === "deadline") place.deadlineOver = true;
  if (what === "youth") place.old = true;
  return null;
}

/** A job that has failed so often, and lost its agents so often, that the next time is the last one. */
export const WORN = { fails: 4, losses: 2 };

function reap(state: State, part: ReapPart | "all"): unknown {
  for (const each of part === "all" ? REAP_PARTS : [part]) reapPart(state, each);
  return null;
}

function reapPart(state: State, part: ReapPart): void {
  const leased = jobsAt(state, "leases");
  if (part === "sessions") {
    const lost = AGENTS.filter((name) => state.agents[name].session === "dead");
    giveBack(state, leased.filter(({ place }) => lost.includes(place.agent)), LOST);
  } else if (part === "offers") {
    const stale = leased.filter(({ place }) => !place.running && place.offerOver);
    giveBack(state, stale, { attempt: "expired", code: "session_lost", cost: "none" });
  } else if (part === "deadlines") {
    const late = leased.filter(({ place }) => place.running && place.deadlineOver);
    giveBack(state, late, { attempt: "expired", code: "deadline_passed", cost: "failure" });
  } else {
    // A better rank counts only once a job is due.
    for (const { place } of jobsAt(state, "ready")) {
      if (place.due && place.offset < 0 && place.rank.seconds === 0) {
        place.rank = { ...place.rank, seconds: place.offset };
      }
    }
  }
}

function cancel(state: State, id: string): unknown {
  const job = state.jobs.find((known) => known.id === id);
  if (!job) return "unknown";
  if (job.place.at === "done") return "ended";
  if (job.place.at === "leases") {
    job.place.cancel = true;
    return "requested";
  }
  end(state, job, { outcome: "cancelled", agent: null });
  return "cancelled";
}

function revoke(state: State, agent: AgentName): unknown {
  const known = state.agents[agent];
  const isNew = !known.revoked;
  Object.assign(known, { revoked: true, session: "none" });
  const held = jobsAt(state, "leases").filter(({ place }) => place.agent === agent);
  if (isNew) giveBack(state, held, { attempt: "lost", code: "session_lost", cost: "none" });
  return null;
}
