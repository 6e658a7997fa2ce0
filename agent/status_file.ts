import { join } from "node:path";
import { z } from "zod";
import type { Send } from "./control_plane.ts";
import type { Log } from "./log.ts";
import type { SyslogStatus } from "./syslog/listener.ts";
import { AGENT_VERSION } from "./version.ts";

const FILE = "status.json";
const WRITE_MS = 3_000;
const MAX_ERRORS = 5;

const Noticed = z.object({ at: z.string(), event: z.string(), reason: z.string() });

/** What a running agent says of itself, for `status`; no secret is in it. */
export const StatusFile = z.object({
  pid: z.int(),
  version: z.string(),
  startedAt: z.string(),
  writtenAt: z.string(),
  /** When the session of this boot was opened; null before. */
  sessionSince: z.string().nullable(),
  heartbeatAnsweredAt: z.string().nullable(),
  capacity: z.int(),
  /** Devices that are being spoken to. */
  sessions: z.int(),
  /** `full` says why nothing is claimed, where that is so. */
  spool: z.object({ entries: z.int(), bytes: z.int(), full: z.string().nullable() }),
  /** How far this machine's clock is ahead of the control plane's, in whole seconds. */
  clockAheadSeconds: z.number().nullable(),
  /** The syslog listener; null where there is none. */
  syslog: z.object({
    place: z.string(),
    listening: z.boolean(),
    messages: z.int(),
    changes: z.int(),
    refused: z.int(),
    tooMany: z.int(),
    noRoom: z.int(),
    told: z.int(),
    unknown: z.int(),
    unheard: z.int(),
  }).nullable().default(null),
  /** The newest warnings and errors, newest first. */
  lastErrors: z.array(Noticed),
});
export type StatusFile = z.infer<typeof StatusFile>;

/** What only the agent knows. */
export interface AgentFigures {
  readonly sessions: number;
  readonly spool: {
    readonly entries: number;
    readonly bytes: number;
    readonly full?: string | undefined;
  };
  readonly syslog?: SyslogStatus | undefined;
}

/** Reads what the agent that runs, or ran, from this folder wrote; undefined when there is nothing to read. */
export async function readStatusFile(stateFolder: string): Promise<StatusFile | undefined> {
  try {
    return StatusFile.parse(JSON.parse(await Deno.readTextFile(join(stateFolder, FILE))));
  } catch {
    return undefined;
  }
}

/**
 * Notes what goes by on the wire and in the log, and writes it to the state folder every few seconds. A status that cannot
 * be written is no reason to stop: the log says so once.
 */
export class StatusKeeper implements AsyncDisposable {
  readonly #folder: string;
  readonly #log: Log;
  readonly #figures: () => AgentFigures;
  readonly #timer: ReturnType<typeof setInterval>;
  #status: StatusFile;
  #writing: Promise<void> = Promise.resolve();
  #complained = false;

  constructor(options: {
    readonly stateFolder: string;
    readonly capacity: number;
    readonly figures: () => AgentFigures;
    readonly log: Log;
  }) {
    this.#folder = options.stateFolder;
    this.#log = options.log;
    this.#figures = options.figures;
    this.#status = {
      pid: Deno.pid,
      version: AGENT_VERSION,
      startedAt: now(),
      writtenAt: now(),
      sessionSince: null,
      heartbeatAnsweredAt: null,
      capacity: options.capacity,
      sessions: 0,
      spool: { entries: 0, bytes: 0, full: null },
      clockAheadSeconds: null,
      syslog: null,
      lastErrors: [],
    };
    this.#timer = setInterval(() => this.#write(), WRITE_MS);
    this.#write();
  }

  /** The same log, listened to. */
  readonly log: Log = (level, event, fields) => {
    this.#log(level, event, fields);
    if (level === "info") return;
    const noticed = { at: now(), event, reason: String(fields?.reason ?? "") };
    const lastErrors = [noticed, ...this.#status.lastErrors].slice(0, MAX_ERRORS);
    this.#status = { ...this.#status, lastErrors };
  };

  /** The same wire, listened to. */
  listen(send: Send): Send {
    return async (request) => {
      const response = await send(request);
      this.#hear(new URL(request.url).pathname, response);
      return response;
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#write();
    await this.#writing;
  }

  #hear(path: string, response: Response): void {
    const date = Date.parse(response.headers.get("date") ?? "");
    if (!Number.isNaN(date)) {
      this.#status.clockAheadSeconds = Math.round((Date.now() - date) / 1_000);
    }
    if (!response.ok) return;
    if (path.endsWith("/session")) this.#status.sessionSince ??= now();
    if (path.endsWith("/heartbeat")) this.#status.heartbeatAnsweredAt = now();
  }

  #write(): void {
    const { sessions, spool, syslog = null } = this.#figures();
    const full = spool.full ?? null;
    const figures = { sessions, spool: { ...spool, full }, syslog };
    this.#status = { ...this.#status, writtenAt: now(), ...figures };
    const text = `${JSON.stringify(this.#status, null, 2)}\n`;
    // One after the other, each whole: a reader sees the one or the other.
    this.#writing = this.#writing.then(() => this.#replace(text));
  }

  async #replace(text: string): Promise<void> {
    const target = join(this.#folder, FILE);
    try {
      await Deno.writeTextFile(`${target}.new`, text, { mode: 0o600 });
      await Deno.rename(`${target}.new`, target);
    } catch (error) {
      if (!this.#complained) {
        this.#log("warn", "status_not_written", { reason: (error as Error).message });
      }
      this.#complained = true;
    }
  }
}

function now(): string {
  return new Date().toISOString();
}
