/** The protocol is what the README says: an agent that was written from it does the whole work, and is refused alike. */
import assert from "node:assert/strict";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import { driverDigests } from "@rookery/shared/drivers/mod.ts";
import type { JobId } from "@rookery/shared/ids.ts";
import { createProofNonces } from "../../control-plane/agents/proof_nonces.ts";
import {
  addDevice,
  backUpNow,
  makeJoinToken,
  makeSite,
  passwordCredential,
  readJob,
} from "../support/agent_bench.ts";
import { frrConfiguration, outcomeOf } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { RefusedError, SecondClient, type Wrongs } from "./second_client.ts";
import { b64u, type Json, sign } from "./second_envelopes.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

/** The real app behind a real socket, as behind a proxy: it is reached by another name than the public one. */
function listen() {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    return plane.app.fetch(request, { remoteAddress: "192.0.2.30" });
  });
  const connectTo = `http://127.0.0.1:${server.addr.port}`;
  return {
    reach: { publicUrl: plane.publicUrl, connectTo },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** A site with devices, their jobs, and a client with an open session. */
async function setScene({ devices = 1 } = {}) {
  const server = listen();
  const siteId = await makeSite(plane);
  // One each: a credential that never succeeded is used by one lease at a time.
  const addOne = async () => {
    const credentialId = await passwordCredential(plane, "netops", "correct horse");
    return await addDevice(plane, siteId, { credentialId });
  };
  const deviceIds = await Promise.all(Array.from({ length: devices }, addOne));
  const newClient = async () => {
    const client = await SecondClient.create(server.reach, await driverDigests());
    await client.enroll((await makeJoinToken(plane, [siteId])).joinToken);
    await client.openSession();
    return client;
  };
  return {
    client: await newClient(),
    newClient,
    deviceIds,
    jobIds: await backUpNow(plane, deviceIds),
    reach: server.reach,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function refused(type: string) {
  return (error: unknown) =>
    error instanceof RefusedError && error.reply.body.type === `/problems/${type}`;
}

async function stateOf(jobId: JobId | undefined): Promise<string> {
  assert.ok(jobId);
  return (await readJob(plane, jobId)).state;
}

Deno.test("SecondClient enrols, claims, opens, reports and leaves by what the README says", async () => {
  await using scene = await setScene({ devices: 2 });
  const { client, jobIds } = scene;
  const claimId = crypto.randomUUID();
  const [lease, other] = await client.claim(claimId);
  assert.ok(lease && other);
  assert.equal(lease.credential.username, "netops");
  assert.equal(lease.credential.password, "correct horse");
  // The reply was lost, as far as anybody knows: the same claim is asked again.
  const again = await client.claim(claimId);
  assert.deepEqual(
    again.map(({ claims }) => claims.jti).sort(),
    [
      lease.claims.jti,
      other.claims.jti,
    ].sort(),
  );
  const beat = await client.heartbeat([lease]);
  assert.deepEqual([beat.cancel, beat.unknown], [[], []]);
  const bytes = new TextEncoder().encode(frrConfiguration());
  assert.equal(await client.upload(lease, bytes), true);
  assert.equal(await client.upload(lease, bytes), false, "the digest first");
  const outcome = await outcomeOf(bytes);
  const result = await client.signReport(lease, { status: "completed", outcome });
  assert.deepEqual(await client.deliver(lease, result), { answer: "accepted", duplicate: false });
  assert.deepEqual(await client.deliver(lease, result), { answer: "accepted", duplicate: true });
  await client.release(other);
  await assert.rejects(client.release(other), refused("lease-unknown"));
  await client.drain();
  assert.deepEqual(await client.claim(), []);
  assert.deepEqual((await Promise.all(jobIds.map(stateOf))).sort(), ["available", "completed"]);
  const admin = await plane.administrator();
  const { items } = await admin.call(listRevisions, {
    params: { deviceId: lease.claims.device.id as never },
    query: {},
  });
  assert.equal(items.length, 1);
});

Deno.test("SecondClient changes its keys, is leased under the new ones, and reports what it had sealed", async () => {
  await using scene = await setScene();
  const { client, jobIds } = scene;
  const old = client.signing;
  await client.rotateKeys();
  await client.openSession();
  const body = { bootId: client.bootId, leaseIds: [] };
  const byOld = await client.once("POST heartbeat", { body, wrong: { keys: old } });
  assert.equal(byOld.status, 401, "the token belongs to the new key");
  const [lease] = await client.claim();
  assert.ok(lease, "its credential opened by the new sealing key");
  await client.heartbeat([lease]);
  const failure = { code: "auth_rejected", detail: "The device refused the password." };
  const result = await client.signReport(lease, { status: "failed", failure });
  const answer = { answer: "accepted", duplicate: false };
  assert.deepEqual(await client.deliverSealed(lease, result), answer);
  assert.deepEqual(await client.deliver(lease, result), { ...answer, duplicate: true });
  assert.deepEqual(await Promise.all(jobIds.map(stateOf)), ["failed"]);
});

Deno.test("SecondClient is asked for a nonce first, and again for one that is too old", async () => {
  await using scene = await setScene();
  const { client } = scene;
  const beat = { body: { bootId: client.bootId, leaseIds: [] } };
  const { keyRing } = plane.services;
  const minutesAgo = async (minutes: number) => {
    const nonces = await createProofNonces(keyRing, () => Date.now() - minutes * 60_000);
    return await nonces.current();
  };
  for (const nonce of [null, "made-up", await minutesAgo(11)]) {
    const reply = await client.once("POST heartbeat", { ...beat, wrong: { nonce } });
    assert.equal(reply.status, 401);
    assert.match(reply.headers.get("www-authenticate") ?? "", /error="use_dpop_nonce"/);
    assert.equal((await client.once("POST heartbeat", beat)).status, 200);
  }
  const earlier = { nonce: await minutesAgo(4) };
  assert.equal((await client.once("POST heartbeat", { ...beat, wrong: earlier })).status, 200);
});

Deno.test("SecondClient gets nowhere with a proof for another request, token or key", async () => {
  await using scene = await setScene();
  const { client, newClient, reach } = scene;
  const foreign = await newClient();
  const right = `${reach.publicUrl}/agent/v1/heartbeat`;
  const wrongs: Record<string, Wrongs> = {
    "another method": { htm: "PUT" },
    "another path": { htu: right.replace("heartbeat", "drain") },
    "the address that was connected to": { htu: `${reach.connectTo}/agent/v1/heartbeat` },
    "a query": { htu: `${right}?a=1` },
    "no token": { provenToken: null },
    "another agent's token": { provenToken: foreign.token },
    "another agent's key": { keys: foreign.signing },
    "an ES256 key": { keys: await makeEcKeys() },
    "no JWS": { proof: "x.y.z" },
    "a JWS of another type": {
      proof: await sign("jwt", { htm: "POST" }, client.signing.privateKey),
    },
  };
  const beat = { body: { bootId: client.bootId, leaseIds: [] } };
  assert.equal((await client.once("POST heartbeat", beat)).status, 200);
  for (const [what, wrong] of Object.entries(wrongs)) {
    const reply = await client.once("POST heartbeat", { ...beat, wrong });
    assert.deepEqual([reply.status, reply.body.type], [401, "/problems/invalid-proof"], what);
    assert.doesNotMatch(reply.headers.get("www-authenticate") ?? "", /use_dpop_nonce/, what);
  }
  const bare = await client.once("POST heartbeat", { ...beat, token: null });
  assert.equal(bare.body.type, "/problems/session-required");
  const forged = await client.once("POST heartbeat", { ...beat, token: await resign(client) });
  assert.equal(forged.body.type, "/problems/session-required");
});

function makeEcKeys() {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  return crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

/** The client's access token with its own signature in place of the control plane's. */
async function resign({ token, signing }: SecondClient): Promise<string> {
  const payload = JSON.parse(new TextDecoder().decode(
    Uint8Array.fromBase64(token?.split(".")[1] ?? "", { alphabet: "base64url" }),
  ));
  return await sign("rookery-access+jwt", payload, signing.privateKey);
}

Deno.test("SecondClient cannot open a session with a proof that was used", async () => {
  await using scene = await setScene();
  const { client } = scene;
  const boot = { bootId: crypto.randomUUID(), sequence: 2, capacity: 1, drivers: {} };
  const body = { ...boot, agentVersion: "second", protocolVersion: 1 };
  const first = await client.once("POST session", { body, token: null });
  assert.equal(first.status, 200);
  const wrong = { proof: first.proof };
  const replayed = await client.once("POST session", { body, token: null, wrong });
  assert.deepEqual([replayed.status, replayed.body.type], [401, "/problems/invalid-proof"]);
});

Deno.test("SecondClient learns nothing of another agent's leases, and cannot speak for it", async () => {
  await using scene = await setScene();
  const { client, newClient, jobIds } = scene;
  const foreign = await newClient();
  const [lease] = await client.claim();
  assert.ok(lease);
  const report = { status: "failed", failure: { code: "unreachable", detail: "says who" } };
  const forged = await client.signReport(lease, report, foreign.signing.privateKey);
  await assert.rejects(foreign.deliver(lease, forged), refused("lease-unknown"));
  await assert.rejects(client.deliver(lease, forged), refused("validation"));
  await assert.rejects(foreign.release(lease), refused("lease-unknown"));
  const path = `leases/${lease.claims.jti}/blobs/${"0".repeat(64)}`;
  const head = await foreign.once(`HEAD ${path}`);
  assert.equal(head.headers.get("x-rookery-problem"), "lease-unknown");
  assert.deepEqual((await foreign.heartbeat([lease])).unknown, [lease.claims.jti]);
  assert.deepEqual(await Promise.all(jobIds.map(stateOf)), ["leased"]);
});

Deno.test("SecondClient is told which field of a request or a result is wrong", async () => {
  await using scene = await setScene();
  const { client } = scene;
  const [lease] = await client.claim();
  assert.ok(lease);
  await assert.rejects(
    client.call("POST heartbeat", { body: { bootId: "me", leaseIds: [], more: 1 } }),
    (error: unknown) => {
      assert.ok(refused("validation")(error) && error instanceof RefusedError);
      const pointers = (error.reply.body.errors as Json[]).map(({ pointer }) => pointer);
      return pointers.includes("#/bootId");
    },
  );
  const report = { status: "cancelled" };
  const other = { ...lease, claims: { ...lease.claims, epoch: 7 } };
  const result = await client.signReport(other, report);
  await assert.rejects(client.deliver(lease, result), /its epoch is not that of the lease/);
  const tampered = (await client.signReport(lease, report)).split(".");
  tampered[1] = b64u(new TextEncoder().encode("{}"));
  await assert.rejects(client.deliver(lease, tampered.join(".")), refused("validation"));
});
