/** Child processes that never outlive us: ended one by one, all at once, or, if we are killed, by a watchdog. */
import { TextLineStream } from "./farm/text_lines.ts";

/** An agent that is asked to end lets its sessions finish; asked twice, it ends at once. */
const INSIST_MS = 2_000;
const GRACE_MS = 15_000;

/**
 * Reads the process ids to guard; when our end of the pipe closes, also because of a kill -9, it ends them
 * and removes the folder. A session of its own, so that Ctrl-C does not reach it before it reached us.
 */
const WATCHDOG = `
pids=""
while read -r word pid; do
  case "$word" in
    guard) pids="$pids $pid" ;;
    done) exit 0 ;;
  esac
done
kill -TERM $pids 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $pids 2>/dev/null || break; sleep 0.5; done
kill -KILL $pids 2>/dev/null
rm -rf -- "$1"
`;

export interface StartOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Gets each line of standard output and standard error. */
  readonly onLine?: (line: string) => void;
}

/** A running child. */
export interface Child {
  readonly pid: number;
  readonly status: Promise<Deno.CommandStatus>;
  /** The process is gone and all it printed was read; that may come after `status`. */
  readonly ended: Promise<void>;
  /** Writes one line to its standard input. */
  send(line: string): Promise<void>;
  kill(signal: Deno.Signal): void;
  /** The newest lines it printed, for error messages. */
  tail(): string;
}

/** The children of one run and the folder they share. */
export class ProcessGroup implements AsyncDisposable {
  readonly folder: string;
  readonly #children = new Set<Running>();
  readonly #watchdog: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;

  private constructor(folder: string, watchdog: Deno.ChildProcess) {
    this.folder = folder;
    this.#watchdog = watchdog;
    this.#orders = watchdog.stdin.getWriter();
  }

  /** Makes a private temporary folder, and the watchdog over it. */
  static async create(prefix: string): Promise<ProcessGroup> {
    const folder = await Deno.makeTempDir({ prefix });
    const watchdog = new Deno.Command("sh", {
      args: ["-c", WATCHDOG, "sh", folder],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
      detached: true,
    }).spawn();
    return new ProcessGroup(folder, watchdog);
  }

  async start(options: StartOptions): Promise<Child> {
    const child = new Running(options);
    await this.#tell(`guard ${child.pid}`);
    this.#children.add(child);
    child.status.then(() => this.#children.delete(child));
    return child;
  }

  /** Ends every child, politely first, and removes the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    const children = [...this.#children];
    for (const child of children) child.kill("SIGTERM");
    const insist = (signal: Deno.Signal) => children.forEach((child) => child.kill(signal));
    const timers = [
      setTimeout(() => insist("SIGTERM"), INSIST_MS),
      setTimeout(() => insist("SIGKILL"), GRACE_MS),
    ];
    await Promise.all(children.map((child) => child.ended));
    timers.forEach(clearTimeout);
    await Deno.remove(this.folder, { recursive: true });
    await this.#tell("done 0");
    await this.#orders.close();
    await this.#watchdog.status;
  }

  async #tell(line: string): Promise<void> {
    await this.#orders.write(new TextEncoder().encode(`${line}\n`));
  }
}

const TAIL_LINES = 30;

class Running implements Child {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: string[] = [];
  readonly ended: Promise<void>;

  constructor({ command, args, env, onLine }: StartOptions) {
    this.#process = new Deno.Command(command, {
      args: [...args],
      env: { NO_COLOR: "1", ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    const note = (line: string) => {
      this.#lines.push(line);
      if (this.#lines.length > TAIL_LINES) this.#lines.shift();
      onLine?.(line);
    };
    const { stdout, stderr, status } = this.#process;
    this.ended = Promise.all([readLines(stdout, note), readLines(stderr, note), status])
      .then(() => this.#input.close().catch(() => {}));
  }

  get pid(): number {
    return this.#process.pid;
  }

  get status(): Promise<Deno.CommandStatus> {
    return this.#process.status;
  }

  async send(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  kill(signal: Deno.Signal): void {
    try {
      this.#process.kill(signal);
    } catch (error) {
      // Gone already, which is what was wanted.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  tail(): string {
    return this.#lines.join("\n");
  }
}

async function readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  note: (line: string) => void,
) {
  const lines = stream.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
  for await (const line of lines) note(line);
}
