/** The inventory as a table: what goes out comes in again, and each sees only what is theirs. */
import assert from "node:assert/strict";
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { exportInventory } from "@rookery/shared/api/inventory.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { unguardCell, writeCsv } from "../../control-plane/inventory/csv.ts";
import { type Person, testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function newSite(name: string): Promise<SiteId> {
  return (await (await plane.administrator()).call(createSite, { body: { name } })).id;
}

async function exportOf(person: Person, query: { siteId?: SiteId } = {}): Promise<string[]> {
  const bytes = await person.call(exportInventory, { query });
  return new TextDecoder().decode(bytes).split("\r\n").slice(0, -1);
}

Deno.test("exportInventory() writes each device that is seen, safe for spreadsheets, and credentials for who may read them", async () => {
  const admin = await plane.administrator();
  const [siteId, other] = [await newSite("oslo, east"), await newSite("bergen")];
  const secret = { name: "backup", username: "backup", password: "never shown" };
  const { id: credentialId } = await admin.call(createCredential, { body: secret });
  const odd = { name: "=1+2", host: "192.0.2.1", platform: "frr", tags: ["a, b", "core"] };
  await admin.call(createDevice, { body: { ...odd, siteId, credentialId } });
  const plain = { name: "r2", host: "192.0.2.1", port: 2222, platform: "linux" };
  await admin.call(createDevice, { body: { ...plain, siteId: other } });
  const header = "name,address,port,platform,site,tags,credential";
  const line = `'=1+2,192.0.2.1,22,frr,"oslo, east","""a, b"",core",`;
  const others = "r2,192.0.2.1,2222,linux,bergen,,";
  assert.deepEqual(await exportOf(admin), [header, `${line}backup`, others]);
  assert.deepEqual(await exportOf(admin, { siteId: other }), [header, others]);
  const selector = { siteIds: [siteId] };
  const guest = await makePerson(plane, { name: "guest", actions: ["devices:read"], selector });
  assert.deepEqual(await exportOf(guest), [header, line]);
  assert.deepEqual(await exportOf(guest, { siteId: other }), [header]);
});

Deno.test("exportInventory() reads page by page, and every device once", async () => {
  const siteId = await newSite("many");
  await database.sql`
    insert into devices (id, site_id, name, host, platform)
    select gen_random_uuid(), ${siteId}, 'many-' || n, 'many-' || n, 'frr'
    from generate_series(1, 1200) n`;
  const lines = await exportOf(await plane.administrator(), { siteId });
  assert.equal(new Set(lines).size, 1_201);
});

Deno.test("writeCsv() takes every formula its meaning, and unguardCell() gives back what it was", () => {
  for (const cell of ["=1", "+1", "-1", "@a", "\tx", "\rx", "'=1", "''@x", "'plain", "plain", ""]) {
    const written = writeCsv([[cell]]).replace(/\r\n$/, "").replace(/^"([^]*)"$/, "$1");
    assert.ok(!/^[=+\-@\t\r]/.test(written), cell);
    assert.equal(unguardCell(written), cell);
  }
});
