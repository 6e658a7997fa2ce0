/** The control plane: configuration, database, keys, HTTP; until SIGTERM, then a drain in the reverse order. */
import { createApp } from "./app.ts";
import { type Config, readConfig } from "./config.ts";
import { isDatabaseAway } from "./database/away.ts";
import { connectDatabase, type ConnectedDatabase } from "./database/connect.ts";
import { openDataFolder, reasonOf } from "./database/data_folder.ts";
import { startEmbeddedPostgres } from "./database/embedded.ts";
import { migrate } from "./database/migrate.ts";
import { untilStarted } from "./database/until_started.ts";
import { affordableConnections, sharedBy } from "./http/connection_count.ts";
import { DEFAULT_LIMITS, listen, type Listening } from "./http/listen.ts";
import { type Log, logToStandardOutput } from "./http/log.ts";
import { makePartitions, runMaintenance } from "./jobs/maintenance.ts";
import { loadKeyRing } from "./keys/key_ring.ts";
import { LiveKeyRing } from "./keys/live_key_ring.ts";
import { assertSameKeys, hasKeys } from "./keys/same_keys.ts";
import { watchKeys } from "./keys/watch_keys.ts";
import { type Services, startServices } from "./services.ts";
import { issueSetupLink } from "./setup/setup_link.ts";
import { runTasks } from "./tasks/run_tasks.ts";

const POOL_SIZE = 20;
/** Replies that are still being written get this long. */
const DRAIN_MS = 10_000;
/** What still works for callers who are gone or were cut off; a statement that hangs holds no shutdown up. */
const LATE_WORK_MS = 3_000;
/** A round of maintenance that still runs; the next start, or another replica, does it again. */
const MAINTENANCE_MS = 3_000;

async function run(config: Config, log: Log, stop: AbortSignal): Promise<void> {
  await openDataFolder(config.dataDir);
  await using stack = new AsyncDisposableStack();
  const database = await openDatabase(config, { log, stack });
  await makePartitions(database.db);
  const keyRing = new LiveKeyRing(
    await loadKeyRing(config.keyFile, { create: !await hasKeys(database.db) }),
  );
  await assertSameKeys(database.db, keyRing);
  const services = stack.use(await startServices({ database, keyRing, config, log }));
  const upkeep = new AbortController();
  const { signal } = upkeep;
  const maintenance = Promise.all([
    runMaintenance(services, { signal }),
    watchKeys({ ...services, keyRing, path: config.keyFile }, { signal }),
    runTasks(services, { signal }),
  ]);
  stack.defer(async () => {
    upkeep.abort();
    await atMost(MAINTENANCE_MS, maintenance);
  });
  const server = await serve(config, services);
  await printSetupLink(services, config);
  print(`Rookery listens at ${config.publicUrl}`);
  await aborted(stop);
  print("Rookery stops");
  await Promise.all([services.wakeups.close(), services.feed.close()]);
  // What hangs is cut off, since every caller of ours tries again.
  await atMost(DRAIN_MS + LATE_WORK_MS, server.shutdown(DRAIN_MS));
}

/** The database that DATABASE_URL names, or our own in the data folder; migrated. */
async function openDatabase(
  config: Config,
  { log, stack }: { log: Log; stack: AsyncDisposableStack },
): Promise<ConnectedDatabase> {
  const embedded = config.databaseUrl === undefined
    ? stack.use(
      await startEmbeddedPostgres({
        dataDir: config.dataDir,
        log: (line) => {
          if (!tellsOfStatements(line)) log({ level: "info", message: "PostgreSQL says", line });
        },
        onRestart: (reason) => log({ level: "error", message: "PostgreSQL restarted", reason }),
      }),
    )
    : undefined;
  const address = config.databaseUrl ?? embedded?.connection ?? "";
  const database = stack.use(connectDatabase(address, { poolSize: POOL_SIZE }));
  const starting = untilStarted(database.sql).then(() => migrate(database.sql));
  const applied = await starting.catch((cause) => {
    throw config.databaseUrl === undefined ? cause : namingDatabase(config.databaseUrl, cause);
  });
  if (applied.length > 0) log({ level: "info", message: "Migrations applied", applied });
  return database;
}

