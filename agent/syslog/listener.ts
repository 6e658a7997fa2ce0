import { type AgentHint, sendChangeHints } from "@rookery/shared/api/agent_protocol.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Clock } from "../clock.ts";
import type { ControlPlane } from "../control_plane.ts";
import { errorText, type Log } from "../log.ts";
import { retryAfterMs } from "../retry_after.ts";
import { FromSyslogThread, NO_FIGURES, type SyslogFigures } from "./messages.ts";
import { placeOf, type SyslogSettings } from "./settings.ts";
import { startSyslogThread } from "./start_thread.ts";

const SEND_MS = 10_000;
/** Between two calls at least, and after one that failed. */
const PAUSE_MS = { sent: 1_000, failed: 5_000 };
const RETRY_AFTER_SECONDS = { min: 1, max: 60 };
/** A port that is taken, or a thread that ended, is tried again after this. */
const REOPEN_MS = 10_000;
/** So many addresses that fit no device are named in the log. */
const MOST_MISFITS = 100;

export interface SyslogOptions {
  readonly settings: SyslogSettings;
  readonly controlPlane: Pick<ControlPlane, "call">;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** What `status` shows of the listener. */
export interface SyslogStatus extends SyslogFigures {
  readonly place: string;
  readonly listening: boolean;
  /** Hints that the control plane was told. */
  readonly told: number;
  /** Of them, those that fit no device of the agent's sites. */
  readonly unknown: number;
  /** Hints that were given up because the control plane was away or refused them. */
  readonly unheard: number;
}

/**
 * Hears syslog until `signal`, in a thread of its own, and tells the control plane of what seems to have changed. Nothing is
 * kept for later: a hint that does not arrive costs a backup that comes with the next schedule.
 */
export class SyslogListener {
  readonly finished: Promise<void>;
  readonly #options: SyslogOptions;
  #status: SyslogStatus;
  /** Of threads that ended. */
  #before: SyslogFigures = NO_FIGURES;
  #now: SyslogFigures = NO_FIGURES;
  #isAway = false;
  readonly #misfits = new Set<string>();

  constructor(options: SyslogOptions) {
    this.#options = options;
    const counts = { ...NO_FIGURES, told: 0, unknown: 0, unheard: 0 };
    this.#status = { place: placeOf(options.settings), listening: false, ...counts };
    this.finished = this.#run();
  }

  get status(): SyslogStatus {
    return { ...this.#status, ...sum(this.#before, this.#now) };
  }

  async #run(): Promise<void> {
    const { clock, log, signal } = this.#options;
    while (!signal.aborted) {
      const reason = await this.#hear();
      this.#before = sum(this.#before, this.#now);
      this.#now = NO_FIGURES;
      this.#set({ listening: false });
      if (signal.aborted) return;
      log("error", "syslog_not_listening", { place: this.#status.place, reason });
      await clock.sleep(REOPEN_MS, { signal });
    }
  }

  /** One thread, from its start to its end; returns why it ended. */
  async #hear(): Promise<string> {
    const { settings, signal } = this.#options;
    const ended = Promise.withResolvers<string>();
    const worker = startSyslogThread(settings);
    const stop = () => ended.resolve("the agent ends");
    signal.addEventListener("abort", stop, { once: true });
    worker.onerror = (event) => {
      event.preventDefault();
      ended.resolve(`its thread ended: ${event.message}`);
    };
    worker.onmessageerror = () => ended.resolve("its thread said what cannot be read");
    worker.onmessage = ({ data }: MessageEvent<unknown>) => {
      const parsed = FromSyslogThread.safeParse(data);
      if (!parsed.success) return ended.resolve("its thread said what no such thread says");
      void this.#take(parsed.data, { worker, end: ended.resolve });
    };
    worker.postMessage({ type: "listen", settings });
    try {
      return await ended.promise;
    } finally {
      signal.removeEventListener("abort", stop);
      worker.terminate();
    }
  }

  async #take(
    message: FromSyslogThread,
    { worker, end }: { readonly worker: Worker; readonly end: (reason: string) => void },
  ): Promise<void> {
    const { log, settings, signal } = this.#options;
    if (message.type === "deaf") return end(message.reason);
    if (message.type === "listening") {
      this.#set({ listening: true });
      const { udp, tcp, sources } = settings;
      return log("info", "syslog_listening", {
        ...{ place: this.#status.place, udp, tcp },
        sources: sources.join(" "),
      });
    }
    this.#now = message.figures;
    if (message.hints.length > 0) await this.#tell(message.hints);
    if (!signal.aborted) worker.postMessage({ type: "more" });
  }

  async #tell(hints: readonly AgentHint[]): Promise<void> {
    const { clock, controlPlane, signal } = this.#options;
    try {
      const bounded = AbortSignal.any([signal, AbortSignal.timeout(SEND_MS)]);
      const body = { hints: [...hints] };
      const { unknown } = await controlPlane.call(sendChangeHints, { body }, { signal: bounded });
      this.#heard(hints, unknown);
      await clock.sleep(PAUSE_MS.sent, { signal });
    } catch (error) {
      if (signal.aborted) return;
      this.#unheard(hints.length, error);
      const pause = retryAfterMs(error, RETRY_AFTER_SECONDS) ?? PAUSE_MS.failed;
      await clock.sleep(pause, { signal });
    }
  }

  #heard(hints: readonly AgentHint[], unknown: readonly number[]): void {
    const { log } = this.#options;
    if (this.#isAway) log("info", "hints_heard_again", { dropped: this.#status.unheard });
    this.#isAway = false;
    const told = this.#status.told + hints.length;
    this.#set({ told, unknown: this.#status.unknown + unknown.length });
    for (const place of unknown) this.#complainOf(hints[place]?.address);
  }

  /** Which addresses do not fit is what whoever sets this up has to know: each once, and not without end. */
  #complainOf(address: string | undefined): void {
    if (address === undefined || this.#misfits.has(address)) return;
    if (this.#misfits.size === MOST_MISFITS) return;
    this.#misfits.add(address);
    const reason =
      `no device of the agent's sites has the address ${address}, nor the host named in the message`;
    this.#options.log("warn", "hint_of_no_device", { address, reason });
  }

  /** Said once for each time that the control plane is away, and not for each hint. */
  #unheard(hints: number, error: unknown): void {
    const { log } = this.#options;
    this.#set({ unheard: this.#status.unheard + hints });
    if (this.#isAway) return;
    this.#isAway = true;
    const status = error instanceof ProblemError ? error.type : undefined;
    log("warn", "hints_dropped", { hints, status, reason: errorText(error) });
  }

  #set(change: Partial<SyslogStatus>): void {
    this.#status = { ...this.#status, ...change };
  }
}

function sum(one: SyslogFigures, other: SyslogFigures): SyslogFigures {
  return {
    messages: one.messages + other.messages,
    changes: one.changes + other.changes,
    refused: one.refused + other.refused,
    tooMany: one.tooMany + other.tooMany,
    noRoom: one.noRoom + other.noRoom,
  };
}
