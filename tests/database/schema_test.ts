import assert from "node:assert/strict";
import { testDatabase } from "../support/database.ts";
import { readSchema, type TableColumns, toSnakeCase } from "./read_schema.ts";

const database = testDatabase();

/** Known to `migrate` alone. */
const NOT_IN_SCHEMA = ["migrations"];

/** The TypeScript types that may stand for a type of PostgreSQL; those not listed here may be any text. */
const TYPES: Readonly<Record<string, RegExp>> = {
  timestamptz: /^Temporal\.Instant$/,
  bool: /^boolean$/,
  int2: /^number$/,
  int4: /^number$/,
  float4: /^number$/,
  float8: /^number$/,
  int8: /^string$/,
  numeric: /^string$/,
  xid8: /^string$/,
  jsonb: /^(?!string$|number$|boolean$)/,
  bytea: /^(Uint8Array|Buffer)$/,
};

interface CatalogueRow {
  readonly table: string;
  readonly column: string;
  readonly type: string;
  readonly nullable: boolean;
  readonly generated: boolean;
}

/** Every column of the tables of `public`; a partition is part of its parent. */
async function readCatalogue(): Promise<readonly CatalogueRow[]> {
  return await database.sql<CatalogueRow[]>`
    select c.relname as "table", a.attname as "column", t.typname as "type", not a.attnotnull as "nullable",
      a.atthasdef or a.attidentity <> '' as "generated"
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname <> all(${NOT_IN_SCHEMA})
    order by 1, a.attnum`;
}

function byTable(rows: readonly CatalogueRow[]): TableColumns {
  const tables = Map.groupBy(rows, ({ table }) => table);
  return new Map(
    Array.from(tables, ([table, columns]) => [
      table,
      new Map(columns.map(({ column, nullable, generated }) => [column, { nullable, generated }])),
    ]),
  );
}

async function readSchemaFile() {
  const file = new URL("../../control-plane/database/schema.ts", import.meta.url);
  return readSchema(await Deno.readTextFile(file));
}

/** Sorted lines such as `users.password_hash nullable`: their difference reads well. */
function describe(tables: TableColumns): readonly string[] {
  return Array.from(
    tables,
    ([table, columns]) =>
      Array.from(
        columns,
        ([column, { nullable, generated }]) =>
          `${table}.${column}${nullable ? " nullable" : ""}${generated ? " generated" : ""}`,
      ),
  ).flat()
    .sort();
}

Deno.test("schema.ts has the tables and columns of the migrated database, their nulls and defaults", async () => {
  const { tables } = await readSchemaFile();
  const catalogue = await readCatalogue();
  assert.ok(catalogue.length > 100);
  assert.deepEqual(describe(tables), describe(byTable(catalogue)));
});

Deno.test("schema.ts gives each column the type that postgres.js reads", async () => {
  const { types } = await readSchemaFile();
  const wrong = (await readCatalogue()).flatMap(({ table, column, type }) => {
    const written = types.get(`${table}.${column}`) ?? "nothing";
    return TYPES[type]?.test(written) === false
      ? [`${table}.${column}: ${type} is ${written}`]
      : [];
  });
  assert.deepEqual(wrong, []);
});

Deno.test("readSchema() refuses what it does not understand", () => {
  const database = "export interface Database {\n  things: ThingsTable;\n}\n";
  assert.throws(() => readSchema(database), /no interface ThingsTable/);
  const nested = "export interface ThingsTable {\n  a: { b: string };\n}\n";
  assert.throws(() => readSchema(nested + database), /cannot read the line "a: \{ b: string \};"/i);
  assert.throws(() => readSchema("const a = 1;"), /no interface Database/);
});

Deno.test("toSnakeCase() names columns as kysely does", () => {
  const { sql } = database.db.withTables<{ keyTable: { keySha256: string; aB: string } }>()
    .selectFrom("keyTable").select(["keySha256", "aB"]).compile();
  const [column, other, table] = ["keySha256", "aB", "keyTable"].map(toSnakeCase);
  assert.equal(sql, `select "${column}", "${other}" from "${table}"`);
});
