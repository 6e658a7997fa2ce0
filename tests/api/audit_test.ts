/** The audit log: what it shows and exports, and what its seals find. */
import assert from "node:assert/strict";
import { sql, type Transaction } from "kysely";
import { createJoinToken } from "@rookery/shared/api/agents.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import {
  AUDIT_COLUMNS,
  AuditFilter,
  AuditRow,
  exportAuditLines,
  exportAuditTable,
  getAuditHead,
  listAuditRows,
  orderAuditVerification,
} from "@rookery/shared/api/audit.ts";
import { createCredential, updateCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice, updateDevice } from "@rookery/shared/api/devices.ts";
import { createSite, updateSite } from "@rookery/shared/api/sites.ts";
import { getTask, listTaskLog } from "@rookery/shared/api/tasks.ts";
import { createUser } from "@rookery/shared/api/users.ts";
import { dropOldSegments } from "../../control-plane/audit/drop_segments.ts";
import { readIssuer, sealAuditRows } from "../../control-plane/audit/seal_rows.ts";
import { systemActor, writeAudit } from "../../control-plane/audit/store.ts";
import { verify } from "../../control-plane/audit/verify_audit.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { type KeyRing, openKeyRing } from "../../control-plane/keys/key_ring.ts";
import {
  activateSigningKey,
  addSigningKey,
  retireSigningKey,
} from "../../control-plane/keys/rotation.ts";
import { runTasks } from "../../control-plane/tasks/run_tasks.ts";
import { until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";
import { refusedAs } from "../support/refused_as.ts";

const database = testDatabase({ poolSize: 6 });
const START = Temporal.Instant.from("2026-01-01T00:00:00Z");
const keyFile = await makeKeys(START);
const plane = testControlPlane(database, { makeKeyRing: () => openKeyRing(keyFile) });

Deno.test("listAuditRows() finds rows by each field, and pages while others are written", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "Oslo" } });
  await admin.call(updateSite, { params: { siteId }, body: { name: "Os%lo" } });
  const list = async (query: AuditFilter) => (await admin.call(listAuditRows, { query })).items;
  const [row = assert.fail(), made = assert.fail()] = await list({ targetId: siteId });
  assert.deepEqual(row.detail, { before: { name: "Oslo" }, after: { name: "Os%lo" } });
  const { actorKind, actorName, action, targetKind, address, requestId } = row;
  const actorId = row.actorId ?? assert.fail();
  const filters: AuditFilter[] = [
    ...[{ actorKind }, { actorId }, { actorName: actorName.toUpperCase() }, { action }],
    ...[{ targetKind }, { targetId: siteId }, { address }, { requestId }, { text: '"os%LO' }],
    ...[{ from: row.at }, { siteId, action, text: siteId }],
  ];
  for (const filter of filters) {
    const found = await list(filter);
    assert.deepEqual(found.filter(({ id }) => id === row.id), [row], JSON.stringify(filter));
  }
  const others: AuditFilter[] = [
    ...[{ actorKind: "agent" as const }, { actorId: siteId }, { actorName: "nobody" }],
    ...[{ action: "site" }, { targetKind: "device" }, { targetId: row.id }, { text: "Os_lo" }],
    ...[{ address: "192.0.2.1" }, { requestId: made.requestId }, { until: row.at }],
    ...[{ siteId: crypto.randomUUID() as typeof siteId }],
  ];
  for (const filter of others) {
    const found = await list(filter);
    assert.ok(!found.some(({ id }) => id === row.id), JSON.stringify(filter));
  }
  const all = await list({});
  const seen: AuditRow[] = [];
  let cursor: string | null | undefined;
  while (cursor !== null) {
    const query = { limit: 1, ...cursor !== undefined && { cursor } };
    const page = await admin.call(listAuditRows, { query });
    seen.push(...page.items);
    cursor = page.nextCursor;
    await admin.call(updateSite, {
      params: { siteId },
      body: { leaseTtlSeconds: 100 + seen.length },
    });
  }
  assert.deepEqual(seen, all);
});

