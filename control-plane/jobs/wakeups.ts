import { type Kysely, sql } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

const POLL_MS = 1_000;

interface Waiter {
  readonly siteIds: readonly SiteId[];
  readonly wake: () => void;
}

/**
 * Where held claims wait for work without holding a database connection. One query a second serves all of
 * them; a job enqueued in this process wakes its site at once. Polling alone is enough.
 */
export class Wakeups {
  readonly #db: Kysely<Database>;
  readonly #waiters = new Set<Waiter>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #polling: Promise<void> | undefined;
  #closed = false;

  constructor(db: Kysely<Database>) {
    this.#db = db;
  }

  /** Once closed, there is nothing to wait for any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when one of the sites may have work, after `ms`, or when `signal` aborts. */
  wait(siteIds: readonly SiteId[], options: { ms: number; signal: AbortSignal }): Promise<void> {
    return new Promise((resolve) => {
      if (options.signal.aborted || this.#closed) return resolve();
      const finish = () => {
        clearTimeout(timer);
        options.signal.removeEventListener("abort", finish);
        this.#waiters.delete(waiter);
        if (this.#waiters.size === 0) this.#rest();
        resolve();
      };
      const waiter: Waiter = { siteIds, wake: finish };
      const timer = setTimeout(finish, options.ms);
      options.signal.addEventListener("abort", finish, { once: true });
      this.#waiters.add(waiter);
      this.#schedule();
    });
  }

  /** Says that a site has new work. */
  notify(siteId: SiteId): void {
    for (const waiter of this.#waiters) {
      if (waiter.siteIds.includes(siteId)) waiter.wake();
    }
  }

  /** Says that any site may have new work. */
  notifyAll(): void {
    for (const waiter of this.#waiters) waiter.wake();
  }

  /** Lets all waiters go and stops polling. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.wake();
    this.#rest();
    await this.#polling;
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#polling || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#polling = this.#poll().finally(() => {
        this.#polling = undefined;
        if (this.#waiters.size > 0) this.#schedule();
      });
    }, POLL_MS);
  }

  #rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #poll(): Promise<void> {
    const waited = [...new Set([...this.#waiters].flatMap((waiter) => waiter.siteIds))];
    if (waited.length === 0) return;
    try {
      const { rows } = await sql<{ siteId: SiteId }>`
        select id as site_id from sites s
        where s.id = any(${waited}::uuid[]) and not s.paused
          and not exists (select 1 from installation where maintenance) and exists (
          select 1 from ready r where r.site_id = s.id and r.due_at <= now())`.execute(this.#db);
      for (const { siteId } of rows) this.notify(siteId);
    } catch {
      // The database is away: claims are tried again when their wait is over, and say so themselves.
    }
  }
}
