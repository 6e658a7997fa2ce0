/** A sync with NetBox, against a server that pages and refuses as NetBox's REST API is documented to. */
import assert from "node:assert/strict";
import { listDevices } from "@rookery/shared/api/devices.ts";
import {
  applyImport,
  getImport,
  type Import,
  listImportRows,
  previewNetbox,
} from "@rookery/shared/api/imports.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const TOKEN = "0123456789abcdef0123456789abcdef01234567";

interface Listed {
  readonly name: string | null;
  readonly site: string;
  readonly platform: string | null;
  readonly address: string | null;
}

/** Answers GET /api/dcim/devices/ with pages of two, however many are asked for, and names itself by another address. */
function serveNetbox(devices: () => readonly Listed[]) {
  const asked: string[] = [];
  const named = (name: string) => ({ id: 1, name, slug: name.toLowerCase() });
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const url = new URL(request.url);
    asked.push(url.search);
    if (request.headers.get("authorization") !== `Token ${TOKEN}`) {
      return Response.json({ detail: "Invalid token" }, { status: 403 });
    }
    if (url.pathname !== "/netbox/api/dcim/devices/") return new Response(null, { status: 404 });
    const offset = Number(url.searchParams.get("offset"));
    const all = devices();
    url.searchParams.set("offset", String(offset + 2));
    const next = `http://netbox.internal${url.pathname}${url.search}`;
    const results = all.slice(offset, offset + 2).map(({ name, site, platform, address }, id) => ({
      id,
      name,
      site: named(site),
      platform: platform === null ? null : named(platform),
      primary_ip: address === null ? null : { id, family: 4, address: `${address}/24` },
      tags: [named("Core")],
    }));
    const more = offset + 2 < all.length;
    return Response.json({ count: all.length, next: more ? next : null, previous: null, results });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/netbox`,
    asked,
    close: () => server.shutdown(),
  };
}

async function apply(importId: Import["id"]): Promise<Import> {
  const admin = await plane.administrator();
  const params = { importId };
  await admin.call(applyImport, { params });
  const stop = new AbortController();
  const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
  const read = () => admin.call(getImport, { params });
  await until(async () => (await read()).state !== "applying", "the import is applied");
  stop.abort();
  await running;
  return await read();
}

Deno.test("previewNetbox() looks first, brakes when too much would vanish, and only marks what is gone", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "Oslo" } });
  const device = (n: number) => ({
    name: `r${n}`,
    site: "oslo",
    platform: "cisco-ios-xe",
    address: `192.0.2.${n}`,
  });
  let listed: Listed[] = [
    ...[1, 2, 3, 4].map(device),
    { ...device(5), address: null },
    { ...device(6), platform: "panos" },
  ];
  const netbox = serveNetbox(() => listed);
  try {
    const body = { url: netbox.url, token: TOKEN, filter: "role=router" };
    const first = await admin.call(previewNetbox, { body });
    assert.deepEqual(first.actions, { create: 4, change: 0, unchanged: 0, refused: 2 });
    assert.equal(netbox.asked.length, 3);
    for (const query of netbox.asked) assert.match(query, /role=router&status=active/);
    assert.equal((await admin.call(listDevices, { query: { siteId } })).items.length, 0);
    const params = { importId: first.id };
    const refused = await admin.call(listImportRows, { params, query: { action: "refused" } });
    assert.deepEqual(refused.items.map(({ errors }) => errors[0]?.detail), [
      "the device has no primary IP in NetBox",
      'NetBox\'s platform "panos" is none here: name it in platforms',
    ]);
    await apply(first.id);
    const again = await admin.call(previewNetbox, { body });
    assert.deepEqual(again.actions, { create: 0, change: 0, unchanged: 4, refused: 2 });
    listed = listed.filter(({ name }) => name !== "r2" && name !== "r3");
    const braked = await admin.call(previewNetbox, { body });
    assert.match(braked.brake ?? "", /^2 of 4 devices of NetBox would be marked as vanished/);
    await assert.rejects(
      admin.call(applyImport, { params: { importId: braked.id } }),
      refusedAs("conflict"),
    );
    const released = await admin.call(previewNetbox, {
      body: { ...body, mostVanishedPercent: 50 },
    });
    assert.equal(released.brake, null);
    assert.equal((await apply(released.id)).outcomes.applied, 2);
    const tags = async () => {
      const { items } = await admin.call(listDevices, { query: { siteId } });
      return items.map(({ name, tags }) => `${name} ${tags}`);
    };
    const both = ["r1 Core,netbox", "r2 Core,netbox,netbox-vanished"];
    assert.deepEqual(await tags(), [...both, "r3 Core,netbox,netbox-vanished", "r4 Core,netbox"]);
    listed = [...listed, device(2)];
    await apply((await admin.call(previewNetbox, { body })).id);
    assert.equal((await tags())[1], "r2 Core,netbox");
    assert.equal(JSON.stringify(plane.log).includes(TOKEN), false);
  } finally {
    await netbox.close();
  }
});

Deno.test("previewNetbox() says which field a refusal of NetBox is about, and is not for who sees some sites only", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "Bergen" } });
  const netbox = serveNetbox(() => []);
  try {
    const pointerOf = async (body: { url: string; token: string }) => {
      try {
        await admin.call(previewNetbox, { body });
      } catch (error) {
        if (refusedAs("validation")(error)) {
          return (error as { errors: { pointer: string }[] }).errors[0]?.pointer;
        }
        throw error;
      }
      return undefined;
    };
    const { url } = netbox;
    assert.equal(await pointerOf({ url, token: "wrong" }), "#/token");
    assert.equal(await pointerOf({ url: new URL("/", url).href, token: TOKEN }), "#/url");
    assert.equal(await pointerOf({ url, token: TOKEN }), "#/filter");
    assert.equal(await pointerOf({ url: "http://netbox.example.com", token: TOKEN }), "#/url");
    const selector = { siteIds: [siteId] };
    const actions = ["devices:write" as const];
    const crew = await makePerson(plane, { name: "crew", actions, selector });
    await assert.rejects(
      crew.call(previewNetbox, { body: { url, token: TOKEN } }),
      refusedAs("forbidden"),
    );
  } finally {
    await netbox.close();
  }
});
