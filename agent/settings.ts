import { join } from "node:path";
import { z } from "zod";
import { LocalPolicy, sayObject } from "./local_policy.ts";

const NAMES = "there are capacity, drainSeconds and policy";

/** The agent's settings file, `settings.json` in its state folder; all of it is optional. */
export const AgentSettings = z.strictObject({
  /** Device sessions at the same time. */
  capacity: wholeNumber(1, 256).default(32),
  /** How long running sessions may go on after SIGTERM. */
  drainSeconds: wholeNumber(0, 3_600).default(120),
  policy: LocalPolicy.prefault({}),
}, { error: (issue) => sayObject(issue, NAMES) });
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
  throw new SettingsError(`Cannot use ${path}: ${parsed.error.issues.map(sentence).join("; ")}.`);
}

function wholeNumber(from: number, to: number) {
  const error = `must be a whole number from ${from} to ${to}`;
  return z.int(error).min(from, error).max(to, error);
}

/** `policy.networks[0] is "10.0.0.0", …`: where it stands, and what is wrong with it. */
function sentence({ path, message }: z.core.$ZodIssue): string {
  const place = path.reduce<string>(
    (text, step) =>
      typeof step === "number" ? `${text}[${step}]` : `${text}${text && "."}${String(step)}`,
    "",
  );
  return `${place || "the file"} ${message}`;
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SettingsError(`Cannot use ${path}: it is no JSON (${(cause as Error).message}).`, {
      cause,
    });
  }
}
