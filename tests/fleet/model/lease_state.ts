/** What the lease engine knows, as plain values: the state of the model, and what is read from PostgreSQL to compare with it. */
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";

export type AgentName = "a" | "b";
export type JobKind = "backup_config" | "check_reachability";

/** Where in the queue: seconds that the urgency adds to when it was put there, and the step in which that was. */
export interface Rank {
  readonly seconds: number;
  readonly step: number;
}

interface Waiting {
  at: "ready";
  epoch: number;
  fails: number;
  losses: number;
  lastFailure: FailureCode | null;
  lateAgent: AgentName | null;
  lateFails: number | null;
  /** False while it waits for its next attempt. */
  due: boolean;
  offset: number;
  rank: Rank;
}

export interface Leased {
  at: "leases";
  epoch: number;
  fails: number;
  losses: number;
  lastFailure: FailureCode | null;
  agent: AgentName;
  boot: string;
  claim: string;
  running: boolean;
  cancel: boolean;
  /** What has passed: the time to start it, to end it, and until a heartbeat that does not name it counts. */
  offerOver: boolean;
  deadlineOver: boolean;
  old: boolean;
  offset: number;
  rank: Rank;
}

export interface Ended {
  at: "done";
  outcome: "completed" | "failed" | "cancelled" | "dead";
  epoch: number;
  agent: AgentName | null;
  late: boolean;
  failure: FailureCode | null;
  closed: boolean;
}

export type Place = Waiting | Leased | Ended;

export interface Job {
  readonly id: string;
  readonly device: number;
  readonly kind: JobKind;
  place: Place;
}

export interface AgentState {
  boot: string;
  boots: number;
  capacity: number;
  /** None after a revocation; `dead` when it was not heard for too long. */
  session: "live" | "dead" | "none";
  revoked: boolean;
}

/** A lease that was ever granted. */
export interface Grant {
  readonly job: string;
  readonly epoch: number;
  readonly agent: AgentName;
  readonly boot: string;
}

export interface Attempt {
  readonly job: string;
  readonly epoch: number;
  readonly agent: AgentName;
  readonly outcome: string;
  readonly failure: FailureCode | null;
  readonly answer: string | null;
  readonly envelope: string | null;
}

export interface State {
  step: number;
  paused: boolean;
  readonly maxLive: number;
  readonly maxQueued: number;
  readonly devices: number;
  readonly agents: Record<AgentName, AgentState>;
  readonly jobs: Job[];
  readonly grants: Grant[];
  readonly attempts: Attempt[];
}

export const AGENTS = ["a", "b"] as const satisfies readonly AgentName[];

/** The state before the first step. */
export function initialState(): State {
  const agent = (name: AgentName): AgentState => (
    { boot: `${name}1`, boots: 1, capacity: 3, session: "live", revoked: false }
  );
  return {
    ...{ step: 0, paused: false, maxLive: 4, maxQueued: 5, devices: 4 },
    agents: { a: agent("a"), b: agent("b") },
    ...{ jobs: [], grants: [], attempts: [] },
  };
}

export function jobsAt<At extends Place["at"]>(
  state: State,
  at: At,
): (Job & { place: Extract<Place, { at: At }> })[] {
  return state.jobs.filter((job): job is Job & { place: Extract<Place, { at: At }> } =>
    job.place.at === at
  );
}

export function compareRanks(one: Rank, other: Rank): number {
  return one.seconds - other.seconds || one.step - other.step;
}

/** Waiting jobs that are due, in the order in which they are granted. */
export function queueOf(state: State) {
  return jobsAt(state, "ready").filter(({ place }) => place.due).sort((one, other) =>
    compareRanks(one.place.rank, other.place.rank) || (one.id < other.id ? -1 : 1)
  );
}
