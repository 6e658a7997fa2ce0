/** One line per event: JSON for programs. Fields are names, ids and counts, never secrets or device text. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;
export type Log = (level: "info" | "warn" | "error", event: string, fields?: LogFields) => void;

/** Logs to standard output, one JSON object a line. */
export function jsonLog(write: (line: string) => void = writeLine): Log {
  return (level, event, fields = {}) =>
    write(JSON.stringify({ at: new Date().toISOString(), level, event, ...fields }));
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