/** Both exports of what is there by now; rows of any open transaction of the server wait for its end. */
async function exportAll(query: AuditFilter = {}, call = plane.administrator()) {
  const person = await call;
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return {
    lines: text(await person.call(exportAuditLines, { query })),
    table: text(await person.call(exportAuditTable, { query })),
  };
}

Deno.test("exportAuditLines() and exportAuditTable() have every row once, oldest first, and those of one's own sites", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "=1+1" } });
  await database.sql`
    insert into audit_rows (id, actor_kind, action, site_id)
    select gen_random_uuid(), 'system', 'test.many', ${siteId} from generate_series(1, 701)`;
  const { items: [newest] } = await admin.call(listAuditRows, { query: { limit: 1 } });
  await until(
    async () => (await exportAll()).lines.includes(newest?.id ?? assert.fail()),
    "all rows are exported",
  );
  const { lines, table } = await exportAll();
  const rows = lines.trimEnd().split("\n").map((line) => AuditRow.parse(JSON.parse(line)));
  const [{ count = 0 } = {}] = await database.sql<{ count: number }[]>`
    select count(*)::int as count from audit_rows`;
  assert.equal(rows.length, count);
  assert.equal(new Set(rows.map(({ id }) => id)).size, count);
  // No cell has a line break in it: those of a detail are escaped.
  const [head, ...cells] = table.trimEnd().split("\r\n");
  assert.equal(head, AUDIT_COLUMNS.join());
  assert.deepEqual(cells.map((line) => line.slice(-36)), rows.map(({ id }) => id));
  const seer = await makePerson(plane, {
    name: "seer",
    actions: ["audit:read"],
    selector: { siteIds: [siteId] },
  });
  const own = await exportAll({}, Promise.resolve(seer));
  assert.equal(own.lines.trimEnd().split("\n").length, 702);
  assert.ok(own.lines.split("\n").every((line) => line === "" || line.includes(siteId)));
  assert.equal((await exportAll({ action: "test.many" })).table.split("\n").length, 703);
  await refusedAs("forbidden", seer.call(getAuditHead, {}));
  await refusedAs("forbidden", seer.call(orderAuditVerification, { body: {} }));
});

Deno.test("no secret that somebody sends stands in the audit log", async () => {
  const admin = await plane.administrator();
  const planted = (name: string) => `planted-${name}-${"x".repeat(12)}`;
  const login = { password: planted("password"), enableSecret: planted("enable") };
  const body = { name: "planted", username: "backup", ...login };
  const { id: credentialId } = await admin.call(createCredential, { body });
  const params = { credentialId };
  await admin.call(updateCredential, { params, body: { password: planted("second") } });
  await admin.call(createUser, { body: { username: "planted", password: planted("user") } });
  const token = await admin.call(createApiToken, { body: { name: "planted", expiresInDays: 1 } });
  const { id: siteId } = await admin.call(createSite, { body: { name: "Planted" } });
  const joining = { agentName: "planted", siteIds: [siteId] };
  const { joinToken } = await admin.call(createJoinToken, { body: joining });
  const device = { siteId, name: "planted", host: "192.0.2.1", platform: "frr", credentialId };
  const { id: deviceId } = await admin.call(createDevice, { body: device });
  await admin.call(updateDevice, { params: { deviceId }, body: { credentialId: null } });
  await plane.services.db.transaction().execute((tx) =>
    writeAudit(tx, {
      actor: systemActor("a writer that forgot"),
      action: "test.planted",
      detail: {
        list: [{ newPassword: planted("nested"), token: planted("token") }],
        given: ["password"],
      },
    })
  );
  await until(
    async () => (await exportAll()).lines.includes("test.planted"),
    "the last row is exported",
  );
  const { lines, table } = await exportAll();
  for (const secret of ["planted-", token.secret, joinToken]) {
    assert.ok(!lines.includes(secret) && !table.includes(secret), secret);
  }
  const [forgot] = lines.split("\n").filter((line) => line.includes("test.planted"));
  assert.deepEqual(JSON.parse(forgot ?? "").detail, {
    list: [{ newPassword: "(masked)", token: "(masked)" }],
    given: ["password"],
  });
});

