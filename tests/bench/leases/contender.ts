/** What every queue of the bench must be able to do, so that all of them do the same work. */
import type {
  ConnectedDatabase,
  DatabaseAddress,
} from "../../../control-plane/database/connect.ts";

/** Connections of each queue to the one PostgreSQL, and workers of those that have one for each. */
export const CONNECTIONS = 16;
/** Of each job: 256 bytes as JSON. */
export const PAYLOAD = { commands: ["x".repeat(239)] };

/** What is put into a queue before the clock starts. */
export interface Filling {
  readonly jobs: number;
  /** How many of them are not due while the cell runs. */
  readonly later?: number;
  /** Jobs belong to so many groups (sites, with us), of which none may have more than `limit` jobs at work. */
  readonly groups?: { readonly count: number; readonly limit: number };
}

/** How jobs are taken. */
export interface Drain {
  readonly batch: number;
  /** It ends after so many. */
  readonly jobs: number;
  /** A job's work: a batch is held for so long between claim and completion. */
  readonly workMs?: number;
}

/** What was taken, as those who took it saw it. */
export interface Drained {
  readonly milliseconds: number;
  /** Of each claim that found something; empty where the queue's own workers claim. */
  readonly claimMs: readonly number[];
  /** Claims that left a group with more jobs at work than its limit. */
  readonly violations: number;
}

/** A queue that is open, with its own connections. */
export interface OpenQueue extends AsyncDisposable {
  fill(filling: Filling): Promise<void>;
  drain(drain: Drain): Promise<Drained>;
  /** Works on what is ordered until it is disposed; `onDone` hears of each job whose end was acknowledged. */
  serve(
    options: { readonly batch: number; readonly onDone: (id: string) => void },
  ): Promise<Server>;
  /** Results in the database; where none is kept, jobs that are gone. */
  countDone(): Promise<number>;
}

/** A queue that is worked on. */
export interface Server extends AsyncDisposable {
  /** Orders one job, as an application does, and returns its id. */
  order(): Promise<string>;
}

/** A queue to compare. */
export interface Contender {
  readonly name: string;
  /** What its claims and completions promise. */
  readonly promises: string;
  /** False: it chooses itself how many it takes at a time. */
  readonly takesBatches: boolean;
  /** Whether it can hold a group to a number of jobs at work. */
  readonly limitsGroups: boolean;
  /** In an empty database, which `admin` may look into. */
  open(address: DatabaseAddress, admin: ConnectedDatabase): Promise<OpenQueue>;
}
