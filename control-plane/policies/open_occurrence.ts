import { sql, type Transaction } from "kysely";
import type { OccurrenceTrigger, SkipReason } from "@rookery/shared/api/policies.ts";
import type { DeviceId, OccurrenceId, PolicyId, SiteId, UserId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { Decision } from "./plan.ts";
import { isSelected, type Reach } from "./selection.ts";

interface Opening extends Decision {
  readonly policyId: PolicyId;
  readonly trigger: OccurrenceTrigger;
  readonly now: Temporal.Instant;
  readonly requestedBy?: UserId;
}

/** Writes runs that nobody works on into the ledger; what stands there already stays as it is. */
export async function recordSkipped(
  tx: Transaction<Database>,
  { policyId, now }: { readonly policyId: PolicyId; readonly now: Temporal.Instant },
  skipped: readonly Decision[],
): Promise<void> {
  if (skipped.length === 0) return;
  const rows = skipped.map(({ run, skipped: reason }) => ({
    id: newId(),
    key: run.key,
    at: run.at.toString(),
    reason,
  }));
  await sql`
    insert into occurrences (id, policy_id, key, at, trigger, decision, reason, due_at, decided_at)
    select id, ${policyId}, key, at, 'schedule', 'skipped', reason, at, ${now}::timestamptz
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb)
      as r(id uuid, key text, at timestamptz, reason text)
    on conflict (policy_id, key) do nothing`.execute(tx);
}

/** Opens a run: its row in the ledger. Undefined when the run was decided before. */
export async function openOccurrence(
  tx: Transaction<Database>,
  { policyId, trigger, now, requestedBy, run, dueAt, jitterSeconds }: Opening,
): Promise<OccurrenceId | undefined> {
  const id = newId<OccurrenceId>();
  const row = await tx.insertInto("occurrences").values({
    ...{ id, policyId, trigger, dueAt, jitterSeconds },
    key: run.key,
    at: run.at,
    requestedBy: requestedBy ?? null,
    decidedAt: now,
  }).onConflict((conflict) => conflict.columns(["policyId", "key"]).doNothing())
    .returning("id").executeTakeFirst();
  return row?.id;
}

interface Share {
  readonly occurrenceId: OccurrenceId;
  readonly policyId: PolicyId;
}

/** Gives every site that has selected devices its share of a run. Without any, the run is over. */
export async function shareAmongSites(
  tx: Transaction<Database>,
  { occurrenceId, policyId }: Share,
  reach: Reach,
): Promise<void> {
  const { numAffectedRows } = await sql`
    insert into occurrence_sites (site_id, occurrence_id, policy_id)
    select s.id, ${occurrenceId}::uuid, ${policyId}::uuid from sites s
    where exists (select 1 from devices d where d.site_id = s.id and ${isSelected(reach)})`
    .execute(tx);
  if (numAffectedRows) return;
  const reason: SkipReason = "no_device";
  await tx.updateTable("occurrences").set({ decision: "skipped", reason })
    .where("id", "=", occurrenceId).execute();
}

/** Gives sites a share that is about some devices. */
export async function shareAmongDevices(
  tx: Transaction<Database>,
  { occurrenceId, policyId }: Share,
  devices: readonly { readonly siteId: SiteId; readonly deviceId: DeviceId }[],
): Promise<void> {
  await sql`
    insert into occurrence_sites (site_id, occurrence_id, policy_id, device_ids)
    select site_id, ${occurrenceId}::uuid, ${policyId}::uuid, array_agg(device_id)
    from jsonb_to_recordset(${
    JSON.stringify(
      devices.map(({ siteId, deviceId }) => ({ site_id: siteId, device_id: deviceId })),
    )
  }::text::jsonb) as r(site_id uuid, device_id uuid)
    group by site_id`.execute(tx);
}
