import { basename, dirname, join } from "node:path";
import type { Kysely } from "kysely";
import type { TaskKind } from "@rookery/shared/api/tasks.ts";
import type { ConnectedDatabase } from "../database/connect.ts";
import type { Database } from "../database/schema.ts";
import { KeyFileError, readExistingKeyFile } from "./key_file.ts";
import type { KeyFile } from "./key_file_schema.ts";
import { openKeyRing } from "./key_ring.ts";
import { announceKeys, type PendingKeys } from "./pending_keys.ts";
import type { Step } from "./rotation.ts";
import { assertSameKeys, settleKeys } from "./same_keys.ts";
import { replaceKeyFile } from "./write_key_file.ts";

/** "rookery keys", as a number: one tool at a time changes them. */
const LOCK = "7921110107101";

/** What is done, and what follows when the keys are in force. */
export interface KeyChange {
  readonly action: string;
  readonly task?: TaskKind;
  readonly step: (file: KeyFile) => Step | Promise<Step>;
}

/** Where the keys are, and the installation they belong to. */
export interface KeyPlace {
  readonly db: Kysely<Database>;
  readonly path: string;
}

/** Keeps every other `keys:rotate` of this installation out while `run` runs. */
export async function holdingKeys<Value>(
  { sql }: Pick<ConnectedDatabase, "sql">,
  run: () => Promise<Value>,
): Promise<Value> {
  const connection = await sql.reserve();
  try {
    const [row] = await connection<{ got: boolean }[]>`select pg_try_advisory_lock(${LOCK}) as got`;
    if (!row?.got) {
      throw new KeyFileError("Refused: another keys:rotate runs. Wait until it has ended.");
    }
    try {
      return await run();
    } finally {
      await connection`select pg_advisory_unlock(${LOCK})`;
    }
  } finally {
    connection.release();
  }
}

/** Reads the key file, ends a rotation that was cut short, and refuses a file that is not the installation's. */
export async function readCurrentKeys({ db, path }: KeyPlace): Promise<KeyFile> {
  const file = await readExistingKeyFile(path);
  await assertSameKeys(db, await openKeyRing(file));
  return file;
}

/**
 * Changes the keys of an installation: announces the new ones in the database, replaces the file, puts them in force. A
 * crash at any place leaves either the old keys or the new ones, see `pending_keys.ts`.
 */
export async function changeKeys(place: KeyPlace, change: KeyChange): Promise<Step> {
  const before = await readCurrentKeys(place);
  const step = await change.step(before);
  if (step.file === before) return step;
  await announceStep(place.db, { step, change });
  await writeStep(place.path, step);
  const difference = await settleKeys(place.db, await openKeyRing(step.file));
  if (difference !== undefined) throw new KeyFileError(`Cannot use the new keys: ${difference}`);
  return step;
}

export async function announceStep(
  db: Kysely<Database>,
  { step, change }: { readonly step: Step; readonly change: Omit<KeyChange, "step"> },
): Promise<void> {
  const { fingerprints, generation } = await openKeyRing(step.file);
  const pending: PendingKeys = {
    generation,
    fingerprints,
    audit: { action: change.action, detail: { key: step.key, generation } },
    ...(change.task ? { task: change.task } : {}),
  };
  await announceKeys(db, pending);
}

async function writeStep(path: string, { file }: Step): Promise<void> {
  try {
    await removeDrafts(path);
    await replaceKeyFile(path, file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KeyFileError(
      `Cannot write the key file ${path}: ${reason}. Nothing was changed. Its folder must be writable, and it must be ` +
        "no single-file mount.",
      { cause },
    );
  }
}

/** A tool that was killed may have left one, with private keys in it. */
async function removeDrafts(path: string): Promise<void> {
  const target = await Deno.realPath(path);
  for await (const { name } of Deno.readDir(dirname(target))) {
    const isDraft = name.startsWith(`${basename(target)}.`) && /\.[0-9a-f-]{36}\.new$/.test(name);
    if (isDraft) await Deno.remove(join(dirname(target), name));
  }
}
