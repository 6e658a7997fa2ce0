/** Drivers that the control plane has and an agent has not: fetched when they may be, refused when anything is wrong with them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { decodeProtectedHeader, generateKeyPair, SignJWT } from "jose";
import { fetchDriver } from "@rookery/shared/api/agent_protocol.ts";
import { driver, type DriverSource } from "@rookery/shared/drivers/driver.ts";
import { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { frr } from "@rookery/shared/drivers/frr.ts";
import { driverSha256, SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { DRIVER_TYPE } from "@rookery/shared/drivers/signed_driver.ts";
import { Sha256 } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { AgentSettings } from "../../agent/settings.ts";
import {
  addFarmDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  makeSite,
  readJob,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { Wire } from "../support/wire.ts";

/** The driver that ships, with one fact more. */
const newFrr = driver({
  ...frr,
  label: "FRRouting, next",
  facts: [...frr.facts, {
    command: "show hostname",
    fields: [{ name: "hostname", pattern: /^(\S+)$/ }],
  }],
});
const newSha256 = await driverSha256(newFrr);

const database = testDatabase({ poolSize: 6 });
const plane = testControlPlane(database, {
  publicUrl: "https://rookery.test",
  drivers: new DriverSet([newFrr]),
});

const ALLOWED = AgentSettings.parse({
  policy: { networks: ["127.0.0.0/8"], fetchedDrivers: true },
});

