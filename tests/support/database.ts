/** A database for a test file: cloned from the migrated template before its tests, dropped after them. */
import { type Kysely, sql as fragment } from "kysely";
import { setTimeout as delay } from "node:timers/promises";
import {
  connectDatabase,
  type ConnectedDatabase,
  type DatabaseAddress,
  databaseUrl,
  type Sql,
} from "../../control-plane/database/connect.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { addressOf, openTestServer, type TestServerAddress } from "./test_server.ts";

/** Usable inside tests, not while the file is loaded. */
export interface TestDatabase {
  readonly db: Kysely<Database>;
  readonly sql: Sql;
  /** For further pools in this process. Close them: a connection that is left fails the file. */
  readonly address: DatabaseAddress;
  /** For programs that take DATABASE_URL. */
  readonly url: string;
}

/** What kind of database. */
export interface TestDatabaseOptions {
  /** Connections of `sql` and `db`, all opened before the first test. Default 4. */
  readonly poolSize?: number;
  /** Without the migrations. Default false. */
  readonly empty?: boolean;
}

const DEFAULT_POOL_SIZE = 4;
/** Tests look into tables one statement after the other, and a connection costs more than most of what it is used for. */
const PLAIN_POOL_SIZE = 2;

/**
 * Call it at the top of a test file. Under `deno task test` the server is shared; a file that is run alone starts one of its
 * own. A connection that a test leaves behind fails the file.
 */
export function testDatabase(options: TestDatabaseOptions = {}): TestDatabase {
  let made: MadeDatabase | undefined;
  Deno.test.beforeAll(async () => {
    made = await makeDatabase(options);
  });
  Deno.test.afterAll(() => made?.drop());
  const get = () => {
    if (made) return made;
    throw new Error("Cannot use the test database: it exists only while tests run");
  };
  return {
    get db() {
      return get().connected.db;
    },
    get sql() {
      return get().connected.sql;
    },
    get address() {
      return get().address;
    },
    get url() {
      return databaseUrl(get().address);
    },
  };
}

interface MadeDatabase {
  readonly connected: ConnectedDatabase;
  readonly address: DatabaseAddress;
  readonly drop: () => Promise<void>;
}

async function makeDatabase(options: TestDatabaseOptions): Promise<MadeDatabase> {
  const given = Deno.env.get("ROOKERY_TEST_DATABASE");
  const own = given ? undefined : await openTestServer(Deno.env.get("ROOKERY_TEST_DATABASE_URL"));
  const { server, prefix, template }: TestServerAddress = own?.address ?? JSON.parse(given ?? "");
  // Kept, since to connect costs more than what is asked of it.
  const admin = connectDatabase(server, { poolSize: 1, maxLifetimeSeconds: null });
  const name = `${prefix}${crypto.randomUUID().slice(0, 13).replace("-", "_")}`;
  // file_copy: a few milliseconds where wal_log, the default, takes twenty.
  await admin.sql`create database ${admin.sql(name)} template ${
    admin.sql(options.empty ? "template0" : template)
  } strategy file_copy`;
  const address = addressOf(server, name);
  const connected = await connectWarm(address, options.poolSize ?? DEFAULT_POOL_SIZE);
  const drop = async () => {
    await connected.close();
    await dropDatabase(admin, name).finally(() => own?.close());
  };
  return { connected, address, drop };
}

/** Opens all connections at once: one that is opened inside a test is a leak to the sanitizers. */
async function connectWarm(address: DatabaseAddress, poolSize: number): Promise<ConnectedDatabase> {
  const plainPoolSize = Math.min(poolSize, PLAIN_POOL_SIZE);
  const options = { poolSize, plainPoolSize, maxLifetimeSeconds: null };
  const connected = connectDatabase(address, options);
  const reserved = await Promise.all(
    Array.from({ length: plainPoolSize }, () => connected.sql.reserve()),
  );
  for (const connection of reserved) connection.release();
  await warmBuilder(connected.db, poolSize);
  return connected;
}

/** Holds each connection of the builder's pool until all are open. */
async function warmBuilder(db: Kysely<Database>, poolSize: number): Promise<void> {
  const allOpen = Promise.withResolvers<void>();
  let open = 0;
  await Promise.all(
    Array.from({ length: poolSize }, () =>
      db.connection().execute(async (connection) => {
        await fragment`select 1`.execute(connection);
        if (++open === poolSize) allOpen.resolve();
        await allOpen.promise;
      })),
  );
}

async function dropDatabase(admin: ConnectedDatabase, name: string): Promise<void> {
  await using _closed = admin;
  const left = await leftConnections(admin.sql, name);
  await admin.sql`drop database ${admin.sql(name)} with (force)`;
  if (left.length) {
    throw new Error(`Cannot pass this file: it left database connections: ${left.join("; ")}`);
  }
}

/** What is still connected after a moment: the server notices a closed connection a little later. */
async function leftConnections(sql: Sql, name: string): Promise<readonly string[]> {
  for (let tries = 0;; tries++) {
    const rows = await sql<{ text: string }[]>`
      select concat_ws(' ', application_name, state, '"' || left(query, 200) || '"') as text
      from pg_stat_activity where datname = ${name} and backend_type = 'client backend'`;
    if (rows.length === 0 || tries === 50) return rows.map((row) => row.text);
    await delay(20);
  }
}
