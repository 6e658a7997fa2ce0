import assert from "node:assert/strict";
import { join } from "node:path";
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { listTasks } from "@rookery/shared/api/tasks.ts";
import type { CredentialId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { openSecrets, sealSecrets } from "../../control-plane/credentials/vault.ts";
import { readBlob } from "../../control-plane/backups/blob_store.ts";
import { sealBlob } from "../../control-plane/backups/blob_seal.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import type { KeyRing } from "../../control-plane/keys/key_ring.ts";
import { loadKeyRing } from "../../control-plane/keys/key_ring.ts";
import { countOthers, idsInUse, WRAPPED_TABLES } from "../../control-plane/keys/wrapped_tables.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { until } from "../support/agent_bench.ts";
import { testDatabase } from "../support/database.ts";
import { Installation } from "../support/installation.ts";
import { keyBench } from "../support/key_bench.ts";
import { ProcessGroup } from "../support/processes.ts";

const database = testDatabase({ poolSize: 6 });
const keys = keyBench(database);
const ROOT = join(import.meta.dirname ?? ".", "..", "..");
const PATIENCE_MS = 120_000;
const ROWS = 4_000;

Deno.test("WRAPPED_TABLES names every table with wrapped keys, by its primary key", async () => {
  const rows = await database.sql<{ name: string; key: string[] }[]>`
    select c.relname as name, array(
      select a.attname || ' ' || format_type(a.atttypid, null) from pg_index i
      join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
      where i.indrelid = c.oid and i.indisprimary
      order by array_position(i.indkey::int2[], a.attnum)) as key
    from pg_class c where c.relkind in ('r', 'p') and not c.relispartition
      and c.relnamespace = 'public'::regnamespace and exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'wrapped_key')
    order by 1`;
  const listed = WRAPPED_TABLES.map(({ name, key }) => ({
    name,
    key: key.map(([column, type]) => `${column} ${type}`),
  }));
  assert.deepEqual(
    rows.map((row) => ({ ...row })),
    listed.toSorted((a, b) => a.name < b.name ? -1 : 1),
  );
});

/** Stores one credential, and `copies` blobs of which the first can be read. */
async function fill(keyRing: KeyRing, copies: number) {
  const { db, sql } = database;
  const [tenant] = await sql<{ id: string }[]>`select id from tenants limit 1`;
  const credentialId = newId<CredentialId>();
  const secrets = { password: "rewrap-test-password" };
  const sealed = await sealSecrets(keyRing, { credentialId, version: 1, secrets });
  await sql`insert into credentials (id, tenant_id, name, username)
    values (${credentialId}, ${tenant?.id ?? ""}, ${credentialId}, 'netops')`;
  await db.insertInto("credentialVersions").values({
    ...sealed,
    credentialId,
    version: 1,
    hasPassword: true,
    hasPrivateKey: false,
    hasEnableSecret: false,
  }).execute();
  const bytes = new TextEncoder().encode("hostname core-1\n");
  const name = { siteId: newId<SiteId>(), sha256: await sha256(bytes) as Sha256 };
  await db.insertInto("blobs")
    .values({ ...name, ...await sealBlob(keyRing, { ...name, bytes }) }).execute();
  await sql`
    insert into blobs (site_id, sha256, bytes, kek_id, wrapped_key, nonce, ciphertext)
    select site_id, 'copy-' || n, bytes, kek_id, wrapped_key, nonce, ciphertext
    from blobs, generate_series(2, ${copies}::int) n where sha256 = ${name.sha256}`;
  return { credentialId, secrets, name, bytes };
}

async function assertReadable(keyRing: KeyRing, stored: Awaited<ReturnType<typeof fill>>) {
  const { kekId, wrappedKey, nonce, ciphertext } = await database.db
    .selectFrom("credentialVersions").selectAll()
    .where("credentialId", "=", stored.credentialId).executeTakeFirstOrThrow();
  const envelope = { kekId, wrappedKey, nonce, ciphertext };
  const version = { credentialId: stored.credentialId, version: 1 };
  assert.deepEqual(await openSecrets(keyRing, { ...version, envelope }), stored.secrets);
  const blob = await readBlob(database.db, { ...stored.name, keyRing });
  assert.deepEqual(blob, stored.bytes);
}

async function readTask() {
  const [row] = await database.sql<{ state: string; done: number; error: string | null }[]>`
    select state, done::int, error from tasks order by id desc limit 1`;
  return row ?? { state: "none", done: 0, error: null };
}

Deno.test("a replica that has not read the new keys leaves the re-wrap undone, and does it when it has", async () => {
  const keyRing = await keys.makeKeyRing();
  const stored = await fill(keyRing, 30);
  await keys.rotate("kek");
  const stop = new AbortController();
  const running = runTasks(
    { db: database.db, keyRing, log: () => {} },
    { signal: stop.signal, pollMs: 10 },
  );
  await until(async () => (await readTask()).error !== null, "it was tried", PATIENCE_MS);
  assert.deepEqual(await readTask(), {
    state: "waiting",
    done: 0,
    error: "The replica that took it has not read the newest keys yet.",
  });
  await keys.look();
  await until(async () => (await readTask()).state === "completed", "it is done", PATIENCE_MS);
  stop.abort();
  await running;
  assert.deepEqual(await readTask(), { state: "completed", done: 31, error: null });
  assert.deepEqual(await idsInUse(database.db), [keyRing.currentKekId]);
  await assertReadable(keyRing, stored);
  await clear();
});

Deno.test("two replicas that re-wrap at once do each key once, and the old key can be retired only then", async () => {
  const { keyRing } = keys;
  const stored = await fill(keyRing, 3_000);
  const old = keyRing.currentKekId;
  await keys.rotate("kek");
  await keys.look();
  assert.notEqual(keyRing.currentKekId, old);
  await assert.rejects(
    keys.rotate(`kek --retire ${old}`, { days: 1 }),
    /data keys are still wrapped by/,
  );
  const stop = new AbortController();
  const services = { db: database.db, keyRing, log: () => {} };
  const options = { signal: stop.signal, pollMs: 10 };
  const running = [runTasks(services, options), runTasks(services, options)];
  // The lease of whoever runs it is taken away again and again: the other goes on.
  await until(
    async () => {
      await database
        .sql`update tasks set leased_until = now() - interval '1 second' where state = 'running'`;
      await assertReadable(keyRing, stored);
      return (await readTask()).state === "completed";
    },
    "the task is completed",
    PATIENCE_MS,
  );
  stop.abort();
  await Promise.all(running);
  assert.deepEqual(await readTask(), { state: "completed", done: 3_001, error: null });
  assert.deepEqual(await idsInUse(database.db), [keyRing.currentKekId]);
  await assertReadable(keyRing, stored);
  await keys.rotate(`kek --retire ${old}`, { days: 1 });
  await keys.look();
  await assertReadable(keyRing, stored);
  assert.throws(() => keyRing.kek(old));
});

Deno.test("a key that cannot be unwrapped is counted, and keeps no other from being wrapped anew", async () => {
  const { keyRing } = keys;
  await database.sql`
    update blobs set wrapped_key = set_byte(wrapped_key, 3, (get_byte(wrapped_key, 3) + 1) % 256)
    where sha256 in ('copy-7', 'copy-1700')`;
  const old = keyRing.currentKekId;
  await keys.rotate("kek");
  await keys.look();
  const stop = new AbortController();
  const running = runTasks(
    { db: database.db, keyRing, log: () => {} },
    { signal: stop.signal, pollMs: 10 },
  );
  await until(
    async () => (await readTask()).state === "failed",
    "the task has failed",
    PATIENCE_MS,
  );
  stop.abort();
  await running;
  const { done, error } = await readTask();
  assert.equal(done, 2_999);
  assert.match(error ?? "", /^2 wrapped keys cannot be opened/);
  await assert.rejects(keys.rotate(`kek --retire ${old}`, { days: 1 }), /keys:rotate kek --rewrap/);
  await clear();
});

async function clear(): Promise<void> {
  await database.sql`delete from blobs`;
  await database.sql`delete from credential_versions`;
  await database.sql`delete from tasks`;
}

Deno.test({
  name: "a re-wrap that is interrupted by kill -9 goes on where it was, while credentials are read",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await database.sql`update installation set key_fingerprints = null, key_generation = 1`;
    await using group = await ProcessGroup.create("rookery-rewrap-");
    const installation = await Installation.start(group, { databaseUrl: database.url });
    await installation.setUpAdministrator();
    const path = join(installation.dataFolder, "keys.json");
    const stored = await fill(await loadKeyRing(path, { create: false }), ROWS);
    const body = { name: "by API", username: "u", password: "by-api-password" };
    await installation.api(createCredential, { body });
    const copy = `${path}.copy`;
    await Deno.copyFile(path, copy);
    await noteWraps();
    await using middle = await stopInTheMiddle();
    await rotate(installation, "kek");
    const keyRing = await loadKeyRing(path, { create: false });
    await until(async () => (await readTask()).done > 0, "it has begun", PATIENCE_MS);
    installation.controlPlane.kill("SIGKILL");
    await installation.controlPlane.status;
    await middle.goOn();
    const { done, state } = await readTask();
    assert.equal(state, "running");
    assert.ok(done > 0 && done < ROWS, `it was not in the middle: ${done}`);
    assert.equal(await countOthers(database.db, keyRing.currentKekId), ROWS + 2 - done);
    await assertReadable(keyRing, stored);
    await installation.startControlPlane();
    await until(
      async () => {
        await assertReadable(keyRing, stored);
        const { items: [task] } = await installation.api(listTasks, {
          query: { kind: "rewrap_keys" },
        });
        return task?.state === "completed";
      },
      "the task is completed",
      PATIENCE_MS,
    );
    assert.equal((await readTask()).done, ROWS + 2);
    assert.equal(await countOthers(database.db, keyRing.currentKekId), 0);
    await assertReadable(keyRing, stored);
    assert.equal(await countWraps(), ROWS + 2, "a key was wrapped twice");
    await assertRefusesToStart({ DATABASE_URL: database.url, ROOKERY_KEYS: copy });
  },
});

