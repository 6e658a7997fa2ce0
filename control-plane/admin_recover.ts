/**
 * `deno task admin:recover <user name>`: for whoever may run commands on the server and can log in no more. Prints a link
 * that sets a new password; it works beside a running control plane and without one.
 */
import { readConfig } from "./config.ts";
import { openInstallation } from "./database/open_installation.ts";
import { runCommand } from "./run_command.ts";
import { recoverAdministrator } from "./setup/setup_link.ts";

async function main(): Promise<string> {
  const [username] = Deno.args;
  if (username === undefined) {
    throw new Error("Cannot recover: name the administrator (deno task admin:recover <user name>)");
  }
  const { databaseUrl, dataDir, publicUrl } = readConfig(Deno.env.toObject());
  await using database = await openInstallation({ databaseUrl, dataDir }, "Cannot recover");
  const link = await recoverAdministrator(database.db, { username, publicUrl });
  return `Open this link within one hour to set a new password for ${username}:\n${link}`;
}

if (import.meta.main) await runCommand(main);
