import { isIPv4 } from "node:net";
import type { AgentHint } from "@rookery/shared/api/agent_protocol.ts";
import { compileSources } from "./allowed_sources.ts";
import { findChange } from "./find_change.ts";
import type { SyslogFigures } from "./messages.ts";
import { NO_FIGURES } from "./messages.ts";
import { parseMessage } from "./parse_message.ts";
import type { SyslogSettings } from "./settings.ts";

/** Bounds what sources can make us remember; who was heard longest ago is forgotten first. */
const MOST_SOURCES = 4_096;
/** Changes of one source that wait: each is of another host or user. */
const MOST_OF_SOURCE = 20;
const MOST_WAITING = 1_000;
/** A source may be ahead of its rate by so many seconds: a change is told in a burst. */
const BURST_SECONDS = 5;
const MOST_COUNTED = 1_000_000;

interface Source {
  left: number;
  atMs: number;
  waiting: number;
}

type Hint = { -readonly [Name in keyof AgentHint]: AgentHint[Name] };

/**
 * Takes messages in and keeps what they say of changes until it is fetched. Its memory is bounded whatever it hears: sources,
 * hints of each source, hints in all. What finds no room is dropped and counted.
 */
export class Intake {
  readonly #isAllowed: (address: string) => boolean;
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  readonly #sources = new Map<string, Source>();
  readonly #waiting = new Map<string, Hint>();
  #figures: { -readonly [Name in keyof SyslogFigures]: number } = { ...NO_FIGURES };

  constructor(
    { sources, perSecond }: Pick<SyslogSettings, "sources" | "perSecond">,
    options: { readonly nowMs?: () => number } = {},
  ) {
    this.#isAllowed = compileSources(sources);
    this.#perSecond = perSecond;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  get figures(): SyslogFigures {
    return { ...this.#figures };
  }

  /** Whether a source is heard at all; counts it when it is not. */
  admits(address: string): boolean {
    const allowed = this.#isAllowed(plain(address));
    if (!allowed) this.#figures.refused++;
    return allowed;
  }

  /** Reads one message of a source that was admitted. */
  take(from: string, message: Uint8Array): void {
    const address = plain(from);
    const source = this.#sourceOf(address);
    this.#figures.messages++;
    if (source.left < 1) {
      this.#figures.tooMany++;
      return;
    }
    source.left--;
    const change = findChange(parseMessage(message));
    if (!change) return;
    this.#figures.changes++;
    const { host, user, text } = change;
    this.#keep(source, { address, host, user, text, count: 1 });
  }

  /** Hands over the changes that have waited longest. */
  fetch(most: number): AgentHint[] {
    const fetched = [...this.#waiting.entries()].slice(0, most);
    for (const [key, { address }] of fetched) {
      this.#waiting.delete(key);
      const source = this.#sources.get(address);
      if (source) source.waiting = Math.max(0, source.waiting - 1);
    }
    return fetched.map(([, hint]) => hint);
  }

  #keep(source: Source, hint: Hint): void {
    const key = `${hint.address} ${hint.host} ${hint.user}`;
    const known = this.#waiting.get(key);
    if (known) {
      known.count = Math.min(known.count + 1, MOST_COUNTED);
      known.text = hint.text;
      return;
    }
    if (source.waiting >= MOST_OF_SOURCE || this.#waiting.size >= MOST_WAITING) {
      this.#figures.noRoom++;
      return;
    }
    source.waiting++;
    this.#waiting.set(key, hint);
  }

  #sourceOf(address: string): Source {
    const burst = this.#perSecond * BURST_SECONDS;
    const now = this.#nowMs();
    const known = this.#sources.get(address) ?? { left: burst, atMs: now, waiting: 0 };
    known.left = Math.min(burst, known.left + (now - known.atMs) / 1_000 * this.#perSecond);
    known.atMs = now;
    // Deleted and set again, so that the map's order is that of last use.
    this.#sources.delete(address);
    this.#sources.set(address, known);
    if (this.#sources.size > MOST_SOURCES) {
      for (const oldest of this.#sources.keys()) {
        this.#sources.delete(oldest);
        break;
      }
    }
    return known;
  }
}

/**
 * An address as a socket tells it, which is canonical but for two things: IPv4 that came to an IPv6 socket is IPv4, and a
 * zone is none of the address.
 */
function plain(address: string): string {
  const bare = address.split("%", 1)[0] ?? "";
  const mapped = bare.startsWith("::ffff:") ? bare.slice("::ffff:".length) : "";
  return isIPv4(mapped) ? mapped : bare;
}
