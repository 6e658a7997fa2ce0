/**
 * `deno task audit:verify [--head FILE]`: holds the audit log against its sealed segments, for whoever may run commands on the
 * server. Exit code 1 when it is not as it was sealed.
 */
import { parseArgs } from "node:util";
import { readConfig } from "../config.ts";
import { connectDatabase } from "../database/connect.ts";
import { hasCluster } from "../database/data_folder.ts";
import { useEmbeddedPostgres } from "../database/embedded.ts";
import { loadKeyRing } from "../keys/key_ring.ts";
import { type CheckCursor, checkHistory } from "./check_history.ts";
import type { CheckServices } from "./check_segment.ts";
import { readIssuer } from "./seal_rows.ts";

async function main(): Promise<number> {
  const { values: { head } } = parseArgs({ options: { head: { type: "string" } } });
  const { databaseUrl, dataDir, keyFile } = readConfig(Deno.env.toObject());
  // Starting the embedded PostgreSQL would make one, in a folder that may just be mistyped.
  if (databaseUrl === undefined && !await hasCluster(`${dataDir}/postgres`)) {
    throw new Error(
      `Cannot verify: there is no installation in ROOKERY_DATA="${dataDir}". Name its data folder`,
    );
  }
  await using embedded = databaseUrl === undefined
    ? await useEmbeddedPostgres({ dataDir })
    : undefined;
  await using database = connectDatabase(databaseUrl ?? embedded?.connection ?? "", {
    poolSize: 1,
  });
  const keyRing = await loadKeyRing(keyFile, { create: false });
  const { db } = database;
  return await verify({ db, keyRing, issuer: await readIssuer(db) }, {
    head: head === undefined ? null : (await Deno.readTextFile(head)).trim(),
    say: (line) => say(Deno.stdout, line),
  });
}

/** Says all that is wrong, line by line; returns how many things are. */
export async function verify(
  services: CheckServices,
  { head, say }: {
    readonly head: string | null;
    readonly say: (line: string) => Promise<void> | void;
  },
): Promise<number> {
  let cursor: CheckCursor | undefined = { head };
  let [rows, wrong] = [0, 0];
  while (cursor) {
    const checked = await checkHistory(services, cursor);
    ({ cursor, wrong } = checked);
    rows += checked.rows;
    for (const line of [...checked.found, ...checked.notes]) await say(line);
  }
  await say(
    wrong === 0
      ? `${rows} sealed rows are as they were sealed`
      : `NOT as it was sealed, at ${wrong} places`,
  );
  return wrong;
}

async function say(stream: typeof Deno.stdout, text: string): Promise<void> {
  await stream.write(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main() === 0 ? 0 : 1;
  } catch (error) {
    await say(Deno.stderr, error instanceof Error ? error.message : String(error));
    Deno.exitCode = 1;
  }
}
