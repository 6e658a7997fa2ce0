/** One line per event: JSON for programs. Fields are names, ids and counts, never secrets or device text. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
export type LogLevel = "info" | "warn" | "error";
export type Log = (level: LogLevel, event: string, fields?: LogFields) => void;

export const LOG_LEVELS = ["info", "warn", "error"] as const;

/** Logs to standard output, one JSON object a line. */
export function jsonLog(write: (line: string) => void = writeLine): Log {
  return (level, event, fields = {}) =>
    write(JSON.stringify({ at: new Date().toISOString(), level, event, ...fields }));
}

/** Logs to standard output for people: `2026-11-26 08:15:02Z warn  claim_failed failures=2 reason="…"`. */
export function textLog(write: (line: string) => void = writeLine): Log {
  return (level, event, fields = {}) => {
    const at = new Date().toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z");
    const rest = Object.entries(fields).filter(([, value]) => value !== undefined)
      .map(([name, value]) => ` ${name}=${worded(value)}`).join("");
    write(`${at} ${level.padEnd(5)} ${event}${rest}`);
  };
}

/** Lets events of this level and above through. */
export function fromLevel(lowest: LogLevel, log: Log): Log {
  const from = LOG_LEVELS.indexOf(lowest);
  return (level, event, fields) => {
    if (LOG_LEVELS.indexOf(level) >= from) log(level, event, fields);
  };
}

/** Quoted where it could be taken for more than one word, so that no value makes a second line. */
function worded(value: LogFields[string]): string {
  const text = String(value);
  return /^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text);
}

const encoder = new TextEncoder();

function writeLine(line: string): void {
  try {
    Deno.stdout.writeSync(encoder.encode(`${line}\n`));
  } catch {
    // Its reader left, or the disk is full: no reason to leave devices without backups.
  }
}

/** What an error says, with the causes behind it. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : ` (${errorText(error.cause)})`;
  return `${error.message}${cause}`.slice(0, 1_000);
}