async function readHead(): Promise<string> {
  const { head } = await (await plane.administrator()).call(getAuditHead, {});
  return head?.signature ?? assert.fail("nothing is sealed");
}

/** What a verification says that is wrong, and what it says at its end. */
async function check(
  { db = database.db, keyRing = plane.services.keyRing, head = null }: {
    db?: Transaction<Database> | typeof database.db;
    keyRing?: KeyRing;
    head?: string | null;
  } = {},
) {
  const lines: string[] = [];
  const issuer = await readIssuer(db);
  const wrong = await verify({ db, keyRing, issuer }, {
    head,
    say: (line) => void lines.push(line),
  });
  return { wrong, found: lines.slice(0, wrong), notes: lines.slice(wrong) };
}

/** Seals all there is, however new. */
async function sealAll(): Promise<void> {
  await until(async () => {
    await sealAuditRows(plane.services, { waitSeconds: 0 });
    const { notes } = await check();
    return notes.some((note) => note === "there is no row that is not sealed");
  }, "all is sealed");
}

function note(tx: Transaction<Database>, action: string): Promise<void> {
  return writeAudit(tx, { actor: systemActor("test"), action });
}

Deno.test("sealAuditRows() waits for the rows of transactions that began before, and two replicas make one history", async () => {
  await sealAll();
  const { db } = plane.services;
  const began = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  const slow = db.transaction().execute(async (tx) => {
    await note(tx, "test.slow");
    began.resolve();
    await mayEnd.promise;
  });
  await began.promise;
  for (let n = 0; n < 250; n++) await db.transaction().execute((tx) => note(tx, "test.quick"));
  assert.equal(await sealAuditRows(plane.services, { waitSeconds: 0 }), 0);
  mayEnd.resolve();
  await slow;
  assert.equal((await check()).notes[1]?.slice(0, 20), "the newest 251 rows,");
  // A lone row waits for company; many do not.
  await until(async () => {
    const seal = () => sealAuditRows(plane.services);
    await Promise.all([seal(), seal(), seal()]);
    return (await check()).notes[1]?.startsWith("the newest 51 rows,") ?? false;
  }, "a whole segment is sealed");
  await sealAll();
  assert.equal((await check()).wrong, 0);
});

/** What is found after a change to the database, which is taken back. */
async function tamper(change: string, more: { keyRing?: KeyRing; head?: string } = {}) {
  const undo = new Error("taken back");
  let found: readonly string[] = [];
  await database.db.transaction().execute(async (tx) => {
    for (const statement of change.split(";").filter((part) => part.trim() !== "")) {
      await sql.raw(statement).execute(tx);
    }
    found = (await check({ db: tx, ...more })).found;
    throw undo;
  }).catch((error: unknown) => {
    if (error !== undo) throw error;
  });
  return found;
}

/** The middle one of the segments, and one of its rows. */
async function middle() {
  const segments = await database.db.selectFrom("auditSegments").selectAll().orderBy("number")
    .execute();
  const segment = segments.at(1) ?? assert.fail("there are too few segments");
  const { rows: [row] } = await sql<{ id: string }>`
    select id from audit_rows where (incarnation, xid, id) <= (${segment.lastIncarnation}::int,
      ${segment.lastXid}::xid8, ${segment.lastId}::uuid)
    order by incarnation desc, xid desc, id desc offset 3 limit 1`.execute(database.db);
  const [oldest, newest] = [segments[0] ?? assert.fail(), segments.at(-1) ?? assert.fail()];
  return { number: segment.number, id: row?.id ?? assert.fail(), oldest, newest };
}

