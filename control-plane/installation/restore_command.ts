/** `deno task restore --from FILE [--keys FILE]`: fills an empty database, while no control plane runs on it. */
import { dirname } from "node:path";
import { migrate } from "../database/migrate.ts";
import { openPlace } from "../database/open_installation.ts";
import { type KeyFile, KeyFileError, readExistingKeyFile } from "../keys/key_file.ts";
import { openKeyRing } from "../keys/key_ring.ts";
import { flushFolder, writeDraft } from "../keys/write_key_file.ts";
import { runCommand } from "../run_command.ts";
import { type Order, readOrder } from "./command.ts";
import { restoreBackup } from "./restore_backup.ts";
import { openKeys } from "./sealed_keys.ts";

async function main(): Promise<string> {
  const order = await readOrder("from");
  const { databaseUrl, dataDir, keyFile } = order.config;
  const keys = await readKeys(order);
  const { fingerprints: { derivation } } = await openKeyRing(keys);
  await using database = await openPlace({ databaseUrl, dataDir });
  await using draft = order.keys && await draftKeys(keyFile, keys);
  const { head, incarnation } = await restoreBackup(database, order.file, {
    check: (fingerprints) => refuseOtherKeys(fingerprints, derivation),
  });
  await draft?.keep();
  await migrate(database.sql);
  return `The database is as of ${head.createdAt}; incarnation ${incarnation} begins. Start the control plane. What was ` +
    "decided since is not in it: revoke again what was revoked, agents and API tokens among it.";
}

/** From the sealed file, or the key file that is in its place already. */
async function readKeys({ keys, config: { keyFile } }: Order): Promise<KeyFile> {
  if (!keys) return await readExistingKeyFile(keyFile);
  if (await Deno.stat(keyFile).then(() => true, () => false)) {
    throw new KeyFileError(
      `Cannot restore the keys: there is a key file ${keyFile}. Restore without --keys to use it, or move it away`,
    );
  }
  return await openKeys((await Deno.readTextFile(keys.file)).trim(), keys.passphrase);
}

/** With the keys of another installation nothing that is sealed would ever open. */
export function refuseOtherKeys(fingerprints: unknown, derivation: string): void {
  const own =
    typeof fingerprints === "object" && fingerprints !== null && "derivation" in fingerprints
      ? fingerprints.derivation
      : derivation;
  if (own === derivation) return;
  throw new KeyFileError("Cannot restore: the keys are those of another installation");
}

/** Written before the database is filled, so that what fails for want of a folder or of space fails first. */
async function draftKeys(path: string, keys: KeyFile) {
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = await writeDraft(path, keys);
  return {
    async keep(): Promise<void> {
      await Deno.link(draft, path);
      await flushFolder(path);
    },
    [Symbol.asyncDispose]: () => Deno.remove(draft),
  };
}

if (import.meta.main) await runCommand(main);