/** Whether a line of PostgreSQL is about one statement: who ran it is told of it, and it may repeat what is stored. */
function tellsOfStatements(line: string): boolean {
  return /^\t| (ERROR|DETAIL|CONTEXT|QUERY|STATEMENT): /.test(line);
}

async function serve(config: Config, services: Services): Promise<Listening> {
  const app = createApp(services);
  const { hostname, port, tls, publicUrl: origin, trustedProxies } = config;
  const secure = tls && {
    cert: await readSetting("ROOKERY_TLS_CERT", tls.certFile),
    key: await readSetting("ROOKERY_TLS_KEY", tls.keyFile),
  };
  try {
    return await listen((request, caller) => app.fetch(request, caller), {
      hostname,
      port,
      origin,
      limits: {
        ...DEFAULT_LIMITS,
        perNetwork: config.limits.perNetwork,
        total: Math.min(config.limits.total, await affordableConnections()),
        isShared: sharedBy(trustedProxies),
      },
      ...(secure ? { tls: secure } : {}),
    });
  } catch (cause) {
    const files = tls ? ` with ROOKERY_TLS_CERT="${tls.certFile}"` : "";
    const where = `ROOKERY_LISTEN="${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}"`;
    throw new Error(`Cannot listen on ${where}${files}: ${reasonOf(cause)}`, { cause });
  }
}

async function readSetting(name: string, path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new Error(`Cannot read ${name}="${path}": ${reasonOf(cause)}`, { cause });
  }
}

/** Names the server and the database, never user or password. */
function namingDatabase(url: string, cause: unknown): Error {
  const { host, pathname } = new URL(url);
  return new Error(`Cannot use DATABASE_URL (${host}${pathname}): ${reasonOf(cause)}`, { cause });
}

/** Waits for `work`, and no longer than `ms`. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), ms);
  await Promise.race([work, aborted(patience.signal)]);
  clearTimeout(timer);
}

/** Printed, not logged: whoever reads it may become the administrator, once and within the hour. */
async function printSetupLink({ db }: Services, { publicUrl }: Config): Promise<void> {
  const link = await issueSetupLink(db, publicUrl);
  if (link) print(`Make the administrator within the hour, once: ${link}`);
}

/**
 * When the database dies in the middle of a transaction, its client also rejects promises that nobody holds. The requests
 * concerned were answered; the process must not end with them. Anything else that is unhandled still ends it.
 */
function forgiveLostConnections(event: PromiseRejectionEvent): void {
  if (!isDatabaseAway(event.reason)) return;
  event.preventDefault();
  logToStandardOutput({ level: "warn", message: "A connection to the database was lost" });
}

/**
 * A postgres.js whose socket is gone may still have a write scheduled, which then throws where nobody can catch it
 * (porsager/postgres #1154). That connection is thrown away and what ran on it has failed already: see ClientPool.
 */
function forgiveLateWrites(event: ErrorEvent): void {
  const { error } = event;
  const known = error instanceof TypeError && error.message.includes("(reading 'write')") &&
    /\bnextWrite\b.*\bpostgres\b/.test(error.stack ?? "");
  if (!known) return;
  event.preventDefault();
  logToStandardOutput({ level: "warn", message: "A connection to the database was lost" });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

const encoder = new TextEncoder();

function print(line: string): void {
  Deno.stdout.writeSync(encoder.encode(`${line}\n`));
}

if (import.meta.main) {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort());
  }
  globalThis.addEventListener("unhandledrejection", forgiveLostConnections);
  globalThis.addEventListener("error", forgiveLateWrites);
  try {
    await run(readConfig(Deno.env.toObject()), logToStandardOutput, stop.signal);
    Deno.exit(0);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    Deno.stderr.writeSync(encoder.encode(`Rookery cannot run: ${text}\n`));
    // What was foreseen says all in its message.
    if (!/^(Cannot|Refused)\b/.test(text)) {
      const stack = error instanceof Error ? error.stack : undefined;
      logToStandardOutput({ level: "error", message: "Stopped by an error", stack });
    }
    Deno.exit(1);
  }
}
