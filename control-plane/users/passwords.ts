import { ProblemError } from "@rookery/shared/problem.ts";
import type { HashAnswer, HashOrder } from "./password_worker.ts";

/** Hashes and checks passwords, one at a time, in a thread of its own. */
export interface Passwords extends Disposable {
  /** An encoded argon2id hash with parameters and salt. */
  hash(password: string): Promise<string>;
  /** How many hashes were computed so far, to make one or to compare. */
  computed(): number;
  /** Takes the same time for a missing hash as for a wrong password: time must not tell who exists. */
  matches(password: string, hash: string | null | undefined): Promise<boolean>;
}

/** Beyond this a caller would wait longer than anybody does; refusing keeps the thread for the others. */
const LONGEST_QUEUE = 64;
const RETRY_SECONDS = 5;

interface Waiting {
  readonly resolve: (answer: HashAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** Starts the thread. Dispose it to stop: what still waits is refused. */
export function startPasswords(): Passwords {
  const thread = new HashThread();
  let made: Promise<HashAnswer> | undefined;
  /** Whoever has no hash is compared with this one, of a password that nobody knows. The first to log in waits for it. */
  const decoyHash = async () => {
    made ??= thread.ask({ password: crypto.randomUUID() });
    try {
      return (await made).hash ?? "";
    } catch (error) {
      made = undefined;
      throw error;
    }
  };
  return {
    hash: async (password) =>
      (await thread.ask({ password: password.normalize("NFC") })).hash ?? "",
    matches: async (password, hash) => {
      // Made for those who have one, too: else the first who has none would be told by the time it takes.
      const decoy = await decoyHash();
      const order = { password: password.normalize("NFC"), hash: hash ?? decoy };
      const { matches } = await thread.ask(order);
      return matches === true && typeof hash === "string";
    },
    computed: () => thread.computed,
    [Symbol.dispose]: () => thread.stop(),
  };
}

/** Owns the worker from its start to `stop()`. */
class HashThread {
  readonly #worker = new Worker(new URL("./password_worker.ts", import.meta.url), {
    type: "module",
    // It reads its modules and touches nothing else.
    deno: {
      permissions: {
        read: true,
        net: false,
        write: false,
        env: false,
        run: false,
        ffi: false,
        sys: false,
        import: false,
      },
    },
  });
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #computed = 0;
  #stopped = false;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<HashAnswer>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      this.#computed++;
      if (data.failure === undefined) waiting?.resolve(data);
      else waiting?.reject(new Error(`Cannot hash a password: ${data.failure}`));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#end(new Error(`Cannot hash passwords: the thread ended: ${event.message}`));
    };
  }

  get computed(): number {
    return this.#computed;
  }

  ask(order: Omit<HashOrder, "id">): Promise<HashAnswer> {
    if (this.#stopped) return Promise.reject(new Error("Cannot hash a password: stopped"));
    if (this.#waiting.size >= LONGEST_QUEUE) {
      return Promise.reject(
        new ProblemError("overloaded", "Too many people are logging in at this moment.", {
          retryAfterSeconds: RETRY_SECONDS,
        }),
      );
    }
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<HashAnswer>();
    this.#waiting.set(id, { resolve, reject });
    this.#worker.postMessage({ ...order, id });
    return promise;
  }

  stop(): void {
    this.#end(new Error("Cannot hash a password: the control plane is stopping"));
  }

  #end(error: Error): void {
    this.#stopped = true;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
