import assert from "node:assert/strict";
import { sql as fragment } from "kysely";
import { inTransaction, withRetry } from "../../control-plane/database/transaction.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase({ empty: true });

/** Lets both sides of a race arrive before either goes on; later rounds pass at once. */
function meeting(): () => Promise<void> {
  const both = Promise.withResolvers<void>();
  let arrived = 0;
  return () => {
    if (++arrived === 2) both.resolve();
    return both.promise;
  };
}

async function makeAccounts(table: string): Promise<void> {
  await database.sql.unsafe(
    `create table ${table} (id integer primary key, x integer not null); insert into ${table} values (1, 0), (2, 0)`,
  ).simple();
}

async function valuesOf(table: string): Promise<readonly number[]> {
  const rows = await database.sql<{ x: number }[]>`select x from ${
    database.sql(table)
  } order by id`;
  return rows.map(({ x }) => x);
}

Deno.test("inTransaction() runs again after a serialization failure, and no increment is lost", async () => {
  await makeAccounts("serial");
  const meet = meeting();
  let runs = 0;
  const increment = () =>
    inTransaction(database.db, async (tx) => {
      runs++;
      const { rows } = await fragment<{ x: number }>`select x from serial where id = 1`.execute(tx);
      await meet();
      const x = (rows[0]?.x ?? NaN) + 1;
      await fragment`update serial set x = ${x} where id = 1`.execute(tx);
    }, { isolation: "serializable" });
  await Promise.all([increment(), increment()]);
  assert.deepEqual(await valuesOf("serial"), [2, 0]);
  assert.equal(runs, 3);
});

Deno.test("inTransaction() runs again after a deadlock, and both transfers happen", async () => {
  await makeAccounts("crossed");
  const meet = meeting();
  let runs = 0;
  const transfer = (from: number, to: number) =>
    inTransaction(database.db, async (tx) => {
      runs++;
      await fragment`update crossed set x = x - 1 where id = ${from}`.execute(tx);
      await meet();
      await fragment`update crossed set x = x + 1 where id = ${to}`.execute(tx);
    });
  await Promise.all([transfer(1, 2), transfer(2, 1)]);
  assert.deepEqual(await valuesOf("crossed"), [0, 0]);
  // The victim may come back while the winner is still busy, and then they can cross once more.
  assert.ok(runs >= 3, `${runs} runs`);
});

Deno.test("inTransaction() gets over a plan that a migration made stale", async () => {
  await makeAccounts("moved");
  const { sql, db } = database;
  const readAll = () =>
    inTransaction(db, (tx) => fragment<object>`select * from moved order by id`.execute(tx));
  // Every connection of the pool must know the statement before the table changes.
  const known = meeting();
  await Promise.all([1, 2].map(() =>
    inTransaction(db, async (tx) => {
      await known();
      await fragment<object>`select * from moved order by id`.execute(tx);
    })
  ));
  await sql`alter table moved add y text not null default 'new'`;
  for (let i = 0; i < 4; i++) {
    const { rows } = await readAll();
    assert.deepEqual(rows[0], { id: 1, x: 0, y: "new" });
  }
});

Deno.test("withRetry() does not repeat other errors, not even what PostgreSQL cannot do", async () => {
  const { sql } = database;
  let runs = 0;
  const counted = (statement: string) =>
    withRetry(() => {
      runs++;
      return sql.unsafe(statement);
    });
  await makeAccounts("single");
  await assert.rejects(counted("insert into single values (1, 1)"), { code: "23505" });
  await assert.rejects(counted("select * from single for update of nothing"), { code: "42P01" });
  await assert.rejects(
    counted("create table t (x integer) inherits (pg_class) tablespace pg_global"),
  );
  await assert.rejects(counted("select distinct x from single for update"), { code: "0A000" });
  assert.equal(runs, 4);
});

Deno.test("withRetry() gives up after its attempts, and when its signal says so", async () => {
  const { sql } = database;
  let runs = 0;
  const failing = () => {
    runs++;
    return sql`do $$ begin raise exception using errcode = '40001'; end $$`;
  };
  await assert.rejects(withRetry(failing, { attempts: 3 }), { code: "40001" });
  assert.equal(runs, 3);
  const reason = new Error("enough");
  await assert.rejects(withRetry(failing, { signal: AbortSignal.abort(reason) }), reason);
  assert.equal(runs, 3);
});

Deno.test("inTransaction() rolls back when its function throws", async () => {
  await makeAccounts("undone");
  const reason = new Error("no");
  await assert.rejects(
    inTransaction(database.db, async (tx) => {
      await fragment`update undone set x = 9`.execute(tx);
      throw reason;
    }),
    reason,
  );
  assert.deepEqual(await valuesOf("undone"), [0, 0]);
});

Deno.test("inTransaction() fails when a statement had failed, although its error was caught", async () => {
  await makeAccounts("caught");
  const transaction = inTransaction(database.db, async (tx) => {
    await fragment`update caught set x = 9`.execute(tx);
    await fragment`insert into caught values (1, 1)`.execute(tx).catch(() => {});
  });
  await assert.rejects(transaction, /^Error: Cannot commit/);
  assert.deepEqual(await valuesOf("caught"), [0, 0]);
});
