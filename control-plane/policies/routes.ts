import type { Kysely, Transaction } from "kysely";
import {
  createPolicy,
  deletePolicy,
  disablePolicy,
  enablePolicy,
  runPolicy,
  updatePolicy,
} from "@rookery/shared/api/policies.ts";
import type { OccurrenceId, PolicyId } from "@rookery/shared/ids.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { describeError, type Log } from "../http/log.ts";
import { route, type RouteContext } from "../http/route.ts";
import type { Wakeups } from "../jobs/wakeups.ts";
import {
  addPolicy,
  changePolicy,
  holdPolicy,
  type PolicyInput,
  removePolicy,
  runNow,
} from "./change_policy.ts";
import { readClock } from "./clock.ts";
import { occurrenceOf, policyOf, readPolicy } from "./policy_view.ts";
import { mountPolicyReading } from "./read_routes.ts";
import { selectOccurrences } from "./store.ts";
import { workShares } from "./work_shares.ts";

interface PolicyServices {
  readonly db: Kysely<Database>;
  readonly wakeups: Wakeups;
  readonly log: Log;
}

/** Who changes a policy. */
type Writing = Pick<
  RouteContext<typeof updatePolicy>,
  "caller" | "scope" | "address" | "requestId" | "signal"
>;

/** Policies: what is to be done, for which devices, and when. */
export function mountPolicies(app: App, services: PolicyServices): void {
  mountPolicyReading(app, services);
  const { db } = services;
  route(app, createPolicy, async ({ body }, context) => {
    const { scope, caller: { userId: createdBy } } = context;
    const policyId = await inTransaction(db, async (tx) => {
      const id = await addPolicy(tx, body, { scope, createdBy, now: await readClock(tx) });
      await audit(tx, { context, action: "policy.create", policyId: id, detail: body });
      return id;
    });
    return policyOf(await readPolicy(db, scope, policyId));
  });

  route(
    app,
    updatePolicy,
    async ({ params: { policyId }, body }, context) =>
      await change(services, context, { policyId, change: given(body) }),
  );

  route(
    app,
    enablePolicy,
    async ({ params: { policyId } }, context) =>
      await change(services, context, { policyId, change: { enabled: true } }),
  );

  route(
    app,
    disablePolicy,
    async ({ params: { policyId } }, context) =>
      await change(services, context, { policyId, change: { enabled: false } }),
  );

  route(app, deletePolicy, async ({ params: { policyId } }, context) => {
    await readPolicy(db, context.scope, policyId);
    await inTransaction(db, async (tx) => {
      const { name } = await holdPolicy(tx, policyId);
      await removePolicy(tx, policyId, await readClock(tx));
      await audit(tx, { context, action: "policy.delete", policyId, detail: { name } });
    });
  });

  route(app, runPolicy, async ({ params: { policyId } }, context) => {
    await readPolicy(db, context.scope, policyId);
    const requestedBy = context.caller.userId;
    const occurrenceId = await inTransaction(db, async (tx) => {
      const policy = await holdPolicy(tx, policyId);
      const id = await runNow(tx, policy, { requestedBy, now: await readClock(tx) });
      await audit(tx, { context, action: "policy.run", policyId, detail: { occurrenceId: id } });
      return id;
    });
    await makeJobs(services, occurrenceId, context.signal);
    const [row] = await selectOccurrences(db, { policyId, occurrenceId, limit: 1 });
    if (!row) throw new Error("Cannot show the run: it is not in the ledger");
    return occurrenceOf(row);
  });
}

async function change(
  services: PolicyServices,
  context: Writing,
  { policyId, change }: { readonly policyId: PolicyId; readonly change: Partial<PolicyInput> },
) {
  const { db } = services;
  const { scope } = context;
  await readPolicy(db, scope, policyId);
  const occurrenceId = await inTransaction(db, async (tx) => {
    const before = await holdPolicy(tx, policyId);
    const again = await changePolicy(tx, { before, change }, { scope, now: await readClock(tx) });
    const detail = changedFields(before, change);
    await audit(tx, { context, action: "policy.update", policyId, detail });
    return again;
  });
  if (occurrenceId) await makeJobs(services, occurrenceId, context.signal);
  return policyOf(await readPolicy(db, scope, policyId));
}

/** As far as the caller waits for it. The run is stored: what is left or fails is made with the upkeep of the queue. */
async function makeJobs(
  { db, wakeups, log }: PolicyServices,
  occurrenceId: OccurrenceId,
  caller: AbortSignal,
): Promise<void> {
  const signal = AbortSignal.any([caller, AbortSignal.timeout(PROMPT_MS)]);
  await workShares(db, { occurrenceId, signal }).catch((error) =>
    log({ level: "warn", message: "Jobs of a run are left for later", ...describeError(error) })
  );
  wakeups.notifyAll();
}

/** How long a reply waits for the jobs of a run. */
const PROMPT_MS = 5_000;

interface Audited {
  readonly context: Writing;
  readonly action: string;
  readonly policyId: PolicyId;
  readonly detail: Readonly<Record<string, unknown>>;
}

async function audit(
  tx: Transaction<Database>,
  { context, action, policyId, detail }: Audited,
): Promise<void> {
  const target = { kind: "policy", id: policyId };
  await writeAudit(tx, { actor: actorOf(context), action, target, detail });
}
