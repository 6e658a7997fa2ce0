import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  PostgresAdapter,
  PostgresDriver,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult,
} from "kysely";
import type { ParameterOrJSON } from "postgres";
import type { Client, ClientPool } from "./client_pool.ts";

/** kysely over a ClientPool. Whoever made the pool closes it. */
export function poolDialect(pool: ClientPool): Dialect {
  return {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new PoolDriver(pool),
    createIntrospector: (db) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  };
}

/** What changes rows, and therefore counts them. */
const CHANGES: ReadonlySet<string> = new Set(["INSERT", "UPDATE", "DELETE", "MERGE"]);

/** Also without parameters, where postgres.js would send the text as it is and plan it each time. */
const PREPARED = { prepare: true, simple: false };

class PoolConnection implements DatabaseConnection {
  readonly client: Client;

  constructor(client: Client) {
    this.client = client;
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const values = [...parameters] as ParameterOrJSON<unknown>[];
    const result = await this.client.run((own) =>
      own.unsafe<R[] & object[]>(sql, values, PREPARED)
    );
    const rows: R[] = Array.from(result);
    if (!CHANGES.has(result.command)) return { rows };
    return { numAffectedRows: BigInt(result.count), rows };
  }

  /** Throws when PostgreSQL rolled back instead, as it does after a statement whose error was caught. */
  async commit(): Promise<void> {
    const { command } = await this.client.run((own) => own.unsafe("commit"));
    if (command !== "COMMIT") {
      throw new Error("Cannot commit: a statement of the transaction had failed");
    }
  }

  // deno-lint-ignore require-yield
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    await Promise.reject(new Error("Cannot stream a query: read it page by page"));
  }
}

/** Takes begin from kysely; its commit and rollback know only connections of its own. */
class PoolDriver extends PostgresDriver {
  readonly #pool: ClientPool;

  constructor(pool: ClientPool) {
    super({} as ConstructorParameters<typeof PostgresDriver>[0]);
    this.#pool = pool;
  }

  override async init(): Promise<void> {}

  override async acquireConnection(): Promise<DatabaseConnection> {
    return new PoolConnection(await this.#pool.acquire());
  }

  override async commitTransaction(connection: DatabaseConnection): Promise<void> {
    if (connection instanceof PoolConnection) await connection.commit();
  }

  /** One that cannot be rolled back was lost, or is thrown away: either way the server rolls back, and what failed before is the error. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (!(connection instanceof PoolConnection)) return;
    try {
      await connection.client.run((own) => own.unsafe("rollback"));
    } catch {
      connection.client.lose("The transaction could not be rolled back");
    }
  }

  override releaseConnection(connection: DatabaseConnection): Promise<void> {
    if (connection instanceof PoolConnection) this.#pool.release(connection.client);
    return Promise.resolve();
  }

  override async destroy(): Promise<void> {}
}
