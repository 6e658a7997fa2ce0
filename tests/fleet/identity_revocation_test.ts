/** What a revocation ends, whatever is on its way, and what one agent can learn of another. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import {
  claimLeases,
  drainAgent,
  hasBlob,
  putBlob,
  releaseLeaseOfAgent,
  reportResult,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import { listAgentCredentials } from "@rookery/shared/api/agent_identity.ts";
import { revokeAgent } from "@rookery/shared/api/agents.ts";
import { updateCredential } from "@rookery/shared/api/credentials.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { AgentId, ClaimId, DeviceId, LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { markRevoked } from "../../control-plane/agents/store.ts";
import { returnAllLeases } from "../../control-plane/jobs/reap.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
  readJob,
  signResult,
} from "../support/agent_bench.ts";
import { frrConfiguration, outcomeOf } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";
import { inTheSameMoment } from "../support/same_moment.ts";

const database = testDatabase({ poolSize: 12 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const encoder = new TextEncoder();

/** One agent with a boot, and a job for each of its devices. */
async function setScene({ devices = 1, siteId }: { devices?: number; siteId?: never } = {}) {
  const site = siteId ?? await makeSite(plane, { maxLive: 50 });
  const deviceIds: DeviceId[] = [];
  for (let n = 0; n < devices; n++) deviceIds.push(await addDevice(plane, site));
  const agent = await enrolAgent(plane, [site]);
  const boot = await bootByHand(plane, agent);
  const jobIds = await backUpNow(plane, deviceIds);
  return { siteId: site, agent, agentId: agent.identity.agentId, boot, jobIds, deviceIds };
}

async function revoke(agentId: AgentId) {
  const admin = await plane.administrator();
  return await admin.call(revokeAgent, { params: { agentId } });
}

