/** The spool on its disk: what power cuts, full disks and damage do to it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { LeaseId } from "@rookery/shared/ids.ts";
import type { Delivery } from "../../agent/deliver.ts";
import { Spool, type SpoolOptions } from "../../agent/spool.ts";
import { SpoolDamagedError } from "../../agent/spool_entry.ts";
import { diskFiles, type SpoolFiles } from "../../agent/spool_files.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { openSealedCapture, openSealedResult } from "../../control-plane/jobs/sealed_report.ts";
import { CrashDisk } from "../support/crash_disk.ts";
import { filesWith, keptLog } from "../support/spool.ts";

const keyRing = await openKeyRing(await makeKeys());
const sealingKey = { ...keyRing.sealing.publicJwk, crv: "X25519" as const };

function open(folder: string, options: Partial<SpoolOptions> = {}): Promise<Spool> {
  return Spool.open({
    folder,
    limits: { maxMegabytes: 1, maxEntries: 100 },
    files: diskFiles,
    log: () => {},
    sealingKey: () => sealingKey,
    ...options,
  });
}

async function makeFolder() {
  const path = await Deno.makeTempDir({ prefix: "rookery-spool-" });
  return {
    path: join(path, "spool"),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

/** A result with one configuration; random ones do not compress. */
async function delivery(bytes = crypto.getRandomValues(new Uint8Array(300))) {
  const leaseId = crypto.randomUUID() as LeaseId;
  return {
    leaseId,
    result: `result of ${leaseId}`,
    uploads: [{ sha256: await sha256(bytes), bytes }],
  };
}

/** Opens everything that waits with the control plane's keys. */
async function contentOf(spool: Spool): Promise<Delivery[]> {
  const deliveries: Delivery[] = [];
  for (let entry = spool.takeOldest(0); entry; entry = spool.takeOldest(0)) {
    const { leaseId } = entry;
    const { captures, result } = await spool.contents(entry);
    const text = async (part: typeof result) =>
      new TextDecoder().decode(await spool.read(entry as NonNullable<typeof entry>, part));
    const uploads = [];
    for (const part of captures) {
      const sealed = { jwe: await text(part), leaseId, sha256: part.sha256, maxBytes: 1e6 };
      uploads.push({ sha256: part.sha256, bytes: await openSealedCapture(keyRing, sealed) });
    }
    const jwe = await text(result);
    deliveries.push({
      leaseId,
      result: await openSealedResult(keyRing, { jwe, leaseId }),
      uploads,
    });
  }
  return deliveries;
}

Deno.test("put() keeps results whole and in order, in files that only the agent's user can read", async () => {
  await using folder = await makeFolder();
  const kept = [await delivery(), await delivery(), await delivery()];
  const spool = await open(folder.path);
  for (const each of kept) await spool.put(each);
  assert.equal(((await Deno.stat(folder.path)).mode ?? 0) & 0o777, 0o700);
  for await (const { name } of Deno.readDir(folder.path)) {
    assert.equal(((await Deno.stat(join(folder.path, name))).mode ?? 0) & 0o777, 0o600);
  }
  const again = await open(folder.path);
  assert.equal(again.figures.entries, 3);
  assert.deepEqual(await contentOf(again), kept);
  await again.put(await delivery());
  const newest = await open(folder.path);
  assert.deepEqual((await contentOf(newest)).slice(0, 3), kept);
});

Deno.test("put() leaves a whole entry or none, wherever the power is cut, and a whole one once it has returned", async () => {
  const [before, cut] = [await delivery(), await delivery()];
  const steps = ["write", "sync", "rename", "sync"];
  for (let cutBefore = 0; cutBefore <= steps.length; cutBefore++) {
    for (const names of ["as synced", "newest"] as const) {
      for (const keep of [0, 0.5, 1]) {
        const disk = new CrashDisk();
        const spool = await open("/spool", { files: disk.files });
        await spool.put(before);
        assert.deepEqual(disk.operations, steps);
        disk.cutBefore = steps.length + cutBefore;
        const returned = await spool.put(cut).then(() => true, () => false);
        assert.equal(returned, cutBefore === steps.length);
        const after = await open("/spool", { files: disk.afterCut({ names, keep }).files });
        const found = await contentOf(after);
        const what = `cut before step ${cutBefore}, names ${names}, ${keep} of what was not synced`;
        assert.deepEqual(found[0], before, what);
        assert.deepEqual(found.slice(1), returned || found.length > 1 ? [cut] : [], what);
      }
    }
  }
});