Deno.test("a verification names the segment and the row that was altered, removed, moved or inserted", async () => {
  await sealAll();
  const { number, id } = await middle();
  const row = (what: string) => new RegExp(`^segment ${number}: row \\d+ of \\d+, ${id}, ${what}$`);
  for (const column of ["actor_name = 'x'", "detail = '{}'::jsonb || '{\"a\": 1}'", "at = now()"]) {
    const [found, ...more] = await tamper(`update audit_rows set ${column} where id = '${id}'`);
    assert.match(found ?? "", row("was altered"));
    assert.deepEqual(more, []);
  }
  const removed = await tamper(`delete from audit_rows where id = '${id}'`);
  assert.match(removed.join(), row("was removed"));
  const moved = await tamper(`update audit_rows set xid = '3' where id = '${id}'`);
  assert.match(moved.join("\n"), /^segment 1: row \S+ was inserted, or moved here\n/);
  assert.match(moved.at(-1) ?? "", row("was moved to another place"));
  const inserted = await tamper(`insert into audit_rows (id, xid, actor_kind, action)
    select gen_random_uuid(), xid, 'user', 'device.update' from audit_rows where id = '${id}'`);
  assert.match(inserted.join(), /^segment \d+: row \S+ was inserted, or moved here$/);
});

Deno.test("a verification finds a history that was hashed anew, replaced, cut short, or put into another order", async () => {
  const other = { ...plane.services, keyRing: await openKeyRing(await makeKeys(START)) };
  const { number, id, newest } = await middle();
  const head = await readHead();
  assert.equal(head, newest.signature);
  assert.deepEqual(await tamper("", { head }), []);
  const relisted = await tamper(`update audit_rows set actor_name = 'x' where id = '${id}';
    update audit_segments set row_digests = '\\x00' where number = ${number}`);
  assert.match(relisted.join(), /list of them was altered too$/);
  const gap = await tamper(`delete from audit_segments where number = ${number}`);
  assert.match(gap.join(), /^segment 3: the one before it, 2, was removed$/);
  const swapped = await tamper(`update audit_segments s set signature = o.signature,
      row_digests = o.row_digests from audit_segments o
    where s.number in (1, 2) and o.number = 3 - s.number`);
  assert.match(
    swapped[0] ?? "",
    /^segment 1: it was signed as segment 2: segments were re-ordered$/,
  );
  const columns = await tamper("update audit_segments set last_xid = '3' where number = 2");
  assert.deepEqual(columns, ["segment 2: its columns were altered"]);
  // Everything as it should be, but for the key: the one that signs is not in the database.
  const undo = new Error("taken back");
  await database.db.transaction().execute(async (tx) => {
    await tx.updateTable("auditRows").set({ actorName: "x" }).where("id", "=", id).execute();
    await tx.deleteFrom("auditSegments").execute();
    await sealAuditRows({ ...other, db: tx }, { waitSeconds: 0 });
    const { wrong, found } = await check({ db: tx });
    assert.equal((await check({ db: tx, keyRing: other.keyRing })).wrong, 0);
    assert.ok(wrong >= 3);
    assert.match(found[0] ?? "", /^segment 1: it is not signed by a key of this installation$/);
    throw undo;
  }).catch((error: unknown) => assert.equal(error, undo));
  const cut =
    `delete from audit_rows where (xid, id) > (select last_xid, last_id from audit_segments
      where number = ${Number(newest.number) - 1});
    delete from audit_segments where number = ${newest.number}`;
  assert.deepEqual(await tamper(cut), []);
  const compared = await tamper(cut, { head });
  assert.match(compared.join(), new RegExp(`^segments ${newest.number} to \\d+ were cut off`));
});