async function credentialsOf(agentId: AgentId, limit = 100) {
  const admin = await plane.administrator();
  const items = [];
  let cursor: string | undefined;
  do {
    const query = { limit, ...(cursor === undefined ? {} : { cursor }) };
    const page = await admin.call(listAgentCredentials, { params: { agentId }, query });
    items.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return items;
}

async function leasesOf(agentId: AgentId): Promise<number> {
  const { rows } = await sql`select 1 from leases where agent_id = ${agentId}`.execute(database.db);
  return rows.length;
}

async function upload(boot: ManualBoot, lease: LeaseClaims, text: string) {
  const body = encoder.encode(text);
  const params = { leaseId: lease.jti, sha256: await sha256(body) };
  await boot.call(putBlob, { params, body });
  return { status: "completed", outcome: { ...await outcomeOf(body), facts: {} } } as const;
}

Deno.test("a revocation names every credential version the agent ever held, for how many devices and when", async () => {
  const { agent, agentId, boot } = await setScene({ devices: 3 });
  await using _ = agent;
  assert.deepEqual(await credentialsOf(agentId), []);
  const leases = await boot.claim();
  assert.equal(leases.length, 3);
  const [first = assert.fail()] = await credentialsOf(agentId);
  const admin = await plane.administrator();
  const credentialId = first.credentialId;
  await admin.call(updateCredential, {
    params: { credentialId },
    body: { password: "another one" },
  });
  const one = await credentialsOf(agentId, 1);
  assert.deepEqual(one, await credentialsOf(agentId), "pages and the whole list differ");
  assert.equal(one.length, 3);
  const changed = one.find((held) => held.credentialId === credentialId) ?? assert.fail();
  assert.deepEqual([changed.version, changed.inUse, changed.devices], [1, false, 1]);
  assert.ok(one.filter((held) => held.inUse).length === 2);
  assert.ok(one.every(({ name, firstAt, lastAt }) => name !== null && firstAt <= lastAt));
  assert.equal((await revoke(agentId)).credentialsHeld, 3);
  assert.equal((await revoke(agentId)).credentialsHeld, 3, "it says so again");
});

Deno.test("whatever a claim is granted while its agent is revoked is in the ledger or not sent, and no lease stays", async (t) => {
  for (let round = 0; round < 6; round++) {
    await t.step(`round ${round}`, async () => {
      const { agent, agentId, boot } = await setScene({ devices: 4 });
      await using _ = agent;
      await boot.call(sendHeartbeat, { body: { bootId: boot.bootId, leaseIds: [] } });
      const pause = new Promise((resolve) => setTimeout(resolve, round * 8));
      const [claimed, revoked] = await Promise.all([
        boot.claim().catch((error: unknown) => {
          assert.ok(error instanceof ProblemError, String(error));
          return [];
        }),
        pause.then(() => revoke(agentId)),
      ]);
      const listed = await credentialsOf(agentId);
      assert.equal(revoked.credentialsHeld, listed.length, "one was delivered after the count");
      assert.ok(claimed.length <= listed.length, "one was sent that is not in the ledger");
      assert.equal(await leasesOf(agentId), 0);
    });
  }
});

Deno.test("a revocation beats heartbeat, blob, result, release and drain, and each says so", async () => {
  const { agent, agentId, boot, deviceIds: [deviceId = assert.fail()], jobIds } = await setScene();
  await using _ = agent;
  const [lease = assert.fail()] = await boot.claim();
  const report = await upload(boot, lease, frrConfiguration());
  const result = await signResult(boot, lease, report);
  await revoke(agentId);
  const { bootId } = boot;
  const params = { leaseId: lease.jti };
  const blob = { ...params, sha256: await sha256(encoder.encode("x")) };
  const calls = {
    heartbeat: () => boot.call(sendHeartbeat, { body: { bootId, leaseIds: [lease.jti] } }),
    head: () => boot.call(hasBlob, { params: blob }),
    blob: () => boot.call(putBlob, { params: blob, body: encoder.encode("x") }),
    result: () => boot.call(reportResult, { params, body: { result } }),
    release: () => boot.call(releaseLeaseOfAgent, { params }),
    drain: () => boot.call(drainAgent, { body: { bootId } }),
  };
  for (const [what, run] of Object.entries(calls)) {
    await assert.rejects(run(), refusedAs("agent-revoked"), what);
  }
  const [jobId = assert.fail()] = jobIds;
  assert.equal((await readJob(plane, jobId)).state, "available");
  const { rows } = await sql`select 1 from revisions where device_id = ${deviceId}`
    .execute(database.db);
  assert.deepEqual(rows, []);
});

Deno.test("a result that is on its way when its agent is revoked is not taken, not even as a late one", async () => {
  const { agent, agentId, boot, jobIds: [jobId = assert.fail()] } = await setScene();
  await using _ = agent;
  const [lease = assert.fail()] = await boot.claim();
  const result = await signResult(boot, lease, { status: "cancelled" });
  const reporting = inTheSameMoment(database, {
    first: async (tx) => {
      await markRevoked(tx, agentId);
      await returnAllLeases(tx, agentId);
    },
    second: () => boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } }),
  });
  await assert.rejects(reporting, refusedAs("agent-revoked"));
  assert.equal((await readJob(plane, jobId)).state, "available");
});

Deno.test("a claim that is repeated in the moment of a revocation is sent no credential, and the ledger has none", async () => {
  const { agent, agentId, boot } = await setScene();
  await using _ = agent;
  const claimId = crypto.randomUUID() as ClaimId;
  const body = { claimId, bootId: boot.bootId, wanted: 1, waitSeconds: 0 };
  const claim = () => boot.call(claimLeases, { body });
  assert.equal((await claim()).leases.length, 1);
  const delivered = () => database.sql`select 1 from secret_deliveries where agent_id = ${agentId}`;
  assert.equal((await delivered()).length, 1);
  const again = await inTheSameMoment(database, {
    first: async (tx) => {
      await markRevoked(tx, agentId);
      await returnAllLeases(tx, agentId);
    },
    second: () => claim().then(({ leases }) => leases.length, (error: unknown) => error),
  });
  assert.ok(again === 0 || refusedAs("agent-revoked")(again), String(again));
  assert.equal((await delivered()).length, 1, "it was sent once more");
});

