import assert from "node:assert/strict";
import type { SiteId, TenantId } from "@rookery/shared/ids.ts";
import { fairShares } from "./fair_shares.ts";

function sites(spec: Readonly<Record<string, number>>) {
  return Object.entries(spec).map(([name, live]) => ({
    siteId: name as SiteId,
    tenantId: name.slice(0, 1) as TenantId,
    live,
  }));
}

function shared(spec: Readonly<Record<string, number>>, wanted: number) {
  return Object.fromEntries(
    fairShares(sites(spec), wanted).map(({ siteId, wanted }) => [siteId, wanted]),
  );
}

Deno.test("fairShares() gives each tenant the same, and each of its sites the same of that", () => {
  assert.deepEqual(shared({ a1: 0, a2: 0, a3: 0, b1: 0 }, 12), { a1: 2, a2: 2, a3: 2, b1: 6 });
});

Deno.test("fairShares() counts what a site has already", () => {
  assert.deepEqual(shared({ a1: 4, b1: 0 }, 4), { b1: 4 });
  assert.deepEqual(shared({ a1: 4, b1: 0 }, 6), { a1: 1, b1: 5 });
});

Deno.test("fairShares() gives all to the only site, and nothing where there is none", () => {
  assert.deepEqual(shared({ a1: 7 }, 3), { a1: 3 });
  assert.deepEqual(shared({}, 3), {});
});
