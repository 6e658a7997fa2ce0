import { setTimeout as delay } from "node:timers/promises";
import type { Sql } from "./connect.ts";

/** One connection, used by one borrower at a time. */
export interface Client {
  /** `statement`'s result; throws a DatabaseAwayError as soon as the connection is lost, or does not answer in time. */
  run<T>(statement: (sql: Sql) => PromiseLike<T>): Promise<T>;
  /** Nothing is to run on it any more: it is thrown away when it comes back. */
  lose(why: string): void;
}

/** How to open a connection; `onLost` must be called when it ends. */
export type OpenClient = (onLost: () => void) => Sql;

/** The limits of a pool. */
export interface ClientPoolOptions {
  readonly size: number;
  /** Connections older than this are replaced when they come back; null: never. */
  readonly maxLifetimeSeconds: number | null;
  /** How long a borrower waits for a free connection, and a statement for its answer. */
  readonly patienceMs: number;
}

/** The database does not answer now. */
export class DatabaseAwayError extends Error {
  override readonly name = "DatabaseAwayError";
  readonly code = "DATABASE_AWAY";
}

/** A connection and what is known of it. */
class PooledClient implements Client {
  readonly sql: Sql;
  readonly openedAt = performance.now();
  readonly #lost = Promise.withResolvers<never>();
  readonly #patienceMs: number;
  #isLost = false;

  constructor(open: OpenClient, { patienceMs, onLost }: {
    readonly patienceMs: number;
    readonly onLost: (client: PooledClient) => void;
  }) {
    this.#patienceMs = patienceMs;
    // Whoever runs a statement hears of it; nobody else has to.
    this.#lost.promise.catch(() => {});
    this.sql = open(() => {
      this.lose("The connection to the database was lost");
      onLost(this);
    });
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  lose(why: string): void {
    this.#isLost = true;
    this.#lost.reject(new DatabaseAwayError(why));
  }

  async run<T>(statement: (sql: Sql) => PromiseLike<T>): Promise<T> {
    // postgres.js would connect anew, and the rest of a transaction would run outside of it.
    if (this.#isLost) return await this.#lost.promise;
    const timer = setTimeout(
      () => this.lose(`The database gave no answer within ${this.#patienceMs} ms`),
      this.#patienceMs,
    );
    try {
      return await Promise.race([statement(this.sql), this.#lost.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}

interface Waiter {
  readonly since: number;
  readonly resolve: (client: PooledClient) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A pool in which a connection that was lost is never used again. That of postgres.js puts the dead connection of a
 * reservation back among the open ones and then writes to it, which hangs the query or ends the process
 * (porsager/postgres #1154, #1208); so each connection here is a postgres.js of its own and is thrown away whole.
 */
export class ClientPool {
  readonly #open: OpenClient;
  readonly #options: ClientPoolOptions;
  readonly #clients = new Set<PooledClient>();
  readonly #ending = new Set<Promise<void>>();
  readonly #idle: PooledClient[] = [];
  readonly #waiters: Waiter[] = [];
  #closed = false;

  constructor(open: OpenClient, options: ClientPoolOptions) {
    this.#open = open;
    this.#options = options;
  }

  /** For how long the oldest waiting borrower has waited. */
  get waitMs(): number {
    const [oldest] = this.#waiters;
    return oldest ? performance.now() - oldest.since : 0;
  }

  /** A free connection; the one used last comes first, as it is the likeliest to live. */
  async acquire(): Promise<Client> {
    if (this.#closed) throw new DatabaseAwayError("The connections to the database are closed");
    const idle = this.#idle.pop();
    if (idle) return idle;
    return this.#clients.size < this.#options.size ? this.#add() : await this.#wait();
  }

  release(client: Client): void {
    if (!(client instanceof PooledClient)) throw new TypeError("not a client of this pool");
    if (client.isLost || this.#isOld(client) || this.#closed) return this.#discard(client);
    const waiter = this.#waiters.shift();
    if (waiter) waiter.resolve(client);
    else this.#idle.push(client);
  }

  /** Gives what runs `graceMs` to end, then cuts it off. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new DatabaseAwayError("closed"));
    for (const client of this.#idle.splice(0)) this.#discard(client);
    const deadline = performance.now() + graceMs;
    while (this.#clients.size > 0 && performance.now() < deadline) await delay(10);
    for (const client of [...this.#clients]) {
      client.lose("The connections to the database are closed");
      this.#discard(client);
    }
    await Promise.all(this.#ending);
  }

  #add(): PooledClient {
    const client = new PooledClient(this.#open, {
      patienceMs: this.#options.patienceMs,
      onLost: (lost) => this.#forgetIdle(lost),
    });
    this.#clients.add(client);
    return client;
  }

  /** A lost connection that somebody holds is discarded when it comes back. */
  #forgetIdle(client: PooledClient): void {
    const index = this.#idle.indexOf(client);
    if (index < 0) return;
    this.#idle.splice(index, 1);
    this.#discard(client);
  }

  #discard(client: PooledClient): void {
    if (!this.#clients.delete(client)) return;
    const ending = client.sql.end({ timeout: 0 }).finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
    const waiter = this.#closed ? undefined : this.#waiters.shift();
    waiter?.resolve(this.#add());
  }

  #wait(): Promise<PooledClient> {
    return new Promise((resolve, reject) => {
      const waiter = {
        since: performance.now(),
        resolve: (client: PooledClient) => {
          clearTimeout(timer);
          resolve(client);
        },
        reject: (error: Error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(new DatabaseAwayError("No connection to the database became free in time"));
      }, this.#options.patienceMs);
      this.#waiters.push(waiter);
    });
  }

  #isOld({ openedAt }: PooledClient): boolean {
    const { maxLifetimeSeconds } = this.#options;
    return maxLifetimeSeconds !== null &&
      performance.now() - openedAt > maxLifetimeSeconds * 1000;
  }
}
