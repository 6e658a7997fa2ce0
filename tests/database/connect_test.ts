import assert from "node:assert/strict";
import { sql as fragment } from "kysely";
import {
  connectDatabase,
  databaseUrl,
  pingDatabase,
} from "../../control-plane/database/connect.ts";
import { untilStarted } from "../../control-plane/database/until_started.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ empty: true });

Deno.test("sql keeps the microseconds of a time, so that a time read finds its row again", async () => {
  const { sql } = database;
  const text = "2026-01-01T00:00:00.123456Z";
  const [row] = await sql<{ at: Temporal.Instant }[]>`select ${text}::timestamptz as at`;
  assert.ok(row?.at instanceof Temporal.Instant);
  assert.equal(row.at.toString(), text);
  const [same] = await sql`select ${row.at}::timestamptz = ${text}::timestamptz as equal`;
  assert.equal(same?.equal, true);
});

Deno.test("sql reads times alike in every time zone, and arrays of them", async () => {
  await using other = connectDatabase(database.address, { poolSize: 1, maxLifetimeSeconds: null });
  await other.sql`set time zone 'Asia/Kathmandu'`;
  const at = Temporal.Instant.from("2026-07-01T12:00:00.000001Z");
  const [row] = await other.sql`select ${at}::timestamptz as at, ${[
    at,
    at,
  ]}::timestamptz[] as many`;
  assert.ok(at.equals(row?.at));
  assert.deepEqual(row?.many.map(String), [String(at), String(at)]);
});

Deno.test("db asks for no types that sql knows, and writes and reads arrays as sql does", async () => {
  await using other = connectDatabase(database.address, { poolSize: 1, maxLifetimeSeconds: null });
  const texts = ["a,b", 'quoted "{}" \\', ""];
  const id = crypto.randomUUID();
  const arrays = fragment<Record<string, unknown>>`
    select ${texts}::text[] as texts, ${[id]}::uuid[] as ids, ${[1, 2]}::int[] as numbers,
      array[true, false] as flags, ${[[1], [2]]}::int[] as nested, '{}'::text[] as none`;
  const flags = [true, false];
  const expected = { texts, ids: [id], numbers: [1, 2], flags, nested: [[1], [2]], none: [] };
  await other.sql`select 1`;
  const { rows: [row] } = await arrays.execute(other.db);
  assert.deepEqual({ ...row }, expected);
  const asked = fragment`
    select 1 from pg_prepared_statements where statement like ${"%a.typcategory%"}`;
  assert.equal((await asked.execute(other.db)).rows.length, 0);
  await using alone = connectDatabase(database.address, { poolSize: 1, maxLifetimeSeconds: null });
  assert.deepEqual({ ...(await arrays.execute(alone.db)).rows[0] }, expected);
  assert.equal((await asked.execute(alone.db)).rows.length, 1);
});

Deno.test("sql takes a Date as a time and gives a calendar day as text", async () => {
  const date = new Date("2026-03-29T01:30:00.250Z");
  const [row] = await database.sql`select ${date}::timestamptz as at, ${"2026-03-29"}::date as day`;
  assert.equal(String(row?.at), "2026-03-29T01:30:00.25Z");
  assert.equal(row?.day, "2026-03-29");
});

Deno.test("db and sql are named rookery, and are in UTC", async () => {
  const text =
    "select current_setting('application_name') as name, current_setting('TimeZone') as zone";
  const [row] = await database.sql.unsafe(text);
  assert.deepEqual({ ...row }, { name: "rookery", zone: "UTC" });
  const { rows } = await fragment.raw<object>(text).execute(database.db);
  assert.deepEqual({ ...rows[0] }, { name: "rookery", zone: "UTC" });
});

Deno.test("databaseUrl() is understood by connectDatabase(), a socket's folder included", async () => {
  await using other = connectDatabase(database.url, { poolSize: 1, maxLifetimeSeconds: null });
  const [row] = await other.sql`select current_database() as name`;
  const [same] = await database.sql`select current_database() as name`;
  assert.equal(row?.name, same?.name);
  assert.equal(
    databaseUrl({ host: "/tmp/a b", port: 5432, user: "u", database: "d" }),
    "postgres://u@localhost:5432/d?host=%2Ftmp%2Fa+b",
  );
  assert.equal(
    databaseUrl({ host: "db.example", port: 5433, user: "u", database: "d" }),
    "postgres://u@db.example:5433/d",
  );
});

Deno.test("connectDatabase() refuses what is not a URL without repeating it, for it may hold a password", () => {
  assert.throws(() => connectDatabase("secret@nowhere"), (error: Error) => {
    assert.match(error.message, /^Cannot read the database URL/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

Deno.test("pingDatabase() answers for a server and throws for none", async () => {
  await pingDatabase(database);
  const nowhere = { host: "/nonexistent", port: 5432, user: "u", database: "d" };
  await using none = connectDatabase(nowhere, { poolSize: 1 });
  await assert.rejects(pingDatabase(none), { code: "ENOENT" });
});

/** The first thing that a PostgreSQL says which refuses a connection: one message of the type E. */
function refusal(code: string): Uint8Array<ArrayBuffer> {
  const fields = ["SFATAL", "VFATAL", `C${code}`, "Mno", ""].map((field) => `${field}\0`).join("");
  const text = new TextEncoder().encode(fields);
  const bytes = new Uint8Array(5 + text.length);
  bytes[0] = "E".charCodeAt(0);
  new DataView(bytes.buffer).setInt32(1, 4 + text.length);
  bytes.set(text, 5);
  return bytes;
}

Deno.test("untilStarted() tries again while PostgreSQL starts, and for no other reason", async () => {
  await untilStarted(database.sql);
  const answers = ["57P03", "57P03", "28P01"];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      await connection.read(new Uint8Array(1_024));
      await connection.write(refusal(answers.shift() ?? "XX000"));
      connection.close();
    }
  })();
  {
    const { port } = listener.addr;
    await using away = connectDatabase(`postgres://nobody@127.0.0.1:${port}/none`);
    await assert.rejects(untilStarted(away.sql), { code: "28P01" });
    assert.deepEqual(answers, []);
  }
  listener.close();
  await serving;
});
