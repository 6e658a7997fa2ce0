import assert from "node:assert/strict";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import {
  createCredential,
  getCredential,
  listCredentialDeliveries,
  listCredentialDevices,
  listCredentialVersions,
  releaseCredential,
  releaseCredentialDevice,
  updateCredential,
} from "@rookery/shared/api/credentials.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { DEFAULTS } from "@rookery/shared/settings/mod.ts";
import { selectHolders } from "../../control-plane/credentials/delivery_queries.ts";
import { selectCredentials } from "../../control-plane/credentials/store.ts";
import { selectUses } from "../../control-plane/credentials/use_store.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  freshName,
  makeSite,
  type ManualBoot,
  readJob,
  signResult,
} from "../support/agent_bench.ts";
import { reportResult } from "@rookery/shared/api/agent_protocol.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const REFUSALS_TO_QUARANTINE = DEFAULTS["credentials.refusals_to_quarantine"];

const plane = testControlPlane(testDatabase({ poolSize: 6 }), {
  publicUrl: "https://rookery.test",
});

/** Claims one lease and reports how its login went. */
async function logIn(boot: ManualBoot, code: "auth_rejected" | "command_failed"): Promise<void> {
  const [lease] = await boot.claim({ wanted: 1 });
  assert.ok(lease, "nothing was granted");
  const failure = { code, detail: "as ordered" };
  const result = await signResult(boot, lease, { status: "failed", failure });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
}

async function makeScene(devices: number) {
  const admin = await plane.administrator();
  const body = { name: freshName("shared"), username: "backup", password: "p" };
  const { id: credentialId } = await admin.call(createCredential, { body });
  const siteId = await makeSite(plane);
  const deviceIds = await Promise.all(
    Array.from({ length: devices }, () => addDevice(plane, siteId, { credentialId })),
  );
  const params = { credentialId };
  return { admin, credentialId, siteId, deviceIds, params };
}

Deno.test("a quarantined credential says so, is released by an audited call, and starts anew with new secrets", async () => {
  const { admin, siteId, deviceIds, params } = await makeScene(REFUSALS_TO_QUARANTINE + 1);
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const jobs = await backUpNow(plane, deviceIds);
  const [lease] = await boot.claim();
  assert.ok(lease);
  const waiting = await Promise.all(jobs.map((jobId) => readJob(plane, jobId)));
  assert.deepEqual([...new Set(waiting.map(({ hold }) => hold))].sort(), ["credential_ramp", null]);
  const failure = { code: "auth_rejected", detail: "no" } as const;
  const result = await signResult(boot, lease, { status: "failed", failure });
  await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  const suspect = await admin.call(getCredential, { params });
  assert.deepEqual([suspect.state, suspect.mostSessions, suspect.refusing], ["suspect", 1, 1]);
  const early = admin.call(releaseCredential, { params });
  await assert.rejects(
    early,
    (error: unknown) => error instanceof ProblemError && error.type === "conflict",
  );
  for (let n = 1; n < REFUSALS_TO_QUARANTINE; n++) await logIn(boot, "auth_rejected");
  const out = await admin.call(getCredential, { params });
  assert.deepEqual([out.state, out.mostSessions], ["quarantined", 0]);
  const ended = await Promise.all(jobs.map((jobId) => readJob(plane, jobId)));
  const codes = ended.map(({ failureCode }) => failureCode).sort();
  assert.deepEqual(codes, [
    "auth_rejected",
    "auth_rejected",
    "auth_rejected",
    "credential_quarantined",
  ]);
  const { items: refusing } = await admin.call(listCredentialDevices, {
    params,
    query: { state: "refusing" },
  });
  assert.equal(refusing.length, REFUSALS_TO_QUARANTINE);
  const released = await admin.call(releaseCredential, { params });
  assert.deepEqual([released.state, released.mostSessions], ["suspect", 1]);
  await backUpNow(plane, deviceIds);
  await logIn(boot, "command_failed");
  const trusted = await admin.call(getCredential, { params });
  assert.deepEqual([trusted.state, trusted.mostSessions], ["trusted", 2]);
  await admin.call(updateCredential, { params, body: { password: "new" } });
  const { items: versions } = await admin.call(listCredentialVersions, { params, query: {} });
  assert.deepEqual(versions.map(({ version, state }) => [version, state]), [
    [2, "new"],
    [1, "trusted"],
  ]);
  const { items: audit } = await admin.call(listAuditRows, {
    query: { targetId: params.credentialId },
  });
  assert.deepEqual(audit.map(({ action }) => action), [
    "credential.update",
    "credential.release",
    "credential.quarantine",
    "credential.create",
  ]);
  const { items: held } = await admin.call(listCredentialDeliveries, { params, query: {} });
  assert.deepEqual(held.map(({ agentId, version }) => [agentId, version]), [
    [agent.identity.agentId, 1],
  ]);
});

Deno.test("releaseCredentialDevice() forgets the refusals of one device, and no count tells of another site's", async () => {
  const { admin, credentialId, siteId, deviceIds: [deviceId], params } = await makeScene(1);
  assert.ok(deviceId);
  const elsewhere = await makeSite(plane);
  await addDevice(plane, elsewhere, { credentialId });
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  await backUpNow(plane, [deviceId]);
  await logIn(boot, "auth_rejected");
  const { db } = plane.services;
  const scopeOf = (id: typeof siteId) => ({ all: false, siteIds: [id] }) as const;
  const counted = async (id: typeof siteId) => {
    const scope = scopeOf(id);
    const [row] = await selectCredentials(db, { scope, credentialId, limit: 1 });
    const uses = await selectUses(db, { scope, credentialId, limit: 9 });
    const holders = await selectHolders(db, { scope, credentialId, limit: 9 });
    return [row?.devices, row?.refusing, uses.length, holders.length];
  };
  assert.deepEqual(await counted(siteId), [1, 1, 1, 1]);
  assert.deepEqual(await counted(elsewhere), [1, 0, 1, 0]);
  await admin.call(releaseCredentialDevice, { params: { ...params, deviceId } });
  const { items } = await admin.call(listCredentialDevices, {
    params,
    query: { state: "refusing" },
  });
  assert.deepEqual(items, []);
});
