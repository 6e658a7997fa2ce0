/** `deno task backup --to FILE [--keys FILE]`: works beside a running control plane and without one. */
import { connectDatabase } from "../database/connect.ts";
import { hasCluster } from "../database/data_folder.ts";
import { useEmbeddedPostgres } from "../database/embedded.ts";
import { readExistingKeyFile } from "../keys/key_file.ts";
import { readOrder, runCommand } from "./command.ts";
import { sealKeys } from "./sealed_keys.ts";
import { writeBackup } from "./write_backup.ts";

async function main(): Promise<string> {
  const { file, keys, config: { databaseUrl, dataDir, keyFile } } = await readOrder("to");
  // Starting the embedded PostgreSQL would make one, in a folder that may just be mistyped.
  if (databaseUrl === undefined && !await hasCluster(`${dataDir}/postgres`)) {
    throw new Error(
      `Cannot back up: there is no installation in ROOKERY_DATA="${dataDir}". Name its data folder`,
    );
  }
  if (keys) {
    const sealed = await sealKeys(await readExistingKeyFile(keyFile), keys.passphrase);
    await Deno.writeTextFile(keys.file, `${sealed}\n`, { createNew: true, mode: 0o600 });
  }
  await using embedded = databaseUrl === undefined
    ? await useEmbeddedPostgres({ dataDir })
    : undefined;
  await using database = connectDatabase(databaseUrl ?? embedded?.connection ?? "", {
    poolSize: 1,
  });
  const { createdAt } = await writeBackup(database.sql, file);
  return `${file} holds the database as of ${createdAt}. ` +
    (keys
      ? `Keep ${keys.file} elsewhere, and the passphrase in a third place.`
      : `The keys are not in it: keep a copy of ${keyFile} elsewhere (or use --keys FILE).`);
}

if (import.meta.main) await runCommand(main);
