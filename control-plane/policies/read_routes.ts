import type { Kysely } from "kysely";
import {
  getPolicy,
  listOccurrences,
  listPolicies,
  previewPolicy,
  previewSchedule,
} from "@rookery/shared/api/policies.ts";
import { OccurrenceId, PolicyId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { previewRuns } from "./check_policy.ts";
import { readClock } from "./clock.ts";
import { occurrenceOf, policyOf, readPolicy } from "./policy_view.ts";
import { selectPoliciesOf } from "./selection.ts";
import { selectOccurrences, selectPolicies } from "./store.ts";

/** Policies, their ledgers and what they will do, for who reads. */
export function mountPolicyReading(app: App, { db }: { readonly db: Kysely<Database> }): void {
  mountPreviews(app, db);
  route(app, listPolicies, async ({ query }, { scope }) => {
    const { limit, cursor, deviceId, ...filter } = query;
    const after = readCursor(cursor, PolicyId);
    const policyIds = deviceId === undefined
      ? undefined
      : await selectPoliciesOf(db, { deviceId, scope });
    const selection = { ...filter, policyIds, scope, after, limit: limit + 1 };
    const rows = await selectPolicies(db, selection);
    return pageOf(rows, limit, { item: policyOf, position: (row) => row.id });
  });

  route(app, getPolicy, async ({ params }, { scope }) => {
    return policyOf(await readPolicy(db, scope, params.policyId));
  });

  route(app, listOccurrences, async ({ params: { policyId }, query }, { scope }) => {
    await readPolicy(db, scope, policyId);
    const { limit, cursor, decision } = query;
    const before = readCursor(cursor, OccurrenceId);
    const rows = await selectOccurrences(db, { policyId, before, decision, limit: limit + 1 });
    return pageOf(rows, limit, { item: occurrenceOf, position: (row) => row.id });
  });
}

function mountPreviews(app: App, db: Kysely<Database>): void {
  route(app, previewPolicy, async ({ params }, { scope }) => {
    return previewRuns(await readPolicy(db, scope, params.policyId), await readClock(db));
  });

  route(app, previewSchedule, async ({ body }) => previewRuns(body, await readClock(db)));
}