Deno.test("a blob that is on its way when its agent is revoked is not taken", async () => {
  const { agent, agentId, boot } = await setScene();
  await using _ = agent;
  const [lease = assert.fail()] = await boot.claim();
  const bytes = encoder.encode(frrConfiguration());
  const halfway = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  boot.wire.carrier = (sent, pass) => {
    const chunks = [bytes.slice(0, 10), bytes.slice(10)];
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        if (chunks.length === 1) {
          halfway.resolve();
          await goOn.promise;
        }
        const chunk = chunks.shift();
        if (chunk) controller.enqueue(chunk);
        else controller.close();
      },
    });
    return pass(new Request(sent.url, { method: sent.method, headers: sent.headers, body }));
  };
  const params = { leaseId: lease.jti, sha256: await sha256(bytes) };
  const sent = assert.rejects(
    boot.call(putBlob, { params, body: bytes }),
    refusedAs("agent-revoked"),
  );
  await halfway.promise;
  await revoke(agentId);
  goOn.resolve();
  await sent;
  const { rows } = await sql`select 1 from uploads where lease_id = ${lease.jti}`
    .execute(database.db);
  assert.deepEqual(rows, []);
});

/** What an agent sees of a reply: status and body, without the id of the request. */
async function seen(boot: ManualBoot, request: () => Promise<unknown>) {
  let raw: Response | undefined;
  boot.wire.carrier = async (sent, pass) => {
    const response = await pass(sent);
    raw = response.clone();
    return response;
  };
  await request().catch(() => {});
  boot.wire.carrier = undefined;
  const response = raw ?? assert.fail("nothing was sent");
  const headers = Object.fromEntries(response.headers);
  for (const changing of ["x-request-id", "date", "dpop-nonce"]) delete headers[changing];
  const text = await response.text();
  return { status: response.status, headers, text: text.replace(/"instance":"[^"]+"/, "") };
}

Deno.test("agent B cannot learn whether a digest of agent A exists, under its own leases or A's", async () => {
  const a = await setScene();
  await using _a = a.agent;
  const b = await setScene({ siteId: a.siteId as never });
  await using _b = b.agent;
  const secret = frrConfiguration({ password: "only-on-the-device-of-a" });
  const all = [...await a.boot.claim({ wanted: 50 })];
  const ofA = all.find(({ device }) => device.id === a.deviceIds[0]) ?? assert.fail();
  for (const other of all.filter((lease) => lease !== ofA)) {
    await a.boot.call(releaseLeaseOfAgent, { params: { leaseId: other.jti } });
  }
  const result = await signResult(a.boot, ofA, await upload(a.boot, ofA, secret));
  await a.boot.call(reportResult, { params: { leaseId: ofA.jti }, body: { result } });
  const [ofB = assert.fail()] = await b.boot.claim({ wanted: 1 });
  assert.equal(ofB.device.id, b.deviceIds[0]);

  const there = await sha256(encoder.encode(secret));
  const nowhere = await sha256(encoder.encode("no device says this"));
  const noLease = crypto.randomUUID() as LeaseId;
  const head = (leaseId: LeaseId, digest: Sha256) =>
    seen(b.boot, () => b.boot.call(hasBlob, { params: { leaseId, sha256: digest } }));
  const put = (leaseId: LeaseId, digest: Sha256) => {
    const body = encoder.encode("a guess");
    return seen(b.boot, () => b.boot.call(putBlob, { params: { leaseId, sha256: digest }, body }));
  };
  for (const ask of [head, put]) {
    assert.deepEqual(await ask(ofB.jti, there), await ask(ofB.jti, nowhere));
    assert.deepEqual(await ask(ofA.jti, there), await ask(noLease, nowhere));
  }
  assert.equal((await head(ofB.jti, there)).status, 404);
  // Naming the digest in a result brings no more: it is as unknown as any other.
  const outcome = { ...await outcomeOf(encoder.encode(secret)), facts: {} };
  const named = await signResult(b.boot, ofB, { status: "completed", outcome });
  await b.boot.call(reportResult, { params: { leaseId: ofB.jti }, body: { result: named } });
  assert.equal((await readJob(plane, ofB.sub)).failureCode, "blob_missing");
});
