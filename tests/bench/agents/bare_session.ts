/** The dialogue of a backup by a bare ssh2 client: no lease, no policy, no proof of completeness; what a script would do. */
import type { FarmMember } from "../../demo/farm_child.ts";
import type { LoginMethod } from "../../support/farm/login.ts";
import { connectRaw, type RawClient } from "../../support/farm/ssh_client.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";

/** Platforms that it can speak to, and how one logs in there. */
export const BARE_PLATFORMS: Readonly<Record<string, LoginMethod>> = {
  linux: "password",
  frr: "keyboard-interactive",
};

const PROMPT = /[\w.-]+[#>] ?$/;
const READY_MILLISECONDS = 30_000;
const PATIENCE = { milliseconds: 30_000 };

/** Logs in, reads facts and configuration, and leaves; gives how much was read. */
export async function readBare({ host, port, platform, login }: FarmMember): Promise<number> {
  const method = BARE_PLATFORMS[platform];
  if (!method) throw new RangeError(`Cannot speak to ${platform}`);
  const { username, password = "" } = login;
  await using client = await connectRaw(
    { host, port },
    { username, password, methods: [method] },
    { readyMilliseconds: READY_MILLISECONDS },
  );
  return platform === "linux" ? await execAll(client) : await typeAll(client);
}

async function execAll(client: RawClient): Promise<number> {
  let bytes = 0;
  for (const command of commandsOf("linux")) bytes += (await client.exec(command)).stdout.length;
  return bytes;
}

async function typeAll(client: RawClient): Promise<number> {
  const shell = await client.shell();
  await shell.until(PROMPT, PATIENCE);
  for (const command of ["terminal length 0", ...commandsOf("frr")]) {
    shell.send(`${command}\n`);
    await shell.until(PROMPT, PATIENCE);
  }
  shell.send("exit\n");
  return shell.seen.length;
}

function commandsOf(platform: string): readonly string[] {
  const driver = findDriver(platform);
  if (!driver) throw new RangeError(`There is no driver of ${platform}`);
  return [
    ...driver.captures.flatMap(({ commands }) => commands),
    ...driver.facts.map(({ command }) => command),
  ];
}
