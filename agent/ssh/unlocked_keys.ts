import { createHash } from "node:crypto";
import type ssh2 from "ssh2";

/** As long as a credential's lease lives, more or less; a fleet that shares a key uses it again at once. */
const KEEP_MS = 300_000;
const MOST_KEYS = 64;

interface UnlockedKey {
  readonly key: ssh2.ParsedKey;
  readonly untilMs: number;
}

/**
 * Private keys whose passphrase was worked through, in memory only and for five minutes. Opening one takes a quarter of a
 * second of blocked event loop (bcrypt in JavaScript): a hundred devices that share a key would starve each other's
 * timers. They are found by a digest of key and passphrase: nobody gets one who does not have both.
 */
export class UnlockedKeys {
  readonly #keys = new Map<string, UnlockedKey>();

  /** The key that was opened with this very text and passphrase, or what `unlock` makes of them. */
  get(text: string, passphrase: string, unlock: () => ssh2.ParsedKey): ssh2.ParsedKey {
    this.forgetOld();
    const name = createHash("sha256").update(`${text.length}:${text}${passphrase}`).digest("hex");
    const known = this.#keys.get(name);
    if (known) return known.key;
    const key = unlock();
    const [oldest] = this.#keys.keys();
    if (this.#keys.size >= MOST_KEYS && oldest !== undefined) this.#keys.delete(oldest);
    this.#keys.set(name, { key, untilMs: performance.now() + KEEP_MS });
    return key;
  }

  /** Forgets every key: when the agent fences itself or ends. */
  clear(): void {
    this.#keys.clear();
  }

  /** Forgets what was kept long enough; to be called now and then. */
  forgetOld(): void {
    const now = performance.now();
    for (const [name, { untilMs }] of this.#keys) if (untilMs < now) this.#keys.delete(name);
  }
}

/** Those of this process. */
export const unlockedKeys = new UnlockedKeys();
