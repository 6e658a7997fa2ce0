import type { Sql } from "../database/connect.ts";
import { ArchiveHead, writeArchive } from "./archive.ts";
import { tablesInOrder } from "./tables.ts";

/**
 * Writes a backup of the whole database, as it is at one moment, while everything goes on. `path` appears when it is whole
 * and on the disk; what is there already is left alone, and an Error says so.
 */
export async function writeBackup(sql: Sql, path: string): Promise<ArchiveHead> {
  const draft = `${path}.part`;
  using file = await Deno.open(draft, { write: true, createNew: true, mode: 0o600 })
    .catch((cause) =>
      refuseExisting(draft, cause, " Another backup writes it, or was killed: then remove it.")
    );
  // From here on it is ours, to be removed however this ends; another backup's is not.
  try {
    const head = await sql.begin("isolation level repeatable read read only", async (tx) => {
      const head = await readHead(tx);
      const tables = (await tablesInOrder(tx)).map(({ table, columns }) => ({
        table,
        columns,
        // A partitioned table is no source of COPY; a query of it is.
        rows: () => tx`copy (select ${tx(columns)} from ${tx(table)}) to stdout`.readable(),
      }));
      const bytes = ReadableStream.from(writeArchive(head, tables))
        .pipeThrough(new CompressionStream("gzip"));
      for await (const piece of bytes) await writeAll(file, piece);
      return head;
    });
    await file.sync();
    await Deno.link(draft, path).catch((cause) => refuseExisting(path, cause));
    return head;
  } finally {
    await Deno.remove(draft);
  }
}

function refuseExisting(path: string, cause: unknown, remedy = ""): never {
  if (!(cause instanceof Deno.errors.AlreadyExists)) throw cause;
  throw new Error(`Cannot write ${path}: there is such a file already.${remedy}`, { cause });
}

type Tx = Parameters<typeof tablesInOrder>[0];

async function readHead(tx: Tx): Promise<ArchiveHead> {
  const migrations = await tx<ArchiveHead["migrations"]>`
    select name, sha256 from migrations order by number`;
  const [about] = await tx`select id, incarnation, now() as at from installation`;
  return ArchiveHead.parse({
    format: "rookery-backup",
    version: 1,
    createdAt: String(about?.["at"]),
    installationId: about?.["id"],
    incarnation: about?.["incarnation"],
    migrations: migrations.map(({ name, sha256 }) => ({ name, sha256 })),
  });
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}
