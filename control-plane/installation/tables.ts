import type { TransactionSql } from "postgres";
import type { ArchivedTable } from "./archive.ts";

type Tx = TransactionSql<Record<string, unknown>>;

/**
 * What is not kept: `migrations` is written by migrating, and of the outbox no reader goes on behind a restore, since a
 * restored database counts its transactions anew.
 */
const LEFT_OUT = ["migrations", "outbox", "outbox_floor"];

/** Every table that a backup holds, after all that it refers to, with the columns that can be written. */
export async function tablesInOrder(tx: Tx): Promise<readonly ArchivedTable[]> {
  const tables = await tx<{ table: string; columns: string[]; needs: string[] }[]>`
    select c.relname as "table",
      array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
        and not a.attisdropped and a.attgenerated = '' order by a.attnum) as columns,
      array(select distinct f.confrelid::regclass::text from pg_constraint f where f.conrelid = c.oid
        and f.contype = 'f' and f.confrelid <> c.oid) as needs
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
      and not c.relispartition and c.relname <> all(${LEFT_OUT})
    order by c.relname`;
  const ordered: ArchivedTable[] = [];
  const there = new Set<string>();
  while (ordered.length < tables.length) {
    const next = tables.filter(({ table, needs }) =>
      !there.has(table) && needs.every((need) => there.has(need))
    );
    if (next.length === 0) throw new Error("Cannot order the tables: they refer to each other");
    for (const { table, columns } of next) {
      there.add(table);
      ordered.push({ table, columns });
    }
  }
  return ordered;
}
