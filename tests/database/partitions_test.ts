import assert from "node:assert/strict";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();

async function partitionsOf(table: string): Promise<readonly string[]> {
  const rows = await database.sql<{ name: string }[]>`
    select relid::text as name from pg_partition_tree(${table}::regclass)
    where isleaf and relid::text not like '%default' order by 1`;
  return rows.map(({ name }) => name);
}

/** A table like those of the history, with rows in its default partition as after a long stop. */
async function makeTable(name: string, options: { readonly rows: boolean }): Promise<void> {
  await database.sql.unsafe(
    `create table ${name} (at timestamptz not null) partition by range (at);
    create table ${name}_default partition of ${name} default;
    ${options.rows ? `insert into ${name} values (now())` : ""}`,
  ).simple();
}

Deno.test("ensure_weekly_partitions() makes the coming weeks although this week's rows are in the default", async () => {
  await makeTable("late", { rows: true });
  await database.sql`select ensure_weekly_partitions('late', 4)`;
  assert.equal((await partitionsOf("late")).length, 4);
});

Deno.test("ensure_weekly_partitions() may run many times at once", async () => {
  for (const name of ["raced_a", "raced_b", "raced_c"]) {
    await makeTable(name, { rows: false });
    const call = () => database.sql`select ensure_weekly_partitions(${name}, 4)`;
    await Promise.all([call(), call(), call(), call()]);
    assert.equal((await partitionsOf(name)).length, 5);
  }
});
