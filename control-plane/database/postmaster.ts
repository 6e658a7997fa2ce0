import { TextLines } from "./text_lines.ts";

/** One run of the PostgreSQL server process. */
export interface Postmaster {
  /** Settles when it has ended, however it ended, with what it said last. */
  readonly ended: Promise<string>;
  /** Lets PostgreSQL end its sessions and write its checkpoint; settles when it is gone. */
  stop(): Promise<void>;
}

/** How to run PostgreSQL. */
export interface PostmasterOptions {
  /** The command line of `postgres`, with what keeps it from being root. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly socketDir: string;
  readonly signal?: AbortSignal | undefined;
  readonly log: (line: string) => void;
}

/**
 * Stands between Rookery and PostgreSQL, in a session of its own (so that Ctrl-C reaches Rookery alone, which still needs
 * the database while it drains), and lives as long as PostgreSQL does. Its standard input is a pipe that the kernel
 * closes when Rookery ends, even by kill -9: then PostgreSQL is shut down and the socket's folder removed. When PostgreSQL
 * dies by itself the folder stays, for the next start. The mark that it closes bears its own number: what is left of a
 * killed predecessor may still write one, and must not make this one remove the folder.
 */
const SUPERVISOR = `
trap '' INT TERM HUP
exec 3<&0 </dev/null
run=$1; shift
closing=$run/closing.$$
rm -f -- "$closing"
"$@" 3<&- &
pg=$!
{ read -r _ <&3; : >"$closing"; kill -INT $pg; } >/dev/null 2>&1 &
watch=$!
wait $pg; code=$?
kill -KILL $watch 2>/dev/null
[ -e "$closing" ] && rm -rf -- "$run"
exit $code
`;

/** The same words at every start and in every version; the language is fixed by LC_ALL=C. */
const READY = "database system is ready to accept connections";

/** Starts PostgreSQL and waits until it accepts connections. */
export async function startPostmaster(options: PostmasterOptions): Promise<Postmaster> {
  options.signal?.throwIfAborted();
  const child = new Deno.Command("sh", {
    args: ["-c", SUPERVISOR, "sh", options.socketDir, ...options.command],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
    detached: true,
    clearEnv: true,
    env: options.env,
  }).spawn();
  const ready = Promise.withResolvers<void>();
  const ended = follow(child, (line) => {
    options.log(line);
    if (line.includes(READY)) ready.resolve();
  });
  const stop = () => closeInput(child).then(() => ended).then(() => {});
  const failed = ended.then((last) => Promise.reject(new Error(`PostgreSQL ended: ${last}`)));
  // Once the server is ready nobody waits for this one any more.
  failed.catch(() => {});
  await orAborted(Promise.race([ready.promise, failed]), options.signal).catch(async (error) => {
    await stop();
    throw error;
  });
  return { ended, stop };
}

/** Reads all that a process says, and then its end. */
async function follow(child: Deno.ChildProcess, onLine: (line: string) => void): Promise<string> {
  const last: string[] = [];
  for await (const line of child.stderr.pipeThrough(new TextLines())) {
    last.push(line);
    if (last.length > 8) last.shift();
    // What was said at the start explains no later death.
    if (line.includes(READY)) last.length = 0;
    onLine(line);
  }
  const { code } = await child.status;
  await closeInput(child);
  return last.join(" | ") || `exit code ${code}`;
}

async function closeInput(child: Deno.ChildProcess): Promise<void> {
  // It is closed already when the process ended by itself.
  await child.stdin.close().catch(() => {});
}

/** `promise`, or the reason of the signal when that comes first. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await promise;
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  if (signal.aborted) abort();
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
    aborted.promise.catch(() => {});
  }
}
