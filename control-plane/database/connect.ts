import { CamelCasePlugin, Kysely, sql as fragment } from "kysely";
import postgres from "postgres";
import { ClientPool } from "./client_pool.ts";
import { poolDialect } from "./pool_dialect.ts";
import type { Database } from "./schema.ts";

/** Where a database is: a URL, or the parts of one (a `host` that begins with `/` is the folder of a socket). */
export type DatabaseAddress = string | {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
};

/** The types of ours that postgres.js reads and writes, by the names it gives them. */
interface OwnTypes extends Record<string, unknown> {
  instant: Temporal.Instant;
  date: string;
}

/** A pool of connections. Times come back as `Temporal.Instant`, dates as strings. */
export type Sql = postgres.Sql<OwnTypes>;

/** How to connect. */
export interface ConnectOptions {
  /** Connections that are opened, at most and on demand. Default 10. */
  readonly poolSize?: number;
  /** The same of the connections that plain SQL uses. Default: as many. */
  readonly plainPoolSize?: number;
  /** Connections older than this are replaced, `null` never. Default: some 30 to 60 minutes. */
  readonly maxLifetimeSeconds?: number | null;
  /** How long `db` waits for a connection, and for the answer to a statement. Default 12,000. */
  readonly patienceMs?: number;
}

/**
 * An open database. Requests use `db`, kysely's builder: a lost connection fails what runs on it, at once. `sql`, for statements
 * as text, is a pool of its own for migrations and tools; a crash of the server may hang what runs there.
 */
export interface ConnectedDatabase extends AsyncDisposable {
  readonly sql: Sql;
  readonly db: Kysely<Database>;
  /** For how long the one who waits longest for a connection of `db` has waited; 0 when nobody waits. */
  waitMs(): number;
  /** Waits for running statements, at most three seconds. */
  close(): Promise<void>;
}

const DEFAULT_POOL_SIZE = 10;
const CONNECT_SECONDS = 10;
const CLOSE_SECONDS = 3;
/** No statement of a request takes nearly as long; and nobody waits longer for a server that has stopped. */
const PATIENCE_MS = 12_000;
const DEFAULT_LIFETIME_SECONDS = 45 * 60;

/**
 * Opens a database. Nothing is sent before the first statement; `pingDatabase` finds out whether it can be reached.
 * Two traps of postgres.js stay: a NULL inside an array comes back as the text "NULL" (ban them, or send jsonb), and
 * bigint, numeric and count(*) come back as strings.
 */
export function connectDatabase(
  address: DatabaseAddress,
  options: ConnectOptions = {},
): ConnectedDatabase {
  const { plainPoolSize: poolSize = options.poolSize } = options;
  const sql = openPool(address, { ...options, ...poolSize !== undefined && { poolSize } });
  const pool = openClientPool(address, options, sql.options);
  const db = new Kysely<Database>({
    dialect: poolDialect(pool),
    plugins: [new CamelCasePlugin({ maintainNestedObjectKeys: true })],
  });
  const close = async () => {
    await Promise.all([pool.close(CLOSE_SECONDS * 1000), sql.end({ timeout: CLOSE_SECONDS })]);
  };
  return { sql, db, waitMs: () => pool.waitMs, close, [Symbol.asyncDispose]: close };
}

function openClientPool(
  address: DatabaseAddress,
  options: ConnectOptions,
  codecs: Codecs,
): ClientPool {
  const { poolSize = DEFAULT_POOL_SIZE, maxLifetimeSeconds = DEFAULT_LIFETIME_SECONDS } = options;
  const { patienceMs = PATIENCE_MS } = options;
  const one = { poolSize: 1, maxLifetimeSeconds: null };
  const open = (onLost: () => void) =>
    openPool(address, one, { onclose: onLost, statementMs: patienceMs, codecs });
  return new ClientPool(open, { size: poolSize, maxLifetimeSeconds, patienceMs });
}

