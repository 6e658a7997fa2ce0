import type { Misfire, SkipReason } from "@rookery/shared/api/policies.ts";
import {
  afterBlackouts,
  type Blackout,
  isInBlackout,
  nextBlackout,
} from "@rookery/shared/schedules/blackout.ts";
import { nextRuns, type Run } from "@rookery/shared/schedules/next_runs.ts";
import type { Schedule } from "@rookery/shared/schedules/schedule.ts";

/** A run that is decided later than this was missed. */
const GRACE = { minutes: 5 };
/** Made-up runs are spread over no more than this. */
const LATE_JITTER_SECONDS = 2 * 3_600;
/** Runs that are decided in one transaction. */
export const PLAN_BATCH = 500;

/** What of a policy decides when it runs. */
export interface Timing {
  readonly enabled: boolean;
  readonly schedule: Schedule;
  readonly blackouts: readonly Blackout[];
  readonly misfire: Misfire;
  readonly jitterMinutes: number;
}

/** What becomes of one run: skipped for a reason, or jobs that are due at `dueAt` and up to the jitter later. */
export interface Decision {
  readonly run: Run;
  readonly skipped?: SkipReason;
  readonly dueAt: Temporal.Instant;
  readonly jitterSeconds: number;
}

export interface Plan {
  readonly decisions: readonly Decision[];
  /** The first run that is not decided yet. */
  readonly nextAt: Temporal.Instant | null;
}

/**
 * Decides every run from `from` to `now`. The last one that no window forbids is made, if it is in time or may be made
 * up; whoever was away for a year gets one run, and a line in the ledger for each that was missed.
 */
export function planDue(
  timing: Timing,
  { from, now }: { readonly from: Temporal.Instant; readonly now: Temporal.Instant },
): Plan {
  const after = from.subtract({ nanoseconds: 1 });
  const runs = nextRuns(timing.schedule, { after, count: PLAN_BATCH + 1 });
  const due = runs.slice(0, PLAN_BATCH).filter(({ at }) => !isLater(at, now));
  const next = runs[due.length];
  const isAll = next === undefined || isLater(next.at, now);
  const chosen = timing.enabled && isAll
    ? due.findLast((run) => !isForbidden(timing, run.at))
    : undefined;
  return {
    decisions: due.map((run) => decide(timing, { run, now, isChosen: run === chosen })),
    nextAt: next?.at ?? null,
  };
}

function decide(
  timing: Timing,
  { run, now, isChosen }: {
    readonly run: Run;
    readonly now: Temporal.Instant;
    readonly isChosen: boolean;
  },
): Decision {
  const skip = (skipped: SkipReason): Decision => ({
    run,
    skipped,
    dueAt: run.at,
    jitterSeconds: 0,
  });
  if (!timing.enabled) return skip("disabled");
  if (isForbidden(timing, run.at)) return skip("blackout");
  if (!isChosen) return skip("missed");
  if (!isLater(now, run.at.add(GRACE))) return { run, ...spread(timing, run.at) };
  if (timing.misfire === "skip") return skip("missed");
  const { timeZone } = timing.schedule;
  const dueAt = afterBlackouts(timing.blackouts, { at: now, timeZone });
  if (dueAt === undefined) return skip("blackout");
  return { run, ...spread(timing, dueAt, LATE_JITTER_SECONDS) };
}

/** Jitter ends where a blackout begins. */
export function spread(timing: Timing, dueAt: Temporal.Instant, most = Infinity) {
  const { blackouts, jitterMinutes, schedule: { timeZone } } = timing;
  const wanted = Math.min(jitterMinutes * 60, most);
  const end = nextBlackout(blackouts, { after: dueAt, timeZone });
  const room = end === undefined ? Infinity : Math.floor(dueAt.until(end).total("seconds"));
  return { dueAt, jitterSeconds: Math.min(wanted, room) };
}

function isForbidden({ blackouts, schedule: { timeZone } }: Timing, at: Temporal.Instant): boolean {
  return isInBlackout(blackouts, { at, timeZone });
}

function isLater(instant: Temporal.Instant, than: Temporal.Instant): boolean {
  return Temporal.Instant.compare(instant, than) > 0;
}
