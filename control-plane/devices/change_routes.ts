import { type Kysely, sql, type Transaction } from "kysely";
import {
  DeviceMarkId,
  listDeviceMarks,
  moveDevice,
  purgeDevice,
  replaceDevice,
} from "@rookery/shared/api/device_changes.ts";
import { editDevices } from "@rookery/shared/api/device_edits.ts";
import type { DeviceId, HostKeyId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { type Actor, actorOf, writeAudit, writeAudits } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import * as hostKeys from "../host_keys/store.ts";
import type { App } from "../http/app_type.ts";
import { reachOf, type UserCaller } from "../http/caller.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { reachesSite, type Scope } from "../permissions/scope.ts";
import { editAll } from "./edit_devices.ts";
import { insertMark, markOf, selectMarks } from "./mark_store.ts";
import { type DeviceMove, moveAlong } from "./move_device.ts";
import { deleteForEver } from "./purge_device.ts";
import { deviceOf, DUPLICATES, readDevice } from "./read_device.ts";
import { isSameTenant, updateDevice } from "./store.ts";

export interface DeviceServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
}

/** What happens to devices in their life: other sites, other hardware, the end. */
export function mountDeviceChanges(app: App, { db, keyRing }: DeviceServices): void {
  route(app, listDeviceMarks, async ({ params, query: { limit, cursor } }, { scope }) => {
    const { id: deviceId } = await readDevice(db, scope, params.deviceId);
    const before = readCursor(cursor, DeviceMarkId);
    const rows = await selectMarks(db, { scope, deviceId, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: markOf, position: (row) => row.id });
  });

  route(app, editDevices, async ({ body }, context) => {
    const { scope } = context;
    const order = { ...body, scope, actor: actorOf(context) };
    const { deviceIds, filter } = body;
    return {
      changed: await inTransaction(db, (tx) => editAll(tx, { ...order, deviceIds, filter })),
    };
  });

  route(app, moveDevice, async ({ params: { deviceId }, body: { siteId: to } }, context) => {
    const { scope, caller: { userId } } = context;
    const device = await readInUse(db, scope, deviceId);
    const move = { deviceId, from: device.siteId, to, userId };
    await checkMove(db, scope, move);
    await refuseDuplicates(
      DUPLICATES,
      () => moveAlong({ db, keyRing }, move, (tx) => auditMove(tx, actorOf(context), move)),
    );
    return deviceOf(await readDevice(db, scope, deviceId));
  });

  route(app, replaceDevice, async ({ params: { deviceId }, body }, context) => {
    const { scope, caller } = context;
    const { siteId } = await readInUse(db, scope, deviceId);
    refuseKeyless(caller, siteId);
    const { serialNumber, hostKey, host } = body;
    const { userId } = caller;
    const id = await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        if (host !== undefined) await updateDevice(tx, deviceId, { host });
        const pin = { ...hostKey, deviceId, id: newId<HostKeyId>(), userId };
        await hostKeys.pinOnly(tx, { ...pin, hostKeyId: await hostKeys.upsertPin(tx, pin) });
        await forgetHardware(tx, { deviceId, serialNumber });
        const { fingerprint } = hostKey;
        const mark = { deviceId, kind: "replaced", serialNumber, fingerprint } as const;
        const entry = { action: "device.replace", target: { kind: "device", id: deviceId } };
        await writeAudit(tx, { ...entry, actor: actorOf(context), siteId, detail: body });
        return await insertMark(tx, { ...mark, markedBy: userId });
      }));
    const [mark] = await selectMarks(db, { scope, deviceId, limit: 1 });
    if (mark?.id !== id) throw new ProblemError("conflict", "It was replaced again meanwhile.");
    return markOf(mark);
  });

  route(app, purgeDevice, async ({ params: { deviceId }, body }, context) => {
    const { siteId, name, host, archivedAt } = await readDevice(db, context.scope, deviceId);
    if (name !== body.name) throw refusedField("#/name", "is not the name of this device");
    if (archivedAt === null) {
      throw new ProblemError("conflict", "The device is in use: archive it first.");
    }
    await inTransaction(db, async (tx) => {
      await deleteForEver(tx, { siteId, deviceId });
      const entry = { action: "device.purge", target: { kind: "device", id: deviceId }, siteId };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { name, host } });
    });
  });
}

async function readInUse(db: Kysely<Database>, scope: Scope, deviceId: DeviceId) {
  const device = await readDevice(db, scope, deviceId);
  if (device.archivedAt === null) return device;
  throw new ProblemError("conflict", "The device is archived: restore it first.");
}

/** Tags, credentials and the right to see them belong to tenants: what goes to another one is a new device there. */
async function checkMove(db: Kysely<Database>, scope: Scope, { from, to }: DeviceMove) {
  if (from === to) throw refusedField("#/siteId", "is where the device is already");
  if (!reachesSite(scope, to)) throw refusedField("#/siteId", "is no site");
  const isSame = await isSameTenant(db, { from, to });
  if (isSame === undefined) throw refusedField("#/siteId", "is no site");
  if (!isSame) throw refusedField("#/siteId", "is a site of another tenant");
}

/** A row for each site: who sees one of them only is not told of the other. */
async function auditMove(tx: Transaction<Database>, actor: Actor, move: DeviceMove) {
  const target = { kind: "device", id: move.deviceId };
  await writeAudits(tx, [
    { actor, action: "device.move_away", target, siteId: move.from },
    { actor, action: "device.move_in", target, siteId: move.to },
  ]);
}

function refuseKeyless(caller: UserCaller, siteId: SiteId): void {
  if (reachesSite(reachOf(caller, "host_keys:write"), siteId)) return;
  const detail = "To accept the new host key takes the permission host_keys:write at this site.";
  throw new ProblemError("forbidden", detail);
}

/** The new hardware has refused nobody, and nothing is known of it but its number. */
async function forgetHardware(
  tx: Transaction<Database>,
  { deviceId, serialNumber }: { readonly deviceId: DeviceId; readonly serialNumber: string },
): Promise<void> {
  await tx.deleteFrom("credentialRefusals").where("deviceId", "=", deviceId).execute();
  await sql`
    insert into device_facts (device_id, serial_number) values (${deviceId}, ${serialNumber})
    on conflict (device_id) do update set model = null, os_version = null,
      serial_number = excluded.serial_number`.execute(tx);
  await sql`
    update device_status set algorithms = null,
      facts = jsonb_build_object('serialNumber', ${serialNumber}::text)
    where device_id = ${deviceId}`.execute(tx);
}
