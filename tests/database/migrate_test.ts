import assert from "node:assert/strict";
import { join } from "node:path";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { migrate } from "../../control-plane/database/migrate.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ empty: true, poolSize: 6 });

const FIRST = "create table one (x integer);\ninsert into one values (1);\n";
const SECOND = "create table two (x integer);\n";

/** A folder of migrations, and a database to itself: the tests of this file use one after the other. */
async function folderOf(files: Readonly<Record<string, string>>) {
  await database.sql.unsafe("drop schema public cascade; create schema public").simple();
  const folder = await Deno.makeTempDir();
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(folder, name), text);
  }
  const write = (name: string, text: string) => Deno.writeTextFile(join(folder, name), text);
  const remove = () => Deno.remove(folder, { recursive: true });
  return { folder, write, [Symbol.asyncDispose]: remove };
}

async function tables(): Promise<readonly string[]> {
  const rows = await database.sql<{ name: string }[]>`
    select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`;
  return rows.map(({ name }) => name);
}

Deno.test("migrate() applies each file once, in order, and remembers its name and digest", async () => {
  await using files = await folderOf({ "0001_make_one.sql": FIRST, "0002_make_two.sql": SECOND });
  assert.deepEqual(await migrate(database.sql, files), ["0001_make_one.sql", "0002_make_two.sql"]);
  assert.deepEqual(await migrate(database.sql, files), []);
  await files.write("0003_make_three.sql", "create table three (x integer);");
  assert.deepEqual(await migrate(database.sql, files), ["0003_make_three.sql"]);
  assert.deepEqual(await tables(), ["migrations", "one", "three", "two"]);
  const rows = await database.sql`select number, name, length(sha256), applied_at from migrations`;
  assert.equal(rows.length, 3);
  assert.equal(rows[0]?.length, 64);
  assert.ok(rows[0]?.applied_at instanceof Temporal.Instant);
});

Deno.test("migrate() run by several at once applies each file once", async () => {
  await using files = await folderOf({
    "0001_make_one.sql": `${FIRST}select pg_sleep(0.1);`,
    "0002_make_two.sql": SECOND,
  });
  const runs = await Promise.all(Array.from({ length: 4 }, async () => {
    await using other = connectDatabase(database.address, {
      poolSize: 1,
      maxLifetimeSeconds: null,
    });
    return await migrate(other.sql, files);
  }));
  assert.deepEqual(runs.flat().sort(), ["0001_make_one.sql", "0002_make_two.sql"]);
  assert.equal((await database.sql`select from one`).length, 1);
});

Deno.test("migrate() rolls a bad file back whole and keeps the files before it", async () => {
  await using files = await folderOf({
    "0001_make_one.sql": FIRST,
    "0002_go_wrong.sql": `${SECOND}insert into nowhere values (1);`,
  });
  await assert.rejects(migrate(database.sql, files), (error: Error) => {
    assert.equal(
      error.message,
      'Cannot apply 0002_go_wrong.sql: relation "nowhere" does not exist',
    );
    assert.ok(error.cause instanceof Error);
    return true;
  });
  assert.deepEqual(await tables(), ["migrations", "one"]);
  await files.write("0002_go_wrong.sql", SECOND);
  assert.deepEqual(await migrate(database.sql, files), ["0002_go_wrong.sql"]);
});

Deno.test("migrate() refuses a file that was changed after it had been applied", async () => {
  await using files = await folderOf({ "0001_make_one.sql": FIRST });
  await migrate(database.sql, files);
  await files.write("0001_make_one.sql", `${FIRST}-- more\n`);
  await files.write("0002_make_two.sql", SECOND);
  await assert.rejects(migrate(database.sql, files), /0001_make_one.sql was changed/);
  assert.deepEqual(await tables(), ["migrations", "one"]);
});

Deno.test("migrate() refuses a database that is newer than the code, and one with another history", async () => {
  await using newer = await folderOf({ "0001_make_one.sql": FIRST, "0002_make_two.sql": SECOND });
  await migrate(database.sql, newer);
  await Deno.rename(join(newer.folder, "0002_make_two.sql"), join(newer.folder, "kept"));
  await assert.rejects(
    migrate(database.sql, newer),
    /newer than this Rookery \(it has 0002_make_two.sql/,
  );
  await newer.write("0002_make_other.sql", SECOND);
  await assert.rejects(
    migrate(database.sql, newer),
    /0002_make_two.sql, and this Rookery has 0002_/,
  );
});

const BAD_FOLDERS: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["a gap", ["0001_a.sql", "0003_c.sql"], /0003_c.sql stands where number 0002 should/],
  ["a double", ["0001_a.sql", "0001_b.sql"], /0001_b.sql stands where number 0002 should/],
  ["a start at 0", ["0000_a.sql"], /0000_a.sql stands where number 0001 should/],
  ["a name without a number", ["0001_a.sql", "extra.sql"], /extra.sql is not named like/],
];

for (const [what, names, message] of BAD_FOLDERS) {
  Deno.test(`migrate() refuses a folder with ${what} before it touches the database`, async () => {
    await using files = await folderOf(Object.fromEntries(names.map((name) => [name, FIRST])));
    await assert.rejects(migrate(database.sql, files), message);
    assert.deepEqual(await tables(), []);
  });
}