async function setScene(seed: number) {
  const siteId = await makeSite(plane);
  const device = await startDevice(makeRecording("frr", seed));
  const deviceId = await addFarmDevice(plane, siteId, device);
  const enrolled = await enrolAgent(plane, [siteId]);
  return {
    siteId,
    device,
    deviceId,
    enrolled,
    async [Symbol.asyncDispose]() {
      await enrolled[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

function cachePath({ state }: EnrolledAgent): string {
  return join(state.path, "drivers", `${newSha256}.jws`);
}

function fetches(wire: Wire): number {
  return wire.sent.filter((sent) => sent.includes("/agent/v1/drivers/")).length;
}

Deno.test("fetchDriver sends signed data, and a 404 for a digest that it does not know", async () => {
  await using scene = await setScene(1);
  const boot = await bootByHand(plane, scene.enrolled);
  const session = await boot.controlPlane.session({ signal: new AbortController().signal });
  assert.deepEqual(session.drivers, [{ platform: "frr", sha256: newSha256 }]);
  const reply = await boot.call(fetchDriver, { params: { sha256: newSha256 } });
  const { kid, typ } = decodeProtectedHeader(reply.driver);
  assert.deepEqual([kid, typ], [plane.services.keyRing.signing.kid, DRIVER_TYPE]);
  const unknown = Sha256.parse("0".repeat(64));
  await assert.rejects(
    boot.call(fetchDriver, { params: { sha256: unknown } }),
    (error) => error instanceof ProblemError && error.type === "not-found",
  );
});

Deno.test("an agent fetches a driver that it lacks, uses it, and has it after a restart", async () => {
  await using scene = await setScene(2);
  const { enrolled, deviceId } = scene;
  const runOnce = async (expectedFetches: number) => {
    await using running = await startAgent(plane, enrolled, { settings: ALLOWED });
    const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
    const job = await untilJob(plane, jobId, "completed", "failed", "dead");
    assert.equal(job.state, "completed", JSON.stringify([job, running.log]));
    assert.equal(fetches(running.wire), expectedFetches);
    return running.log;
  };
  await runOnce(1);
  assert.ok(scene.device.log.commands.includes("show hostname"), "the new driver was not used");
  const { mode } = await Deno.stat(cachePath(enrolled));
  assert.equal((mode ?? 0) & 0o777, 0o600);
  await runOnce(0);
  // A power cut tore the file: it is dropped, and fetched once more.
  await Deno.truncate(cachePath(enrolled), 500);
  const log = await runOnce(1);
  assert.ok(log.some(({ event }) => event === "driver_dropped"));
});

Deno.test("an agent whose owner did not allow it fetches nothing, and its jobs say what they wait for", async () => {
  await using scene = await setScene(3);
  await using running = await startAgent(plane, scene.enrolled);
  await until(() => running.logged("driver_refused"), "the driver is refused");
  const refused = running.log.find(({ event }) => event === "driver_refused");
  assert.match(String(refused?.reason), /policy\.fetchedDrivers/);
  const [jobId = assert.fail()] = await backUpNow(plane, [scene.deviceId]);
  const { state, hold } = await readJob(plane, jobId);
  assert.deepEqual([state, hold, fetches(running.wire)], ["available", "driver_missing", 0]);
});

async function signed(
  changes: {
    source?: Partial<DriverSource>;
    claims?: Record<string, unknown>;
    typ?: string;
    key?: CryptoKey;
  } = {},
): Promise<string> {
  const { signing } = plane.services.keyRing;
  const data = driver({ ...newFrr, ...changes.source });
  const claims = {
    iss: plane.services.issuer,
    platform: "frr",
    sha256: newSha256,
    driver: data,
    ...changes.claims,
  };
  return await new SignJWT(claims)
    .setProtectedHeader({ alg: "Ed25519", typ: changes.typ ?? DRIVER_TYPE, kid: signing.kid })
    .sign(changes.key ?? signing.privateKey);
}

/** A control plane that was broken into: it names and signs whatever driver it likes. */
async function evilDriver(source: Partial<DriverSource>) {
  const sha256 = await driverSha256(driver({ ...newFrr, ...source }));
  return { sha256, token: await signed({ source, claims: { sha256 } }) };
}

function capturing(command: string): Partial<DriverSource> {
  return { captures: newFrr.captures.map((one) => ({ ...one, commands: [command] })) };
}

Deno.test("an agent refuses a driver with anything wrong, says why, and no device hears of it", async (t) => {
  await using scene = await setScene(4);
  // It waits, and whichever agent has the driver is granted it.
  await backUpNow(plane, [scene.deviceId]);
  const { privateKey } = await generateKeyPair("Ed25519");
  const good = await signed();
  const [header, payload, signature] = good.split(".");
  const text = new TextDecoder().decode(
    Uint8Array.fromBase64(payload ?? "", { alphabet: "base64url" }),
  );
  const altered = new TextEncoder().encode(text.replace("next", "last"))
    .toBase64({ alphabet: "base64url", omitPadding: true });
  const plain = { sha256: newSha256 };
  const cases: Record<string, readonly [{ sha256: Sha256; token: string }, RegExp]> = {
    "altered data": [{ ...plain, token: `${header}.${altered}.${signature}` }, /signature/],
    "other data": [{ ...plain, token: await signed({ source: { label: "Other" } }) }, /digest/],
    "wrong signer": [{ ...plain, token: await signed({ key: privateKey }) }, /signature/],
    "wrong type": [{ ...plain, token: await signed({ typ: "rookery-lease+jwt" }) }, /type/],
    "another issuer": [{ ...plain, token: await signed({ claims: { iss: "x" } }) }, /installation/],
    "beyond the vocabulary": [
      { ...plain, token: await signed({ claims: { driver: { ...newFrr, run: "reload" } } }) },
      /vocabulary/,
    ],
    "another driver of ours": [
      { ...plain, token: await signed({ claims: { driver: SHIPPED_DRIVERS.find("linux") } }) },
      /digest/,
    ],
    "no JWS": [{ ...plain, token: "nonsense" }, /no JWS/],
    "a command": [await evilDriver(capturing("configure terminal")), /configure terminal/],
    "a semicolon": [await evilDriver(capturing("show running-config; reload")), /; reload/],
  };
  for (const [name, [{ sha256, token }, reason]] of Object.entries(cases)) {
    await t.step(name, async () => {
      const wire = answering({ sha256, token });
      await using running = await startAgent(plane, scene.enrolled, { settings: ALLOWED, wire });
      await until(() => running.logged("driver_refused"), "the driver is refused");
      const refused = running.log.find(({ event }) => event === "driver_refused");
      assert.match(String(refused?.reason), reason);
      const kept = await Array.fromAsync(Deno.readDir(join(scene.enrolled.state.path, "drivers")));
      assert.deepEqual([kept, scene.device.log.connections], [[], 0]);
    });
  }
});

/** Names that digest in sessions, and answers with that token when it is asked for. */
function answering({ sha256, token }: { sha256: Sha256; token: string }): Wire {
  const wire = new Wire(plane);
  wire.carrier = async (request, pass) => {
    const { pathname } = new URL(request.url);
    if (pathname.includes("/agent/v1/drivers/")) {
      await request.body?.cancel();
      return Response.json({ driver: token });
    }
    const response = await pass(request);
    if (!pathname.endsWith("/session") || !response.ok) return response;
    const reply = { ...await response.json(), drivers: [{ platform: "frr", sha256 }] };
    const { status, headers } = response;
    const kept = new Headers(headers);
    kept.delete("content-length");
    return new Response(JSON.stringify(reply), { status, headers: kept });
  };
  return wire;
}
