/**
 * `deno task keys:rotate`: for whoever may run commands on the server. It works beside a running control plane and without
 * one; see `ROTATE_USAGE`.
 */
import { readConfig } from "../config.ts";
import type { ConnectedDatabase } from "../database/connect.ts";
import { openInstallation } from "../database/open_installation.ts";
import { holdingKeys, readCurrentKeys } from "./change_keys.ts";
import { describeKeys } from "./describe_keys.ts";
import { repairKeys } from "./repair_keys.ts";
import { readRotateCommand, ROTATE_USAGE, type RotateCommand } from "./rotate_command.ts";
import { rotateKeys, type RotatePlace } from "./rotate_steps.ts";

async function main(command: RotateCommand): Promise<string> {
  if (command.do === "help") return ROTATE_USAGE.trimEnd();
  const { databaseUrl, dataDir, keyFile } = readConfig(Deno.env.toObject());
  await using database = await openInstallation({ databaseUrl, dataDir }, "Cannot rotate");
  return await holdingKeys(database, () => obey(command, { database, keyFile }));
}

async function obey(
  command: RotateCommand,
  { database: { db }, keyFile: path }: { database: ConnectedDatabase; keyFile: string },
): Promise<string> {
  const { id } = await db.selectFrom("installation").select("id").executeTakeFirstOrThrow();
  const place: RotatePlace = { db, path, issuer: `urn:uuid:${id}` };
  switch (command.do) {
    case "help":
      return ROTATE_USAGE;
    case "status":
      return describeKeys(await readCurrentKeys(place));
    case "repair":
      return await repairKeys(place)
        ? "The database takes the key file as it is. Start the control plane."
        : "There is nothing to repair: the key file is that of this database.";
    default:
      return await rotateKeys(place, command);
  }
}

async function say(stream: typeof Deno.stdout, text: string): Promise<void> {
  await stream.write(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) {
  try {
    await say(Deno.stdout, await main(readRotateCommand(Deno.args)));
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const isUsage = error instanceof Error && error.name === "RotateUsageError";
    await say(Deno.stderr, isUsage ? `${text}\n\n${ROTATE_USAGE.trimEnd()}` : text);
    Deno.exitCode = isUsage ? 2 : 1;
  }
}
