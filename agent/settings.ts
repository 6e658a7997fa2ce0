import { join } from "node:path";
import { z } from "zod";
import { LocalPolicy } from "./local_policy.ts";
import { ProxySettings } from "./network_settings.ts";
import { sayObject } from "./say_settings.ts";
import { SyslogSettings } from "./syslog/settings.ts";

const SPOOL_SHAPE = {
  maxMegabytes: wholeNumber(1, 1_000_000).default(256),
  maxEntries: wholeNumber(1, 1_000_000).default(10_000),
};

const SHAPE = {
  /** Device sessions at the same time. */
  capacity: wholeNumber(1, 256).default(32),
  /** How long running sessions may go on after SIGTERM. */
  drainSeconds: wholeNumber(0, 3_600).default(120),
  policy: LocalPolicy.prefault({}),
  /** On the way to the control plane; devices are always reached directly. */
  proxy: ProxySettings.optional(),
  /** Certificates of a private CA (PEM), trusted beside the ones that Deno brings. */
  caFile: z.string("must be the name of a file").min(1, "must be the name of a file").optional(),
  /** What may wait on disk for a control plane that is away; when it is full, no more work is taken. */
  spool: z.strictObject(SPOOL_SHAPE, {
    error: (issue) => sayObject(issue, Object.keys(SPOOL_SHAPE)),
  }).prefault({}),
  /** Hears syslog, to tell the control plane of devices that have changed. Absent: nothing listens. */
  syslog: SyslogSettings.optional(),
};

/** The agent's settings file, `settings.json` in its state folder; all of it is optional. */
export const AgentSettings = z.strictObject(SHAPE, {
  error: (issue) => sayObject(issue, Object.keys(SHAPE)),
});
export type AgentSettings = z.infer<typeof AgentSettings>;

/** How many device sessions run at the same time: the least of what the settings and the local policy allow. */
export function sessionLimit({ capacity, policy }: AgentSettings): number {
  return Math.min(capacity, policy.sessions ?? capacity);
}

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
