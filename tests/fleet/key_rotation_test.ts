import assert from "node:assert/strict";
import {
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  SignJWT,
} from "jose";
import type { DeviceId, JobId } from "@rookery/shared/ids.ts";
import { KEY_STATEMENT_TYPE } from "@rookery/shared/key_statement.ts";
import { type Clock, systemClock } from "../../agent/clock.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  type EnrolledAgent,
  makeJoinToken,
  makeSite,
  startAgent,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { keyBench } from "../support/key_bench.ts";
import { joinWith } from "../support/joining.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const keys = keyBench(database);
const plane = testControlPlane(database, {
  publicUrl: "https://rookery.test",
  makeKeyRing: keys.makeKeyRing,
});

/** Agents may ask for keys every 15 seconds: of theirs. The rest of their life is left as it is. */
const PACE = 20;
const fastClock: Clock = {
  now: () => performance.now() * PACE,
  sleep: (ms, options) => systemClock.sleep(ms / PACE, options),
};
const PATIENCE_MS = 60_000;

/** One device at one site, and an agent that is enrolled there. */
async function setScene() {
  const device = await startDevice(makeRecording("frr", 1));
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  const enrolled = await enrolAgent(plane, [siteId]);
  return {
    device,
    siteId,
    enrolled,
    deviceId,
    backUp: () => backUp(deviceId),
    /** Makes the agent open its session again, as it does every few minutes. */
    async forgetSession() {
      await database.sql`
        update agent_sessions set expires_at = clock_timestamp() - interval '1 second'
        where agent_id = ${enrolled.identity.agentId}`;
    },
    async [Symbol.asyncDispose]() {
      await enrolled[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

async function backUp(deviceId: DeviceId): Promise<void> {
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  const states = ["completed", "failed", "dead"];
  await until(async () => states.includes(await stateOf(jobId)), "the job ends", PATIENCE_MS);
  assert.equal(await stateOf(jobId), "completed");
}

async function stateOf(jobId: JobId): Promise<string> {
  const [row] = await database.sql<{ outcome: string }[]>`
    select outcome from done where job_id = ${jobId}`;
  return row?.outcome ?? "open";
}

/** What an agent has on disk. */
async function trustOf({ state }: EnrolledAgent) {
  const trust = await state.readTrust();
  return {
    signing: trust?.signingKeys.map((key) => key.kid) ?? [],
    sealing: trust?.sealingKey.kid,
  };
}

async function untilTrusted(enrolled: EnrolledAgent, kids: readonly string[]): Promise<void> {
  const isSo = async () =>
    JSON.stringify((await trustOf(enrolled)).signing) === JSON.stringify(kids);
  await until(isSo, `the agent trusts ${kids}`, PATIENCE_MS);
}

/** All steps of a rotation, each at its time; `day` is where it begins. Returns the day it ended. */
async function rotateSigning(day: number): Promise<number> {
  const before = keys.keyRing.signing.kid;
  await keys.rotate("signing", { days: day });
  await keys.rotate("signing --activate", { days: day + 8 });
  await keys.rotate(`signing --retire ${before}`, { days: day + 16 });
  await keys.look();
  return day + 16;
}

/** The file as it was made, so that tests do not depend on each other's days. */
let day = 0;

Deno.test("an agent goes on backing up over the whole life of a signing key", async () => {
  await using scene = await setScene();
  await using running = await startAgent(plane, scene.enrolled, { clock: fastClock });
  await scene.backUp();
  const old = keys.keyRing.signing.kid;

  await keys.rotate("signing", { days: day });
  await keys.look();
  const fresh = (await keys.signingKids()).at(-1) ?? "";
  assert.equal(keys.keyRing.signing.kid, old, "it signs too early");
  await scene.forgetSession();
  await untilTrusted(scene.enrolled, [old, fresh]);
  await scene.backUp();

  await keys.rotate("signing --activate", { days: day += 8 });
  await keys.look();
  assert.equal(keys.keyRing.signing.kid, fresh);
  await scene.backUp();

  await keys.rotate(`signing --retire ${old}`, { days: day += 8 });
  await keys.look();
  await scene.forgetSession();
  await untilTrusted(scene.enrolled, [fresh]);
  await scene.backUp();

  const [lost] = await database.sql<{ n: number }[]>`
    select count(*)::int as n from attempts
    where agent_id = ${scene.enrolled.identity.agentId} and outcome <> 'completed'`;
  assert.equal(lost?.n, 0, "a backup was lost on the way");
  assert.ok(!running.logged("key_not_vouched_for"));
  assert.ok(!running.logged("lease_dropped"));
});

Deno.test("an agent that was offline across two rotations finds its way, and seals to the new key", async () => {
  await using scene = await setScene();
  const enrolledWith = scene.enrolled.identity.signingKeys.map((key) => key.kid);
  day = await rotateSigning(day);
  await keys.rotate("sealing", { days: day });
  day = await rotateSigning(day);
  assert.ok(!enrolledWith.includes(keys.keyRing.signing.kid));
  assert.deepEqual(
    keys.keyRing.signingPublicJwks.map((key) => key.kid),
    [keys.keyRing.signing.kid],
    "retired keys are still offered",
  );
  await using running = await startAgent(plane, scene.enrolled, { clock: fastClock });
  await scene.backUp();
  assert.deepEqual(await trustOf(scene.enrolled), {
    signing: [keys.keyRing.signing.kid],
    sealing: keys.keyRing.sealing.kid,
  });
  assert.notEqual(keys.keyRing.sealing.kid, scene.enrolled.identity.sealingKey.kid);
  assert.ok(!running.logged("key_not_vouched_for"));
});

Deno.test("an agent that meets an unknown key asks for it and runs that very lease", async () => {
  await using scene = await setScene();
  await using running = await startAgent(plane, scene.enrolled, { clock: fastClock });
  await scene.backUp();
  await assert.rejects(
    async () => {
      await keys.rotate("signing", { days: day });
      await keys.rotate("signing --activate", { days: day });
    },
    /Refused: agents have until .* --break-unaware-agents/,
  );
  await keys.rotate("signing --activate --break-unaware-agents", { days: day });
  await keys.look();
  await scene.backUp();
  const { signing } = await trustOf(scene.enrolled);
  assert.equal(signing.at(-1), keys.keyRing.signing.kid);
  assert.ok(!running.logged("lease_dropped"));
});

Deno.test("a token that names the key before joins, and one that names the new key knows no alarm", async () => {
  await using scene = await setScene();
  const { joinToken: older } = await makeJoinToken(plane, [scene.siteId]);
  await keys.rotate("signing", { days: day });
  await keys.rotate("signing --activate", { days: day += 8 });
  await keys.look();
  for (const joinToken of [older, (await makeJoinToken(plane, [scene.siteId])).joinToken]) {
    await using other = await setScene();
    await Deno.remove(`${other.enrolled.state.path}/identity.json`);
    const identity = await joinWith(plane, joinToken, { state: other.enrolled.state });
    await using running = await startAgent(plane, { ...other.enrolled, identity }, {
      clock: fastClock,
    });
    const isSo = async () =>
      (await trustOf(other.enrolled)).signing.includes(keys.keyRing.signing.kid);
    await until(isSo, "the agent trusts the key in use", PATIENCE_MS);
    assert.ok(!running.logged("key_not_vouched_for"));
  }
});

Deno.test("a man in the middle who offers a key of his own gains nothing but an alarm", async () => {
  await using scene = await setScene();
  const { privateKey, publicKey } = await generateKeyPair("Ed25519");
  const { x = "" } = await exportJWK(publicKey);
  const jwk = { kty: "OKP", crv: "Ed25519", x } as const;
  const kid = await calculateJwkThumbprint(jwk);
  const vouch = (said: Record<string, unknown>, by: string) =>
    new SignJWT(said).setProtectedHeader({ alg: "Ed25519", typ: KEY_STATEMENT_TYPE, kid: by })
      .sign(privateKey);
  const mine = keys.keyRing.signing.kid;
  const { issuer: iss } = plane.services;
  const said = { iss, use: "sig", status: "trusted", sequence: 99, jwk };
  const wire = new Wire(plane);
  let forged = 0;
  wire.carrier = async (request, pass) => {
    const response = await pass(request);
    const { pathname } = new URL(request.url);
    if (pathname === "/agent/v1/jwks") {
      const reply = await response.json();
      const statements = [...reply.statements, await vouch(said, kid), await vouch(said, mine)];
      return Response.json({ keys: [{ ...jwk, kid }], statements, generation: 99 });
    }
    if (pathname !== "/agent/v1/claim" || forged > 0 || response.status !== 200) return response;
    const { leases } = await response.json();
    for (const granted of leases) {
      granted.lease = await new SignJWT(decodeJwt(granted.lease))
        .setProtectedHeader({ ...decodeProtectedHeader(granted.lease), alg: "Ed25519", kid })
        .sign(privateKey);
      forged++;
    }
    return Response.json({ leases }, { headers: response.headers });
  };
  await using running = await startAgent(plane, scene.enrolled, { clock: fastClock, wire });
  await backUpNow(plane, [scene.deviceId]);
  await until(() => running.logged("lease_dropped"), "the forged lease is refused", PATIENCE_MS);
  assert.equal(forged, 1);
  assert.deepEqual(scene.device.log.commands, [], "the device was touched");
  await using other = await startDevice(makeRecording("frr", 2));
  await backUp(await addFarmDevice(plane, scene.siteId, other));
  assert.deepEqual((await trustOf(scene.enrolled)).signing, [mine]);
  const alarms = running.log.filter((line) => line.event === "key_not_vouched_for");
  assert.deepEqual(alarms.map((line) => line.kid), [kid]);
});
