import assert from "node:assert/strict";
import { readSigningKeys } from "@rookery/shared/api/agent_protocol.ts";
import { getReadiness } from "@rookery/shared/api/health.ts";
import { announceStep, holdingKeys } from "../../control-plane/keys/change_keys.ts";
import { KeyFileError, readExistingKeyFile } from "../../control-plane/keys/key_file.ts";
import { loadKeyRing } from "../../control-plane/keys/key_ring.ts";
import { repairKeys } from "../../control-plane/keys/repair_keys.ts";
import { addSigningKey } from "../../control-plane/keys/rotation.ts";
import { assertSameKeys } from "../../control-plane/keys/same_keys.ts";
import { watchKeys } from "../../control-plane/keys/watch_keys.ts";
import { replaceKeyFile } from "../../control-plane/keys/write_key_file.ts";
import { until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { refusedAs } from "../support/joining.ts";
import { keyBench } from "../support/key_bench.ts";

const database = testDatabase();
const keys = keyBench(database);
const plane = testControlPlane(database, { makeKeyRing: keys.makeKeyRing });
const CHANGE = { action: "keys.add_sealing" } as const;

/** A replica that starts now. */
async function startReplica(path = keys.path): Promise<void> {
  await assertSameKeys(database.db, await loadKeyRing(path, { create: false }));
}

async function generationInDatabase(): Promise<number> {
  const [row] = await database.sql<{ generation: number }[]>`
    select key_generation as generation from installation`;
  return row?.generation ?? -1;
}

async function nextSigning() {
  const { issuer } = await keys.place();
  const file = await readExistingKeyFile(keys.path);
  // Whatever an earlier test left waiting is left out: only one may wait.
  const signing = file.signing.filter((key) => key.active || key.replacedAt !== undefined);
  return await addSigningKey({ ...file, signing }, { now: Temporal.Now.instant(), issuer });
}

async function auditOf(action: string): Promise<number> {
  const rows = await database.sql`select 1 from audit_rows where action = ${action}`;
  return rows.length;
}

Deno.test("a replica with an old copy of the key file refuses to start, and says what to do", async () => {
  const old = `${keys.path}.old`;
  await Deno.copyFile(keys.path, old);
  await keys.rotate("sealing");
  await startReplica();
  await assert.rejects(startReplica(old), (error: Error) => {
    assert.ok(error instanceof KeyFileError);
    assert.match(error.message, /^Refused to start: the key file is an old one \(generation 1;/);
    assert.match(error.message, /are at 2\).*point ROOKERY_KEYS at it, or copy the newest one/);
    return true;
  });
  await keys.look();
  assert.equal(keys.keyRing.generation, 2);
  assert.equal(await auditOf("keys.add_sealing"), 1);
});

Deno.test("a crash after the announcement leaves the old keys in force, and the next rotation goes on from them", async () => {
  const before = await Deno.readTextFile(keys.path);
  const generation = await generationInDatabase();
  await announceStep(database.db, { step: await nextSigning(), change: CHANGE });
  // The tool dies here.
  await startReplica();
  await keys.look();
  assert.equal(await Deno.readTextFile(keys.path), before);
  assert.equal(await generationInDatabase(), generation);
  await keys.rotate("sealing");
  await startReplica();
  assert.equal(await generationInDatabase(), generation + 1);
});

Deno.test("a crash after the file was written is ended by the next replica that reads it, and audited once", async () => {
  const generation = await generationInDatabase();
  const audited = await auditOf("keys.crash");
  const step = await nextSigning();
  await announceStep(database.db, { step, change: { action: "keys.crash" } });
  await replaceKeyFile(keys.path, step.file);
  // The tool dies here.
  await Promise.all([startReplica(), startReplica(), keys.look()]);
  assert.equal(await generationInDatabase(), generation + 1);
  assert.equal(keys.keyRing.generation, generation + 1);
  assert.equal(await auditOf("keys.crash"), audited + 1);
});

Deno.test("a crash after the file was written is also ended by the tool itself, when it is run again", async () => {
  const generation = await generationInDatabase();
  const step = await nextSigning();
  await announceStep(database.db, { step, change: CHANGE });
  await replaceKeyFile(keys.path, step.file);
  await keys.rotate("sealing");
  assert.equal(await generationInDatabase(), generation + 2);
  const { signing } = await readExistingKeyFile(keys.path);
  assert.equal(signing.at(-1)?.kid, step.key, "the key of the first run is lost");
  await startReplica();
});

Deno.test("watchKeys() takes the new file within moments and without a restart", async () => {
  const stop = new AbortController();
  const watched = { db: database.db, keyRing: keys.keyRing, path: keys.path, log: () => {} };
  const watching = watchKeys(watched, { signal: stop.signal, checkMs: 20 });
  await keys.rotate("sealing");
  const newest = await generationInDatabase();
  const reads = async () => (await plane.call(readSigningKeys, {})).generation;
  await until(async () => await reads() === newest, "the new keys are in use", 20_000);
  stop.abort();
  await watching;
});

Deno.test("a running replica that cannot read the new file says so and signs nothing until it can", async () => {
  await keys.look();
  const kept = `${keys.path}.kept`;
  await keys.rotate("sealing");
  await Deno.rename(keys.path, kept);
  await keys.look();
  await keys.look();
  assert.ok(keys.keyRing.stale);
  assert.match(
    keys.log.at(-1) ?? "",
    /^This replica signs and seals nothing: .*Cannot find the key file/,
  );
  await assert.rejects(plane.call(readSigningKeys, {}), refusedAs("keys-stale"));
  await assert.rejects(plane.call(getReadiness, {}), refusedAs("keys-stale"));
  assert.throws(() => keys.keyRing.signing, refusedAs("keys-stale"));
  assert.throws(() => keys.keyRing.currentKekId, refusedAs("keys-stale"));
  assert.ok(keys.keyRing.kek((await readExistingKeyFile(kept)).kek[0]?.id ?? ""), "reads go on");
  await Deno.rename(kept, keys.path);
  await keys.look();
  assert.ok(!keys.keyRing.stale);
  assert.ok((await plane.call(readSigningKeys, {})).generation > 1);
});

Deno.test("a running replica whose file is damaged goes on with the keys in memory while they are in force", async () => {
  const text = await Deno.readTextFile(keys.path);
  await Deno.writeTextFile(keys.path, text.slice(0, -30));
  for (let look = 0; look < 4; look++) await keys.look();
  assert.ok(!keys.keyRing.stale);
  assert.match(
    keys.log.at(-1) ?? "",
    /^The key file cannot be used; the keys in memory still are: .*damaged/,
  );
  await Deno.writeTextFile(keys.path, text);
  await keys.look();
});

Deno.test("the key file keeps its mode and leaves no draft, also none of a tool that was killed", async () => {
  const folder = keys.path.slice(0, keys.path.lastIndexOf("/"));
  await Deno.writeTextFile(`${keys.path}.${crypto.randomUUID()}.new`, "{}");
  await keys.rotate("sealing");
  assert.equal(((await Deno.stat(keys.path)).mode ?? 0) & 0o777, 0o600);
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  assert.deepEqual(names.filter((name) => name.endsWith(".new")), []);
});

Deno.test("holdingKeys() keeps a second tool out", async () => {
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const first = holdingKeys(database, () => {
    begun.resolve();
    return held.promise;
  });
  await begun.promise;
  const second = holdingKeys(database, () => Promise.resolve());
  await assert.rejects(second, /another keys:rotate runs/);
  held.resolve();
  await first;
  assert.equal(await holdingKeys(database, () => Promise.resolve("free")), "free");
});

Deno.test("repairKeys() takes a file that is newer than a restored database, and no other", async () => {
  const [before] = await database.sql`select key_fingerprints, key_generation from installation`;
  const older = `${keys.path}.older`;
  await Deno.copyFile(keys.path, older);
  await keys.rotate("sealing");
  await assert.rejects(
    repairKeys({ ...await keys.place(), path: older }),
    /Cannot repair: .*old one/,
  );
  await database.sql`
    update installation set key_generation = ${before?.key_generation},
      key_fingerprints = ${database.sql.json(before?.key_fingerprints)}`;
  await assert.rejects(startReplica(), /keys:rotate repair/);
  assert.equal(await repairKeys(await keys.place()), true);
  await startReplica();
  assert.equal(await repairKeys(await keys.place()), false);
  const foreign = `${keys.path}.foreign`;
  await loadKeyRing(foreign, { create: true });
  await assert.rejects(repairKeys({ ...await keys.place(), path: foreign }), /Cannot repair/);
});
