import { PREVIEWED_RUNS } from "@rookery/shared/api/policies.ts";
import type { Preview } from "@rookery/shared/api/policies.ts";
import { DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { fieldErrors } from "@rookery/shared/field_errors.ts";
import { JOB_KINDS, type JobKind } from "@rookery/shared/jobs/mod.ts";
import { type FieldError, ProblemError } from "@rookery/shared/problem.ts";
import { type Blackout, isInBlackout } from "@rookery/shared/schedules/blackout.ts";
import { nextRuns } from "@rookery/shared/schedules/next_runs.ts";
import type { Schedule } from "@rookery/shared/schedules/schedule.ts";

/** The next runs of a schedule, and which of them a window forbids. */
export function previewRuns(
  { schedule, blackouts }: {
    readonly schedule: Schedule;
    readonly blackouts: readonly Blackout[];
  },
  now: Temporal.Instant,
): Preview {
  const { timeZone } = schedule;
  const runs = nextRuns(schedule, { after: now, count: PREVIEWED_RUNS });
  return {
    runs: runs.map(({ at }) => ({
      at: at.toString(),
      localTime: at.toZonedDateTimeISO(timeZone).toString({ timeZoneName: "never" }),
      blackout: isInBlackout(blackouts, { at, timeZone }),
    })),
  };
}

/** Refuses a timing by which nothing would ever run, or runs would overlap. */
export function checkTiming(
  timing: {
    readonly schedule: Schedule;
    readonly blackouts: readonly Blackout[];
    readonly jitterMinutes: number;
  },
  now: Temporal.Instant,
): void {
  const { runs } = previewRuns(timing, now);
  if (runs.length === 0) {
    // Only what happens once can be over.
    throw refused([{ detail: "must be later than now", pointer: "#/schedule/at" }]);
  }
  if (runs.every(({ blackout }) => blackout)) {
    const detail = `forbid every one of the next ${runs.length} runs`;
    throw refused([{ detail, pointer: "#/blackouts" }]);
  }
  const minutes = shortestGap(runs.map(({ at }) => Temporal.Instant.from(at)));
  if (timing.jitterMinutes < minutes) return;
  const detail = `must be less than the ${minutes} minutes between two runs`;
  throw refused([{ detail, pointer: "#/jitterMinutes" }]);
}

function shortestGap(instants: readonly Temporal.Instant[]): number {
  const gaps = instants.slice(1).map((at, index) => instants[index]?.until(at).total("minutes"));
  return Math.min(...gaps.map((gap) => gap ?? Infinity));
}

/** The payload as its kind keeps it. Refuses what has another form, and what no driver at all could do. */
export function checkPayload(kind: JobKind, payload: unknown): unknown {
  const parsed = JOB_KINDS[kind].payload.safeParse(payload);
  if (!parsed.success) {
    throw refused(
      below(
        "#/payload",
        fieldErrors(parsed.error, "body").map(({ detail, pointer }) => ({
          detail,
          pointer: pointer.replace(/^#|\/$/g, ""),
        })),
      ),
    );
  }
  const { refuse } = JOB_KINDS[kind].read(parsed.data);
  const refusals = DRIVERS.values().map(refuse).toArray();
  const [first] = refusals;
  if (first && refusals.every((errors) => errors.length > 0)) {
    throw refused(below("#/payload", first));
  }
  return parsed.data;
}

function below(place: string, errors: readonly FieldError[]): FieldError[] {
  return errors.map(({ detail, pointer }) => ({ detail, pointer: place + pointer }));
}

function refused(errors: readonly FieldError[]): ProblemError {
  const detail = errors.map((field) => `${field.pointer}: ${field.detail}`).join("; ");
  return new ProblemError("validation", detail.slice(0, 500), { errors });
}