Deno.test("seals outlive the keys that made them, also when those are retired", async () => {
  const issuer = await readIssuer(database.db);
  const { file: added, key } = await addSigningKey(keyFile, { now: START, issuer });
  const { file: active } = activateSigningKey(added, { now: START.add({ hours: 24 * 8 }) });
  const old = keyFile.signing[0]?.kid ?? assert.fail();
  const { file: retired } = retireSigningKey(active, {
    now: START.add({ hours: 24 * 30 }),
    kid: old,
  });
  const keyRing = await openKeyRing(retired);
  assert.equal(keyRing.signing.kid, key);
  assert.equal(keyRing.signingPublicKey(old), undefined);
  await plane.services.db.transaction().execute((tx) => note(tx, "test.rotated"));
  await until(
    async () => await sealAuditRows({ ...plane.services, keyRing }, { waitSeconds: 0 }) > 0,
    "a segment is sealed by the new key",
  );
  assert.equal((await check({ keyRing })).wrong, 0);
  // The plane's own key ring does not know the new key.
  assert.equal((await check()).wrong, 1);
  const newest = (await middle()).newest.number;
  await database.sql`delete from audit_segments where number = ${newest}`;
  await sealAll();
});

Deno.test("dropOldSegments() drops whole segments, leaves what it dropped signed, and keeps what was tampered with", async () => {
  const { id } = await middle();
  await database.sql`
    update audit_segments set newest_at = now() - interval '20 years' where number <= 2`;
  const rename = (from: string, to: string) =>
    database.sql`update audit_rows set action = replace(action, ${from}, ${to}) where id = ${id}`;
  await rename("t", "+");
  const drop = () => dropOldSegments(plane.services);
  assert.equal(await drop(), 200);
  assert.equal(await drop(), 0);
  assert.match((await check()).found.join(), new RegExp(`^segment 2: .*${id}, was altered$`));
  assert.ok(plane.log.some(({ reason }) => String(reason).includes(`${id}, was altered`)));
  await rename("+", "t");
  const head = await readHead();
  const { rowCount } = (await middle()).oldest;
  const dropped = await Promise.all([drop(), drop()]);
  assert.deepEqual(dropped.toSorted(), [0, rowCount]);
  assert.deepEqual((await check({ head })).found, []);
  const { items: [row] } = await (await plane.administrator()).call(listAuditRows, {
    query: { action: "audit.expire" },
  });
  assert.equal(row?.detail["untilSegment"], 2);
  const forged = await tamper("update audit_floor set signature = signature || 'A'");
  assert.match(forged.join("\n"), /^the note of what retention dropped is not signed/);
  const inserted = await tamper(`insert into audit_rows (id, xid, actor_kind, action)
    values ('${id}', '3', 'user', 'device.update')`);
  assert.deepEqual(inserted, [
    `row ${id} was inserted: retention dropped all rows up to segment 2`,
  ]);
  const gone = await tamper("delete from audit_floor");
  assert.match(gone.join("\n"), /^segment 3: 1 to 2, before it, were removed/);
  await sealAll();
});

Deno.test("orderAuditVerification() makes a task that fails when the log is not as it was sealed, and names where", async () => {
  const admin = await plane.administrator();
  const head = await readHead();
  const run = async () => {
    const { id: taskId } = await admin.call(orderAuditVerification, { body: { head } });
    const stop = new AbortController();
    const running = runTasks(plane.services, { signal: stop.signal, pollMs: 20 });
    const read = () => admin.call(getTask, { params: { taskId } });
    await until(async () => (await read()).endedAt !== null, "the task has ended");
    stop.abort();
    await running;
    const { items } = await admin.call(listTaskLog, { params: { taskId }, query: {} });
    const found = items.filter(({ event }) => event === "found").map(({ detail }) => detail);
    return { state: (await read()).state, found };
  };
  const sound = await run();
  assert.equal(sound.state, "completed");
  assert.match(sound.found.join("\n"), /^the newest segment is number \d+\nthe newest \d+ rows/);
  const { id } =
    (await database.db.selectFrom("auditRows").select("id").where("action", "=", "user.create")
      .executeTakeFirst()) ?? assert.fail();
  await database.sql`update audit_rows set actor_name = 'somebody else' where id = ${id}`;
  const altered = await run();
  assert.equal(altered.state, "failed");
  assert.match(altered.found.join("\n"), new RegExp(`row \\d+ of \\d+, ${id}, was altered`));
});
