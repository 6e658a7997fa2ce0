import { sql, type Transaction } from "kysely";
import { type DeviceEdit, MOST_EDITED } from "@rookery/shared/api/device_edits.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { type Actor, writeAudits } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { callBackUntouchable } from "../jobs/device_windows.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import type { Scope } from "../permissions/scope.ts";
import type { DeviceFilter } from "./device_filter.ts";
import * as store from "./store.ts";
import { applyTagRules } from "./tag_rule_store.ts";

/** As many as a device may have. */
const MOST_TAGS = 50;

export interface EditOrder {
  readonly scope: Scope;
  readonly actor: Actor;
  readonly deviceIds: readonly DeviceId[] | undefined;
  readonly filter: DeviceFilter | undefined;
  readonly expected: number;
  readonly change: DeviceEdit;
}

/** Changes the devices, all or none; how many they were. Refuses with `conflict` when they are not as many as expected. */
export async function editAll(tx: Transaction<Database>, order: EditOrder): Promise<number> {
  const devices = await findDevices(tx, order);
  refuseUnexpected(devices.length, order.expected);
  const siteIds = [...new Set(devices.map(({ siteId }) => siteId))].sort();
  const { addTags = [], removeTags = [], ...fields } = order.change;
  await checkCredential(tx, order, siteIds);
  if (fields.credentialId !== undefined || fields.windows !== undefined) {
    for (const siteId of siteIds) await lockQueue(tx, siteId);
  }
  const ids = await lockDevices(tx, devices);
  refuseUnexpected(ids.length, order.expected);
  await updateAll(tx, ids, fields);
  await addAll(tx, ids, addTags);
  await removeAll(tx, ids, removeTags);
  await applyTagRules(tx, { deviceIds: ids });
  for (const { id: deviceId, siteId } of devices) {
    const { credentialId } = fields;
    if (fields.windows !== undefined) await callBackUntouchable(tx, { siteId, deviceId });
    if (credentialId !== undefined) await store.moveToLane(tx, { siteId, deviceId, credentialId });
  }
  await writeAudits(tx, devices.map((device) => entryOf(order, device)));
  return devices.length;
}

function findDevices(tx: Transaction<Database>, { scope, deviceIds, filter }: EditOrder) {
  const limit = MOST_EDITED + 1;
  return store.selectDevices(tx, { ...filter, scope, archived: false, deviceIds, limit });
}

/** In the order of their ids, after their sites: two that edit the same devices come one after the other. */
async function lockDevices(
  tx: Transaction<Database>,
  devices: readonly store.DeviceRow[],
): Promise<DeviceId[]> {
  const ids = devices.map(({ id }) => id);
  const { rows } = await sql<{ id: DeviceId }>`
    select id from devices where id = any(${ids}::uuid[]) and archived_at is null
    order by id for no key update`.execute(tx);
  return rows.map(({ id }) => id);
}

function refuseUnexpected(found: number, expected: number): void {
  if (found === expected) return;
  const many = found > MOST_EDITED ? `more than ${MOST_EDITED}` : String(found);
  const detail = `the devices in use that you may change are ${many}`;
  throw new ProblemError("conflict", `#/expected: ${detail}`, {
    errors: [{ detail, pointer: "#/expected" }],
  });
}

async function checkCredential(
  tx: Transaction<Database>,
  { scope, change: { credentialId } }: EditOrder,
  siteIds: readonly SiteId[],
): Promise<void> {
  if (credentialId === undefined || credentialId === null) return;
  for (const siteId of siteIds) {
    if (await store.isCredentialUsable(tx, { scope, siteId, credentialId })) continue;
    throw refusedField("#/change/credentialId", "is no credential of the tenant of all devices");
  }
}

async function updateAll(
  tx: Transaction<Database>,
  ids: readonly DeviceId[],
  fields: Omit<DeviceEdit, "addTags" | "removeTags">,
): Promise<void> {
  await tx.updateTable("devices").set({ ...given(fields), updatedAt: sql`now()` as never })
    .where("id", "in", [...ids]).execute();
}

/** A tag that a tenant does not have yet is made, in one order, so that nobody waits in a circle. */
async function addAll(
  tx: Transaction<Database>,
  ids: readonly DeviceId[],
  tags: readonly string[],
): Promise<void> {
  if (tags.length === 0) return;
  const { rows: tenants } = await sql<{ tenantId: string }>`
    select distinct s.tenant_id from devices d join sites s on s.id = d.site_id
    where d.id = any(${[...ids]}::uuid[]) order by 1`.execute(tx);
  for (const { tenantId } of tenants) {
    for (const name of tags.toSorted()) {
      await sql`insert into tags (id, tenant_id, name) values (${newId()}, ${tenantId}, ${name})
        on conflict do nothing`.execute(tx);
    }
  }
  await sql`
    insert into device_tags (device_id, tag_id)
    select d.id, t.id from devices d join sites s on s.id = d.site_id
      join tags t on t.tenant_id = s.tenant_id and lower(t.name) = any(${folded(tags)}::text[])
    where d.id = any(${[...ids]}::uuid[]) order by 1, 2 on conflict do nothing`.execute(tx);
  await refuseTooMany(tx, ids);
}

async function refuseTooMany(tx: Transaction<Database>, ids: readonly DeviceId[]): Promise<void> {
  const { rows } = await sql`
    select 1 from device_tags where device_id = any(${[...ids]}::uuid[])
    group by device_id having count(*) > ${MOST_TAGS} limit 1`.execute(tx);
  if (rows.length === 0) return;
  throw refusedField("#/change/addTags", `would give a device more than ${MOST_TAGS} tags`);
}

async function removeAll(
  tx: Transaction<Database>,
  ids: readonly DeviceId[],
  tags: readonly string[],
): Promise<void> {
  if (tags.length === 0) return;
  await sql`
    delete from device_tags x using tags t
    where t.id = x.tag_id and lower(t.name) = any(${folded(tags)}::text[])
      and x.device_id = any(${[...ids]}::uuid[])`.execute(tx);
}

function folded(tags: readonly string[]): string[] {
  return tags.map((tag) => tag.toLowerCase());
}

function entryOf({ actor, change }: EditOrder, device: store.DeviceRow) {
  const { addTags, removeTags, ...fields } = change;
  const detail = { ...changedFields(device, fields), ...given({ addTags, removeTags }) };
  const target = { kind: "device", id: device.id };
  return { actor, action: "device.update", target, siteId: device.siteId, detail };
}
