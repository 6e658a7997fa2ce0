/** The processes of a run, each of which can be killed, paused and started again, and comes back by itself when it dies. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Child, ProcessGroup } from "../support/processes.ts";

export const ROOT = join(import.meta.dirname ?? ".", "..", "..");

/** A process that is there again a moment after it ended, until the run is over. */
export interface Restarted {
  readonly name: string;
  readonly pid: number;
  readonly alive: boolean;
  /** Whether it is alive and says that it works, where it can say so. */
  isReady(): Promise<boolean>;
  /** Kill -9; it comes back after `downMs`. */
  kill(downMs: number): Promise<void>;
  pause(): void;
  resume(): void;
  /** Ends it for good: SIGTERM, and SIGKILL where that does not help. */
  end(): Promise<void>;
}

const UNASKED_DOWN_MS = 1_000;
const END_MS = 15_000;
const READY_MS = 2_000;

export interface RestartedOptions {
  readonly name: string;
  readonly start: () => Promise<Child>;
  /** Where it says that it works. */
  readonly readyUrl?: string;
  /** Told when it ended although nobody had killed it. */
  readonly onDeath: (name: string, tail: string) => void;
}

export async function startRestarted(options: RestartedOptions): Promise<Restarted> {
  const process = new Process(options);
  await process.start();
  return process;
}

class Process implements Restarted {
  readonly name: string;
  readonly #options: RestartedOptions;
  #child: Child | undefined;
  #downMs: number | undefined;
  #over = false;
  #watching: Promise<void> = Promise.resolve();

  constructor(options: RestartedOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get alive(): boolean {
    return this.#child !== undefined;
  }

  async isReady(): Promise<boolean> {
    const { readyUrl } = this.#options;
    if (!this.alive || readyUrl === undefined) return this.alive;
    const signal = AbortSignal.timeout(READY_MS);
    const reply = await fetch(readyUrl, { signal }).catch(() => undefined);
    await reply?.body?.cancel();
    return reply?.ok ?? false;
  }

  async start(): Promise<void> {
    this.#child = await this.#options.start();
    this.#watching = this.#watch(this.#child);
  }

  async #watch(child: Child): Promise<void> {
    await child.status;
    this.#child = undefined;
    if (this.#over) return;
    if (this.#downMs === undefined) {
      // Its last words may come a moment later.
      await child.ended;
      this.#options.onDeath(this.name, child.tail());
    }
    await delay(this.#downMs ?? UNASKED_DOWN_MS);
    this.#downMs = undefined;
    if (!this.#over) await this.start();
  }

  async kill(downMs: number): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#downMs = downMs;
    child.kill("SIGKILL");
    await child.status;
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  async end(): Promise<void> {
    this.#over = true;
    const child = this.#child;
    child?.kill("SIGCONT");
    child?.kill("SIGTERM");
    const timer = setTimeout(() => child?.kill("SIGKILL"), END_MS);
    await child?.ended;
    clearTimeout(timer);
    await this.#watching;
  }
}

/** A program of ours under Deno; its standard output goes to a file, if one is named. */
export function startProgram(
  group: ProcessGroup,
  { flags, args, env, log, onLine }: {
    readonly flags: readonly string[];
    readonly args: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    readonly log?: string;
    readonly onLine?: (line: string) => void;
  },
): Promise<Child> {
  const command = [Deno.execPath(), "run", "--cached-only", "--no-check", ...flags, ...args];
  const [program = "", ...rest] = log === undefined
    ? command
    : ["sh", "-c", `log=$1; shift; exec "$@" >>"$log"`, "sh", log, ...command];
  return group.start({ command: program, args: rest, ...env && { env }, ...onLine && { onLine } });
}
