/**
 * The one thread that hashes passwords: argon2id blocks for a tenth of a second, which the thread that answers requests
 * cannot afford. Messages in: a `HashOrder`; out: a `HashAnswer`.
 */
import { argon2id, argon2Verify } from "hash-wasm";

/** Hash a password (without `hash`), or compare it with a hash. */
export interface HashOrder {
  readonly id: number;
  readonly password: string;
  readonly hash?: string;
}

/** The hash, or whether it matched. */
export interface HashAnswer {
  readonly id: number;
  readonly hash?: string;
  readonly matches?: boolean;
  readonly failure?: string;
}

/** OWASP's first choice for argon2id (46 MiB, one pass, one lane): more would let few logins block all others. */
const PARAMETERS = { parallelism: 1, iterations: 1, memorySize: 47_104, hashLength: 32 } as const;

/** Without the worker's own library: this file is type-checked with the rest. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<HashOrder>) => void) | null;
  postMessage(answer: HashAnswer): void;
}

async function answer(order: HashOrder): Promise<HashAnswer> {
  const { id, password, hash } = order;
  try {
    if (hash !== undefined) return { id, matches: await argon2Verify({ password, hash }) };
    const salt = crypto.getRandomValues(new Uint8Array(16));
    return {
      id,
      hash: await argon2id({ ...PARAMETERS, password, salt, outputType: "encoded" }),
    };
  } catch (error) {
    return { id, failure: error instanceof Error ? error.message : String(error) };
  }
}

const scope = globalThis as unknown as WorkerScope;
let queue: Promise<void> = Promise.resolve();
scope.onmessage = ({ data }) => {
  // One at a time: twenty at once would hold over a gigabyte.
  queue = queue.then(async () => scope.postMessage(await answer(data)));
};