/** What `db`'s connections have that those of `sql` have not. */
interface RequestConnection {
  readonly onclose: () => void;
  readonly statementMs: number;
  /** Those of `sql`. */
  readonly codecs: Codecs;
}

function openPool(
  address: DatabaseAddress,
  options: ConnectOptions,
  request?: RequestConnection,
): Sql {
  const settings = {
    max: options.poolSize ?? DEFAULT_POOL_SIZE,
    ...(options.maxLifetimeSeconds === undefined
      ? {}
      : { max_lifetime: options.maxLifetimeSeconds }),
    connect_timeout: CONNECT_SECONDS,
    onnotice: () => {},
    // The zone is fixed so that date_trunc() and casts mean the same on every server.
    connection: {
      application_name: "rookery",
      TimeZone: "UTC",
      ...(request ? { statement_timeout: request.statementMs } : {}),
    },
    ...(request ? { onclose: request.onclose } : {}),
    types: OWN_TYPES,
    ...(request ? { fetch_types: !knowsArrays(request.codecs) } : {}),
  };
  const sql = openAt(address, settings);
  if (request) copyArrays(request.codecs, sql.options);
  return sql;
}

function openAt(address: DatabaseAddress, settings: postgres.Options<typeof OWN_TYPES>): Sql {
  if (typeof address !== "string") return postgres({ ...settings, ...address });
  const { url, socketDir } = splitSocket(address);
  return postgres(url, { ...settings, ...(socketDir ? { host: socketDir } : {}) });
}

/** Takes `?host=/folder/of/socket` out of a URL: libpq's way to name a socket, which postgres.js does not know. */
function splitSocket(address: string): { readonly url: string; readonly socketDir?: string } {
  if (!URL.canParse(address)) {
    throw new Error(
      "Cannot read the database URL: it does not look like postgres://user@host/name",
    );
  }
  const url = new URL(address);
  const socketDir = url.searchParams.get("host");
  if (!socketDir?.startsWith("/")) return { url: address };
  url.searchParams.delete("host");
  return { url: url.href, socketDir };
}

/** The URL of an address, for a program that takes DATABASE_URL. */
export function databaseUrl(address: DatabaseAddress): string {
  if (typeof address === "string") return address;
  const url = new URL(`postgres://localhost:${address.port}/`);
  url.username = address.user;
  url.pathname = `/${encodeURIComponent(address.database)}`;
  if (address.host.startsWith("/")) url.searchParams.set("host", address.host);
  else url.hostname = address.host;
  return url.href;
}

/** timestamptz. A `Date` has milliseconds, PostgreSQL has microseconds: the round trip through a Date loses a match. */
const instant = {
  to: 1184,
  from: [1184],
  serialize: (value: unknown) => value instanceof Date ? value.toISOString() : String(value),
  parse: (text: string) => Temporal.Instant.from(text),
};

/** A calendar day has no zone; the default of postgres.js makes it a midnight in UTC. */
const date = {
  to: 1082,
  from: [1082],
  serialize: (value: unknown) => String(value),
  parse: (text: string) => text,
};

const OWN_TYPES = { instant, date };

type Codecs = Pick<Sql["options"], "parsers" | "serializers">;
const TEXT_ARRAY = 1009;

/**
 * postgres.js asks on each connection what array types there are, a third of what opening one costs. Once `sql` was told, `db`
 * need not ask. (`sql` itself has to: 3.4.9 waits for ever in `reserve()` where it does not.)
 */
function knowsArrays({ parsers }: Codecs): boolean {
  return TEXT_ARRAY in parsers;
}

function copyArrays(from: Codecs, to: Codecs): void {
  Object.assign(to.parsers, from.parsers);
  Object.assign(to.serializers, from.serializers);
}

/** Asks the database for an answer; throws when it gives none. */
export async function pingDatabase({ db }: Pick<ConnectedDatabase, "db">): Promise<void> {
  await fragment`select 1`.execute(db);
}
