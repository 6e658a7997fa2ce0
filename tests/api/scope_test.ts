import assert from "node:assert/strict";
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { createHostKey } from "@rookery/shared/api/host_keys.ts";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { createTenant } from "@rookery/shared/api/tenants.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { selectAuditRows } from "../../control-plane/audit/store.ts";
import { selectCredentials } from "../../control-plane/credentials/store.ts";
import { selectDevices } from "../../control-plane/devices/store.ts";
import { selectHostKeys } from "../../control-plane/host_keys/store.ts";
import { selectJobs } from "../../control-plane/jobs/job_queries.ts";
import type { Scope } from "../../control-plane/permissions/scope.ts";
import { selectSites } from "../../control-plane/sites/store.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

Deno.test("a scope of one site shows what is of that site, of each noun, and nothing else", async () => {
  const [own, other] = [await furnish("own"), await furnish("other")];
  for (const siteIds of [[own], [other], [own, other], []]) {
    const seen = await lookAround({ all: false, siteIds });
    assert.deepEqual(seen, {
      sites: siteIds.length,
      devices: siteIds.length,
      hostKeys: siteIds.length,
      credentials: siteIds.length,
      jobs: siteIds.length,
      siteIds: [...siteIds].sort(),
    });
  }
  assert.equal((await lookAround({ all: true })).devices, 2);
});

/** A tenant with one site, device, pin, credential and job. */
async function furnish(name: string): Promise<SiteId> {
  const admin = await plane.administrator();
  const { id: tenantId } = await admin.call(createTenant, { body: { name } });
  const { id: siteId } = await admin.call(createSite, { body: { name, tenantId } });
  const credential = { name, username: "backup", password: "a secret", tenantId };
  const { id: credentialId } = await admin.call(createCredential, { body: credential });
  const device = { siteId, name, host: "192.0.2.1", platform: "frr", credentialId };
  const { id: deviceId } = await admin.call(createDevice, { body: device });
  const fingerprint = `SHA256:${"A".repeat(43)}`;
  const body = { deviceId, keyType: "ssh-ed25519", fingerprint };
  await admin.call(createHostKey, { body });
  await admin.call(createJobs, { body: { deviceIds: [deviceId] } });
  return siteId;
}

async function lookAround(scope: Scope) {
  const { db } = database;
  const limit = 100;
  const sites = await selectSites(db, { scope, limit });
  const devices = await selectDevices(db, { scope, limit });
  const hostKeys = await selectHostKeys(db, { scope, limit });
  const credentials = await selectCredentials(db, { scope, limit });
  const jobs = await selectJobs(db, { scope, limit });
  const audit = await selectAuditRows(db, { scope, limit });
  const named = [...devices, ...hostKeys, ...jobs, ...audit].map((row) => row.siteId);
  return {
    sites: sites.length,
    devices: devices.length,
    hostKeys: hostKeys.length,
    credentials: credentials.length,
    jobs: jobs.length,
    siteIds: [...new Set(named)].filter((siteId) => siteId !== null).sort(),
  };
}
