/**
 * `deno task audit:verify [--head FILE]`: holds the audit log against its sealed segments, for whoever may run commands on the
 * server. Exit code 1 when it is not as it was sealed.
 */
import { parseArgs } from "node:util";
import { readConfig } from "../config.ts";
import { openInstallation } from "../database/open_installation.ts";
import { loadKeyRing } from "../keys/key_ring.ts";
import { runCommand } from "../run_command.ts";
import { type CheckCursor, checkHistory } from "./check_history.ts";
import type { CheckServices } from "./check_segment.ts";
import { readIssuer } from "./seal_rows.ts";

async function main(): Promise<void> {
  const { values: { head } } = parseArgs({ options: { head: { type: "string" } } });
  const { databaseUrl, dataDir, keyFile } = readConfig(Deno.env.toObject());
  await using database = await openInstallation({ databaseUrl, dataDir }, "Cannot verify");
  const keyRing = await loadKeyRing(keyFile, { create: false });
  const { db } = database;
  const wrong = await verify({ db, keyRing, issuer: await readIssuer(db) }, {
    head: head === undefined ? null : (await Deno.readTextFile(head)).trim(),
    say,
  });
  if (wrong > 0) Deno.exitCode = 1;
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

async function say(text: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) await runCommand(main);
