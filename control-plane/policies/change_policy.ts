import type { Transaction } from "kysely";
import type { Selection } from "@rookery/shared/api/policies.ts";
import { canonicalJson } from "@rookery/shared/canonical_json.ts";
import type { OccurrenceId, PolicyId, UserId } from "@rookery/shared/ids.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { afterBlackouts } from "@rookery/shared/schedules/blackout.ts";
import { nextRuns } from "@rookery/shared/schedules/next_runs.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { cancelWaiting, STOPPED } from "./cancel_waiting.ts";
import { checkPayload, checkTiming } from "./check_policy.ts";
import { openOccurrence, shareAmongDevices, shareAmongSites } from "./open_occurrence.ts";
import { findReach } from "./selection.ts";
import {
  insertPolicy,
  lockPolicy,
  type PolicyChange,
  type StoredPolicy,
  updatePolicy,
} from "./store.ts";

/** What in a policy makes the jobs what they are. */
const WORK = [
  "kind",
  "payload",
  "selection",
  "priority",
  "urgency",
  "startWithinMinutes",
  "totalSeconds",
] as const;

/** What decides when it runs. */
const TIMING = ["schedule", "blackouts", "jitterMinutes"] as const;

/** What a person may write of a policy. */
export type PolicyInput =
  & Pick<StoredPolicy, typeof WORK[number] | typeof TIMING[number]>
  & Pick<StoredPolicy, "name" | "enabled" | "misfire">;

interface By {
  readonly now: Temporal.Instant;
  readonly scope: Scope;
}

/** Stores a new policy, with its first run to come. */
export async function addPolicy(
  tx: Transaction<Database>,
  input: PolicyInput,
  { now, scope, createdBy }: By & { readonly createdBy: UserId },
): Promise<PolicyId> {
  checkTiming(input, now);
  const id = newId<PolicyId>();
  const payload = checkPayload(input.kind, input.payload);
  const siteIds = await findReach(tx, { selection: input.selection, scope });
  await insertPolicy(tx, {
    ...input,
    id,
    payload,
    siteIds,
    createdBy,
    nextAt: firstRun(input, now),
  });
  return id;
}

function firstRun({ schedule }: Pick<PolicyInput, "schedule">, now: Temporal.Instant) {
  return nextRuns(schedule, { after: now, count: 1 })[0]?.at ?? null;
}

/**
 * Changes a policy at once: its next run is computed from now, and jobs that wait for its sake are cancelled and ordered
 * again as it is then, or not at all when it is disabled. Returns the run that orders them.
 */
export async function changePolicy(
  tx: Transaction<Database>,
  { before, change }: { readonly before: StoredPolicy; readonly change: Partial<PolicyInput> },
  by: By,
): Promise<OccurrenceId | undefined> {
  const after = { ...before, ...change };
  const retimed = differs(TIMING, before, after);
  if (retimed) checkTiming(after, by.now);
  const reworked = differs(WORK, before, after);
  const written: PolicyChange = {
    ...change,
    ...(retimed || !before.enabled && after.enabled ? { nextAt: firstRun(after, by.now) } : {}),
    ...(reworked ? await checkWork(tx, after, by.scope) : {}),
  };
  await updatePolicy(tx, before.id, written);
  if (!after.enabled) {
    await cancelWaiting(tx, before.id, { detail: STOPPED, offered: true });
    return undefined;
  }
  return reworked ? await orderAgain(tx, before.id, by.now) : undefined;
}

async function checkWork(
  tx: Transaction<Database>,
  { kind, payload, selection }: {
    readonly kind: JobKind;
    readonly payload: unknown;
    readonly selection: Selection;
  },
  scope: Scope,
): Promise<PolicyChange> {
  return {
    payload: checkPayload(kind, payload),
    siteIds: await findReach(tx, { selection, scope }),
  };
}

function differs(
  names: readonly (keyof PolicyInput)[],
  before: PolicyInput,
  after: PolicyInput,
): boolean {
  return names.some((name) => canonicalJson(before[name]) !== canonicalJson(after[name]));
}

/** What waited is ordered again now, for those devices that are still selected. */
async function orderAgain(
  tx: Transaction<Database>,
  policyId: PolicyId,
  now: Temporal.Instant,
): Promise<OccurrenceId | undefined> {
  const detail = "Its policy was changed; it was ordered again";
  const cancelled = await cancelWaiting(tx, policyId, { detail, offered: false });
  if (cancelled.length === 0) return undefined;
  const occurrenceId = await openNow(tx, { policyId, now, trigger: "change" });
  await shareAmongDevices(tx, { occurrenceId, policyId }, cancelled);
  return occurrenceId;
}

/** Opens a run of now for every device that is selected. Refused while a blackout window is open. */
export async function runNow(
  tx: Transaction<Database>,
  policy: StoredPolicy,
  { now, requestedBy }: { readonly now: Temporal.Instant; readonly requestedBy: UserId },
): Promise<OccurrenceId> {
  const { id: policyId, blackouts, schedule: { timeZone } } = policy;
  const until = afterBlackouts(blackouts, { at: now, timeZone });
  if (!until?.equals(now)) {
    const end = until ? `until ${until.toString({ smallestUnit: "second" })}` : "and it has no end";
    throw new ProblemError("conflict", `A blackout window of this policy is open, ${end}`);
  }
  const occurrenceId = await openNow(tx, { policyId, now, requestedBy, trigger: "manual" });
  await shareAmongSites(tx, { occurrenceId, policyId }, policy);
  return occurrenceId;
}

async function openNow(
  tx: Transaction<Database>,
  opening: {
    readonly policyId: PolicyId;
    readonly now: Temporal.Instant;
    readonly trigger: "manual" | "change";
    readonly requestedBy?: UserId;
  },
): Promise<OccurrenceId> {
  const { now, trigger } = opening;
  const run = { at: now, key: `${trigger} ${now}` };
  const id = await openOccurrence(tx, { ...opening, run, dueAt: now, jitterSeconds: 0 });
  if (!id) throw new ProblemError("conflict", "The policy is being run at this very moment");
  return id;
}

/** Deletes a policy and cancels what waits for its sake; the ledger keeps it. */
export async function removePolicy(
  tx: Transaction<Database>,
  id: PolicyId,
  now: Temporal.Instant,
): Promise<void> {
  await updatePolicy(tx, id, { deletedAt: now, nextAt: null });
  await cancelWaiting(tx, id, { detail: STOPPED, offered: true });
}

/** A policy that stays as it is until the transaction ends. */
export async function holdPolicy(
  tx: Transaction<Database>,
  id: PolicyId,
): Promise<StoredPolicy> {
  const policy = await lockPolicy(tx, id);
  if (!policy) throw new ProblemError("not-found", "There is no such policy.");
  return policy;
}
