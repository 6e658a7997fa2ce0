/** An agent whose disk is full: nothing is lost, no more is taken on; and what its disk tells whoever copies it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from "jose";
import { SEALED_REPORT_TYPE } from "@rookery/shared/jobs/sealed_report.ts";
import { diskFiles } from "../../agent/spool_files.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
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
import { fastClock } from "../support/fast_clock.ts";
import { findSecret, readFolder } from "../support/haystacks.ts";
import { skipUnless } from "../support/skip.ts";
import { filesWith, spooledEntries, spoolFolder } from "../support/spool.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

async function setScene() {
  const recording = makeRecording("frr", 1);
  const device = await startDevice(recording);
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  const enrolled = await enrolAgent(plane, [siteId]);
  return {
    device,
    deviceId,
    enrolled,
    async [Symbol.asyncDispose]() {
      await enrolled[Symbol.asyncDispose]();
      await device[Symbol.asyncDispose]();
    },
  };
}

/** A wire on which no result comes through while `isCut()`. */
function wireWithoutResults(isCut: () => boolean): Wire {
  const wire = new Wire(plane);
  wire.carrier = (request, pass) =>
    isCut() && /\/(result|blobs\/.*)$/.test(request.url)
      ? Promise.reject(new TypeError("the connection broke"))
      : pass(request);
  return wire;
}

Deno.test("an agent whose disk is full keeps its result in memory until it is told, and claims nothing until it can write", async () => {
  await using scene = await setScene();
  const { enrolled, deviceId } = scene;
  let isFull = true;
  let isCut = true;
  const spoolFiles = filesWith({
    write: (path, pieces) =>
      isFull
        ? Promise.reject(new Error("No space left on device (os error 28)"))
        : diskFiles.write(path, pieces),
  });
  const wire = wireWithoutResults(() => isCut);
  await using running = await startAgent(plane, enrolled, { wire, spoolFiles, clock: fastClock });
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await until(() => running.logged("spool_full"), "the spool is full");
  const full = running.log.find(({ event }) => event === "spool_full");
  assert.match(String(full?.reason), /No space left/);
  await until(
    () => running.log.filter(({ event }) => event === "result_delayed").length > 4,
    "it has tried more often than a result that is on disk would be",
  );
  assert.equal((await spooledEntries(enrolled)).length, 0);
  isCut = false;
  await untilJob(plane, jobId, "completed");
  const [next = assert.fail()] = await backUpNow(plane, [deviceId]);
  const beats = () => wire.sent.filter((line) => line.endsWith("/heartbeat")).length;
  const claims = () => wire.sent.filter((line) => line.endsWith("/claim")).length;
  const [beatsBefore, claimsBefore] = [beats(), claims()];
  await until(() => beats() > beatsBefore + 2, "it lives");
  assert.equal(claims(), claimsBefore);
  assert.equal((await readJob(plane, next)).state, "available");
  isFull = false;
  await untilJob(plane, next, "completed");
  assert.ok(running.logged("spool_has_room"));
});

const isRoot = Deno.uid() === 0;
const onTmpfs = skipUnless(isRoot && await canMount(), "only root can mount a small disk");

async function canMount(): Promise<boolean> {
  if (!isRoot) return false;
  const folder = await Deno.makeTempDir({ prefix: "rookery-tmpfs-" });
  const mounted = await mount(folder).catch(() => false);
  if (mounted) await unmount(folder);
  await Deno.remove(folder);
  return mounted;
}

async function mount(folder: string): Promise<boolean> {
  const args = ["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", folder];
  return (await new Deno.Command("mount", { args, stderr: "null" }).output()).success;
}

async function unmount(folder: string): Promise<void> {
  await new Deno.Command("umount", { args: ["-l", folder] }).output();
}

onTmpfs(
  "an agent on a disk that is really full claims again when somebody makes room",
  async () => {
    await using scene = await setScene();
    const { enrolled, deviceId } = scene;
    const folder = spoolFolder(enrolled);
    await Deno.mkdir(folder, { mode: 0o700 });
    assert.ok(await mount(folder));
    try {
      const ballast = join(folder, "of-others");
      const fill = new Uint8Array(4_096);
      using file = await Deno.open(ballast, { write: true, create: true });
      await assert.rejects(async () => {
        while (true) await file.write(fill);
      }, /No space left/);
      const wire = new Wire(plane);
      await using running = await startAgent(plane, enrolled, { wire, clock: fastClock });
      await until(() => running.logged("spool_full"), "the disk is full");
      const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
      await until(
        () => wire.sent.filter((line) => line.endsWith("/heartbeat")).length > 2,
        "it lives",
      );
      assert.equal((await readJob(plane, jobId)).state, "available");
      await Deno.remove(ballast);
      await file.truncate(0);
      await untilJob(plane, jobId, "completed");
    } finally {
      await unmount(folder);
    }
  },
);

/** Every private key (JWK) in a JSON value. */
function keysIn(value: unknown): JWK[] {
  if (typeof value !== "object" || value === null) return [];
  const own = "kty" in value && "d" in value ? [value as JWK] : [];
  return [...own, ...Object.values(value).flatMap(keysIn)];
}

/** Whether one of the keys opens it. */
async function opens(jwe: string, keys: readonly CryptoKey[]): Promise<boolean> {
  for (const key of keys) {
    if (await compactDecrypt(jwe, key).then(() => true, () => false)) return true;
  }
  return false;
}

Deno.test("the state folder copied off the machine opens no configuration and no credential", async () => {
  await using scene = await setScene();
  const { enrolled, device, deviceId } = scene;
  const wire = wireWithoutResults(() => true);
  {
    await using running = await startAgent(plane, enrolled, { wire, clock: fastClock });
    await backUpNow(plane, [deviceId]);
    await until(() => running.logged("result_spooled"), "the result waits");
  }
  const files = await readFolder(enrolled.state.path);
  const spooled = files.filter(({ name }) => name.endsWith(".entry"));
  assert.equal(spooled.length, 1);

  // Nothing of it is readable, in whatever form.
  const { username, password } = device.login;
  const telling = [password ?? "", username, "show running-config", "frr defaults", "hostname "];
  for (const word of telling) assert.deepEqual(findSecret(files, word), [], word);
  for (const { name, text } of files) {
    assert.ok(!text.includes("\u0028\ufffd/\ufffd"), `${name} holds zstd in the clear`);
  }

  // No key in it opens what is sealed in it, and all that is sealed is a report: no credential was ever written.
  const keys = files.filter(({ name }) => name.endsWith(".json"))
    .flatMap(({ text }) => keysIn(JSON.parse(text)));
  assert.ok(keys.length >= 2, "the agent's own keys are in it");
  const mine = await Promise.all(
    keys.filter(({ crv }) => crv === "X25519").map((key) => importJWK(key, "ECDH-ES")),
  ) as CryptoKey[];
  assert.ok(mine.length >= 1);
  const sealed = files.flatMap(({ text }) =>
    text.match(/eyJ[\w-]+\.[\w-]*\.[\w-]{16}\.[\w-]+\.[\w-]{22}/g) ?? []
  );
  assert.equal(sealed.length, 2, "a configuration and its result");
  for (const jwe of sealed) {
    assert.equal(decodeProtectedHeader(jwe).typ, SEALED_REPORT_TYPE);
    assert.equal(await opens(jwe, mine), false);
    assert.equal(await opens(jwe, [plane.services.keyRing.sealing.privateKey]), true);
  }
});