for (const operation of ["write", "sync", "rename"] as const) {
  Deno.test(`put() that fails for a full disk at ${operation} leaves nothing, and there is no room until it works again`, async () => {
    await using folder = await makeFolder();
    let isFull = false;
    const fail = () =>
      Promise.reject(new Deno.errors.WriteZero("No space left on device (os error 28)"));
    const files: SpoolFiles = filesWith({
      [operation]: (...args: [never, never]) =>
        isFull ? fail() : (diskFiles[operation] as (...args: unknown[]) => Promise<void>)(...args),
    });
    const { log, events, lines } = keptLog();
    const spool = await open(folder.path, { files, log });
    const kept = await delivery();
    await spool.put(kept);
    isFull = true;
    await assert.rejects(spool.put(await delivery()), /No space left/);
    assert.equal(await spool.check(), operation === "rename");
    if (operation !== "rename") {
      assert.ok(spool.filling.aborted);
      assert.match(String(lines.at(-1)?.reason), /No space left/);
    }
    isFull = false;
    assert.equal(await spool.check(), true);
    assert.deepEqual(events(), operation === "rename" ? [] : ["spool_full", "spool_has_room"]);
    assert.deepEqual(await contentOf(await open(folder.path)), [kept]);
  });
}

Deno.test("the spool is full at nine tenths of its bytes, never goes beyond them, and has room again below three quarters", async () => {
  await using folder = await makeFolder();
  const { log, events } = keptLog();
  const spool = await open(folder.path, { log });
  const entries = [];
  while (await spool.check()) {
    entries.push(await spool.put(await delivery(crypto.getRandomValues(new Uint8Array(60_000)))));
  }
  assert.ok(spool.figures.bytes >= 0.9 * 1024 * 1024);
  const large = await delivery(crypto.getRandomValues(new Uint8Array(60_000)));
  large.uploads.push(...(await delivery(crypto.getRandomValues(new Uint8Array(60_000)))).uploads);
  await assert.rejects(spool.put(large), /limit of bytes or entries/);
  assert.ok(spool.figures.bytes <= 1024 * 1024);
  while (spool.figures.bytes >= 0.75 * 1024 * 1024) {
    assert.equal(await spool.check(), false);
    await spool.remove(entries.pop() ?? assert.fail());
  }
  assert.equal(await spool.check(), true);
  assert.deepEqual(events(), ["spool_full", "spool_has_room"]);
});

Deno.test("a disk that others fill leaves no room either", async () => {
  await using folder = await makeFolder();
  let freeBytes = 1e9;
  const files = filesWith({ space: () => Promise.resolve({ freeBytes, totalBytes: 1e10 }) });
  const spool = await open(folder.path, { files });
  assert.equal(await spool.check(), true);
  freeBytes = 1e6;
  assert.equal(await spool.check(), false);
  assert.match(spool.figures.full ?? "", /the disk has 1000000 bytes left/);
});

Deno.test("what is damaged is told apart from what is whole, and moved aside, so many of it", async () => {
  await using folder = await makeFolder();
  const spool = await open(folder.path);
  const entries = [];
  for (let n = 0; n < 30; n++) entries.push(await spool.put(await delivery()));
  const damage: ((path: string) => Promise<void>)[] = [
    (path) => Deno.truncate(path, 100),
    (path) => Deno.truncate(path, 0),
    (path) => Deno.writeTextFile(path, "x".repeat(500)),
    (path) => Deno.writeTextFile(path, '{"version":2}\n'),
    (path) => Deno.writeTextFile(path, "more", { append: true }),
  ];
  for (const [n, harm] of damage.entries()) await harm(join(folder.path, entries[n]?.name ?? ""));
  await Deno.writeTextFile(join(folder.path, "000000000099-torn.entry.tmp"), "half");
  const again = await open(folder.path);
  assert.equal(again.figures.entries, 30);
  let damaged = 0;
  for (let entry = again.takeOldest(0); entry; entry = again.takeOldest(0)) {
    const whole = await again.contents(entry).then(() => true, (error: unknown) => {
      assert.ok(error instanceof SpoolDamagedError);
      return false;
    });
    if (!whole) damaged++;
    await again.setAside(entry);
  }
  assert.equal(damaged, damage.length);
  const names = (await diskFiles.list(join(folder.path, "refused"))).map(({ name }) => name);
  assert.equal(names.length, 20);
  assert.ok(names.includes(entries.at(-1)?.name ?? ""));
  assert.deepEqual(await diskFiles.list(folder.path), []);
});
