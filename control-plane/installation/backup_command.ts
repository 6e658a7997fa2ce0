/** `deno task backup --to FILE [--keys FILE]`: works beside a running control plane and without one. */
import { openInstallation } from "../database/open_installation.ts";
import { readExistingKeyFile } from "../keys/key_file.ts";
import { runCommand } from "../run_command.ts";
import { readOrder } from "./command.ts";
import { sealKeys } from "./sealed_keys.ts";
import { writeBackup } from "./write_backup.ts";

async function main(): Promise<string> {
  const { file, keys, config: { databaseUrl, dataDir, keyFile } } = await readOrder("to");
  if (keys) {
    const sealed = await sealKeys(await readExistingKeyFile(keyFile), keys.passphrase);
    await Deno.writeTextFile(keys.file, `${sealed}\n`, { createNew: true, mode: 0o600 });
  }
  await using database = await openInstallation({ databaseUrl, dataDir }, "Cannot back up");
  const { createdAt } = await writeBackup(database.sql, file);
  return `${file} holds the database as of ${createdAt}. ` +
    (keys
      ? `Keep ${keys.file} elsewhere, and the passphrase in a third place.`
      : `The keys are not in it: keep a copy of ${keyFile} elsewhere (or use --keys FILE).`);
}

if (import.meta.main) await runCommand(main);
