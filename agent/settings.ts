import { join } from "node:path";
import { z } from "zod";
import { LocalPolicy } from "./local_policy.ts";

/** The agent's settings file, `settings.json` in its state folder; all of it is optional. */
export const AgentSettings = z.strictObject({
  /** Device sessions at the same time. */
  capacity: z.int().min(1).max(256).default(32),
  /** How long running sessions may go on after SIGTERM. */
  drainSeconds: z.int().min(0).max(3_600).default(120),
  policy: LocalPolicy.prefault({}),
});
export type AgentSettings = z.infer<typeof AgentSettings>;

/** The settings cannot be used; the message names the field. */
export class SettingsError extends Error {
  override name = "SettingsError";
}

/** Reads the settings in a state folder; the defaults when there is no file. */
export async function readSettings(stateFolder: string): Promise<AgentSettings> {
  const path = join(stateFolder, "settings.json");
  const text = await Deno.readTextFile(path).catch((error: unknown) => {
    if (error instanceof Deno.errors.NotFound) return "{}";
    throw error;
  });
  const parsed = AgentSettings.safeParse(parseJson(text, path));
  if (parsed.success) return parsed.data;
  throw new SettingsError(`Cannot use ${path}: ${z.prettifyError(parsed.error)}`);
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SettingsError(`Cannot use ${path}: it is no JSON`, { cause });
  }
}
