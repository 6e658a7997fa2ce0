import assert from "node:assert/strict";
import { createDevice } from "@rookery/shared/api/devices.ts";
import {
  acceptHostKey,
  createHostKey,
  listHostKeys,
  rejectHostKey,
} from "@rookery/shared/api/host_keys.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import type { DeviceId, HostKeyId } from "@rookery/shared/ids.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

Deno.test("createHostKey() pins keys beside each other, once each", async () => {
  const admin = await plane.administrator();
  const deviceId = await newDevice("pinned");
  const one = { deviceId, keyType: "ssh-ed25519", fingerprint: fingerprint("A") };
  const two = { deviceId, keyType: "ecdsa-sha2-nistp256", fingerprint: fingerprint("B") };
  const first = await admin.call(createHostKey, { body: one });
  assert.deepEqual([first.state, first.source], ["accepted", "administrator"]);
  await admin.call(createHostKey, { body: two });
  assert.equal((await admin.call(createHostKey, { body: one })).id, first.id);
  assert.deepEqual(await pinsOf(deviceId), [one.fingerprint, two.fingerprint]);
});

Deno.test("acceptHostKey() puts a changed key in the place of the old pins, and the audit says who", async () => {
  const admin = await plane.administrator();
  const deviceId = await newDevice("changed");
  const body = { deviceId, keyType: "ssh-ed25519", fingerprint: fingerprint("C") };
  await admin.call(createHostKey, { body });
  const changed = await showKey(deviceId, fingerprint("D"));
  const waiting = await admin.call(listHostKeys, { query: { deviceId, state: "pending" } });
  assert.deepEqual(waiting.items.map(({ id }) => id), [changed]);
  const accepted = await admin.call(acceptHostKey, { params: { hostKeyId: changed } });
  assert.equal(accepted.state, "accepted");
  assert.ok(accepted.decidedAt);
  assert.deepEqual(await pinsOf(deviceId), [fingerprint("D")]);
  const [row] = await database.sql`
    select actor_name, detail from audit_rows where action = 'host_key.accept'`;
  assert.deepEqual([row?.actor_name, row?.detail.fingerprint], ["admin", fingerprint("D")]);
});

Deno.test("rejectHostKey() keeps the pins, and takes a pin away when it is one", async () => {
  const admin = await plane.administrator();
  const deviceId = await newDevice("rejected");
  const body = { deviceId, keyType: "ssh-ed25519", fingerprint: fingerprint("E") };
  const pin = await admin.call(createHostKey, { body });
  const strange = await showKey(deviceId, fingerprint("F"));
  await admin.call(rejectHostKey, { params: { hostKeyId: strange } });
  assert.deepEqual(await pinsOf(deviceId), [fingerprint("E")]);
  await admin.call(rejectHostKey, { params: { hostKeyId: pin.id } });
  assert.deepEqual(await pinsOf(deviceId), []);
});

async function newDevice(name: string): Promise<DeviceId> {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name } });
  const body = { siteId, name, host: "192.0.2.1", platform: "frr" };
  return (await admin.call(createDevice, { body })).id;
}

/** As a backup does that met another key than the pinned one. */
async function showKey(deviceId: DeviceId, shown: string): Promise<HostKeyId> {
  const [row] = await database.sql<{ id: HostKeyId }[]>`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source)
    select gen_random_uuid(), site_id, id, 'ssh-ed25519', ${shown}, 'pending', 'reported'
    from devices where id = ${deviceId} returning id`;
  assert.ok(row);
  return row.id;
}

async function pinsOf(deviceId: DeviceId): Promise<readonly string[]> {
  const admin = await plane.administrator();
  const { items } = await admin.call(listHostKeys, { query: { deviceId, state: "accepted" } });
  return items.map((key) => key.fingerprint).sort();
}

function fingerprint(letter: string): string {
  return `SHA256:${letter.repeat(43)}`;
}
