/** One line of the log. No secret ever goes into one: no query string, no header, no body. */
export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly [field: string]: unknown;
}

export type Log = (line: LogLine) => void;

const GRAVITY: Readonly<Record<LogLine["level"], number>> = { info: 0, warn: 1, error: 2 };

/** A log that leaves out what is less grave than `least` says at that moment. */
export function logAbove(log: Log, least: () => LogLine["level"]): Log {
  return (line) => {
    if (GRAVITY[line.level] >= GRAVITY[least()]) log(line);
  };
}

/** Writes lines as JSON to standard output. */
export function logToStandardOutput(line: LogLine): void {
  const text = JSON.stringify({ at: new Date().toISOString(), ...line });
  Deno.stdout.writeSync(new TextEncoder().encode(text + "\n"));
}

const MOST_CAUSES = 5;

/**
 * What the log tells about an unforeseen error: names, messages, codes and stacks of it and its causes. Other fields
 * are left out because drivers hang parameters of statements on their errors.
 */
export function describeError(error: unknown): Record<string, unknown> {
  const chain: unknown[] = [];
  for (let cause = error; cause !== undefined && chain.length < MOST_CAUSES;) {
    chain.push(describeOne(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  const [first, ...causes] = chain;
  return { error: first, ...(causes.length > 0 ? { causes } : {}) };
}

function describeOne(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = "code" in error ? error.code : undefined;
  return { name: error.name, message: error.message, code, stack: error.stack };
}