/** From now on every key that is wrapped anew, and stays so, is written down. */
async function noteWraps(): Promise<void> {
  await database.sql.unsafe(`
    create table wraps (table_name text not null);
    create function note_wrap() returns trigger language plpgsql as
      $$ begin insert into wraps values (tg_table_name); return null; end $$;
    create trigger note_wrap after update of wrapped_key on blobs
      for each row execute function note_wrap();
    create trigger note_wrap after update of wrapped_key on credential_versions
      for each row execute function note_wrap();`);
}

async function countWraps(): Promise<number> {
  const [row] = await database.sql<{ n: number }[]>`select count(*)::int as n from wraps`;
  return row?.n ?? 0;
}

/** Makes wrapping slow until its first batch is noted, so that this is not the last, and then stops it. */
async function stopInTheMiddle() {
  const lock = 77_001;
  const holder = await database.sql.reserve();
  await holder`select pg_advisory_lock(${lock})`;
  await database.sql.unsafe(`
    create function stop_wrap() returns trigger language plpgsql as $$ begin
      if exists (select from tasks where state = 'running' and done > 0)
      then perform pg_advisory_xact_lock_shared(${lock});
      else perform pg_sleep(0.1);
      end if;
      return null;
    end $$;
    create trigger stop_wrap before update of wrapped_key on blobs
      for each statement execute function stop_wrap();`);
  let isHeld = true;
  async function goOn() {
    if (!isHeld) return;
    isHeld = false;
    await holder`select pg_advisory_unlock(${lock})`;
    holder.release();
    await database.sql`drop trigger stop_wrap on blobs`;
  }
  return { goOn, [Symbol.asyncDispose]: goOn };
}

/** A replica in a process of its own, with a key file that is not the newest. */
async function assertRefusesToStart(env: Record<string, string>): Promise<void> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--cached-only", join(ROOT, "control-plane/main.ts")],
    env: { ...env, ROOKERY_DATA: `${env.ROOKERY_KEYS}.data` },
    stdout: "null",
    stderr: "piped",
  }).output();
  assert.equal(code, 1);
  const text = new TextDecoder().decode(stderr);
  assert.match(
    text,
    /^Rookery cannot run: Refused to start: the key file is an old one \(generation 1;/,
  );
  assert.match(text, /copy the newest one here/);
}

/** Runs `deno task keys:rotate` beside the running control plane. */
async function rotate(installation: Installation, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--cached-only", join(ROOT, "control-plane/keys/rotate_keys.ts"), ...args],
    env: { DATABASE_URL: database.url, ROOKERY_DATA: installation.dataFolder },
    stdout: "piped",
    stderr: "piped",
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
