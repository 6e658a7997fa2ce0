/**
 * `deno task admin:recover <user name>`: for whoever may run commands on the server and can log in no more. Prints a link
 * that sets a new password; it works beside a running control plane and without one.
 */
import { readConfig } from "./config.ts";
import { connectDatabase } from "./database/connect.ts";
import { hasCluster } from "./database/data_folder.ts";
import { useEmbeddedPostgres } from "./database/embedded.ts";
import { recoverAdministrator } from "./setup/setup_link.ts";

async function main(): Promise<void> {
  const [username] = Deno.args;
  if (username === undefined) {
    throw new Error("Cannot recover: name the administrator (deno task admin:recover <user name>)");
  }
  const { databaseUrl, dataDir, publicUrl } = readConfig(Deno.env.toObject());
  // Starting the embedded PostgreSQL would make one, in a folder that may just be mistyped.
  if (databaseUrl === undefined && !await hasCluster(`${dataDir}/postgres`)) {
    throw new Error(
      `Cannot recover: there is no installation in ROOKERY_DATA="${dataDir}". Name its data folder`,
    );
  }
  await using embedded = databaseUrl === undefined
    ? await useEmbeddedPostgres({ dataDir })
    : undefined;
  await using database = connectDatabase(databaseUrl ?? embedded?.connection ?? "", {
    poolSize: 1,
  });
  const link = await recoverAdministrator(database.db, { username, publicUrl });
  await say(`Open this link within one hour to set a new password for ${username}:\n${link}`);
}

async function say(text: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    await Deno.stderr.write(new TextEncoder().encode(`${text}\n`));
    Deno.exitCode = 1;
  }
}
