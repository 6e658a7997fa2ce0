import { type Kysely, sql } from "kysely";
import {
  archiveDevice,
  createDevice,
  getDevice,
  listDevices,
  listPlatforms,
  restoreDevice,
  updateDevice,
} from "@rookery/shared/api/devices.ts";
import { DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { type CredentialId, DeviceId, type SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { cancelWithin } from "../jobs/cancel.ts";
import { callBackUntouchable } from "../jobs/device_windows.ts";
import { isSiteVisible } from "../jobs/job_queries.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import type { Scope } from "../permissions/scope.ts";
import { replaceTags } from "./device_tags.ts";
import { deviceOf, DUPLICATES, readDevice } from "./read_device.ts";
import * as store from "./store.ts";
import { applyTagRules } from "./tag_rule_store.ts";

/** Devices, and the platforms they can have. */
export function mountDevices(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listPlatforms, () => ({ items: [...DRIVERS.values()].map(platformOf) }));

  route(app, listDevices, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const after = readCursor(cursor, DeviceId);
    const rows = await store.selectDevicePage(db, { ...filter, scope, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: deviceOf, position: (row) => row.id });
  });

  route(app, getDevice, async ({ params }, { scope }) => {
    return deviceOf(await readDevice(db, scope, params.deviceId));
  });

  route(app, createDevice, async ({ body }, context) => {
    const id = newId<DeviceId>();
    const { tags, ...fields } = body;
    const { siteId, credentialId } = fields;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const { scope } = context;
        if (!await isSiteVisible(tx, { scope, siteId })) throw refused("siteId", "is no site");
        await checkCredential(tx, { scope, siteId, credentialId });
        await store.insertDevice(tx, { ...fields, id });
        await replaceTags(tx, { siteId, deviceId: id, tags });
        await applyTagRules(tx, { deviceIds: [id] });
        const entry = { action: "device.create", target: { kind: "device", id }, siteId };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail: body });
      }));
    return deviceOf(await readDevice(db, context.scope, id));
  });

  route(app, updateDevice, async ({ params: { deviceId: id }, body }, context) => {
    const before = await readDevice(db, context.scope, id);
    const { siteId } = before;
    const { tags, ...fields } = body;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const { credentialId = null } = body;
        await checkCredential(tx, { scope: context.scope, siteId, credentialId });
        const isReassigned = body.credentialId !== undefined;
        if (isReassigned || body.windows !== undefined) await lockQueue(tx, siteId);
        await store.updateDevice(tx, id, given(fields));
        if (body.windows !== undefined) await callBackUntouchable(tx, { siteId, deviceId: id });
        if (tags) await replaceTags(tx, { siteId, deviceId: id, tags });
        await applyTagRules(tx, { deviceIds: [id] });
        if (isReassigned) await store.moveToLane(tx, { siteId, deviceId: id, credentialId });
        const entry = { action: "device.update", target: { kind: "device", id }, siteId };
        const detail = changedFields(deviceOf(before), body);
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return deviceOf(await readDevice(db, context.scope, id));
  });

  route(app, archiveDevice, async ({ params: { deviceId: id } }, context) => {
    const { siteId, archivedAt } = await readDevice(db, context.scope, id);
    if (archivedAt !== null) throw new ProblemError("conflict", "The device is archived already.");
    await inTransaction(db, async (tx) => {
      await lockQueue(tx, siteId);
      const open = await store.selectOpenJobs(tx, { siteId, deviceId: id });
      for (const jobId of open) await cancelWithin(tx, { siteId, jobId });
      await store.updateDevice(tx, id, { archivedAt: sql<Temporal.Instant>`now()` as never });
      const entry = { action: "device.archive", target: { kind: "device", id }, siteId };
      await writeAudit(tx, { ...entry, actor: actorOf(context) });
    });
  });

  route(app, restoreDevice, async ({ params: { deviceId: id } }, context) => {
    const { siteId, archivedAt } = await readDevice(db, context.scope, id);
    if (archivedAt === null) throw new ProblemError("conflict", "The device is not archived.");
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        await store.updateDevice(tx, id, { archivedAt: null });
        await applyTagRules(tx, { deviceIds: [id] });
        const entry = { action: "device.restore", target: { kind: "device", id }, siteId };
        await writeAudit(tx, { ...entry, actor: actorOf(context) });
      }));
    return deviceOf(await readDevice(db, context.scope, id));
  });
}

async function checkCredential(
  db: Kysely<Database>,
  use: { scope: Scope; siteId: SiteId; credentialId: CredentialId | null },
): Promise<void> {
  const { credentialId } = use;
  if (credentialId === null) return;
  if (await store.isCredentialUsable(db, { ...use, credentialId })) return;
  throw refused("credentialId", "is no credential of the device's tenant");
}

function refused(field: string, detail: string): ProblemError {
  return refusedField(`#/${field}`, detail);
}

function platformOf(driver: typeof DRIVERS extends ReadonlyMap<string, infer D> ? D : never) {
  const { platform, label, transport, evidence, restore } = driver;
  const captures = driver.captures.map((capture) => capture.name);
  return { platform, label, transport, captures, evidence: evidence.kind, restore };
}
