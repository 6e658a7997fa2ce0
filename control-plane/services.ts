import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { ENGINE_VERSION } from "@rookery/shared/version.ts";
import type { AgentServices } from "./agents/services.ts";
import { createProofNonces } from "./agents/proof_nonces.ts";
import { SessionCount } from "./agents/session_count.ts";
import { startTexts } from "./backups/texts.ts";
import type { Config } from "./config.ts";
import type { ConnectedDatabase } from "./database/connect.ts";
import { type SessionCookie, sessionCookie } from "./http/cookie.ts";
import type { TrustedProxies } from "./http/address.ts";
import { type Log, logAbove } from "./http/log.ts";
import { Overload } from "./http/overload.ts";
import { ClaimFloors } from "./jobs/claim_floor.ts";
import { Ticks } from "./jobs/ticks.ts";
import { Wakeups } from "./jobs/wakeups.ts";
import type { KeyRing } from "./keys/key_ring.ts";
import { ReplicaMetrics } from "./metrics/replica_metrics.ts";
import { OutboxFeed } from "./outbox/feed.ts";
import type { StreamServices, StreamTimes } from "./outbox/open_stream.ts";
import { StreamSlots } from "./outbox/stream_slots.ts";
import { callerNow } from "./sessions/caller_now.ts";
import { LoginThrottle } from "./sessions/login_throttle.ts";
import { LiveSettings } from "./settings/live_settings.ts";
import { type Passwords, startPasswords } from "./users/passwords.ts";

/** Everything that routes need: one set per process. */
export interface Services extends AgentServices, StreamServices {
  readonly passwords: Passwords;
  readonly settings: LiveSettings;
  readonly throttle: LoginThrottle;
  readonly cookie: SessionCookie;
  readonly trustedProxies: TrustedProxies;
  readonly metrics: ReplicaMetrics;
  readonly ticks: Ticks;
}

export interface ServiceOptions {
  readonly database: Pick<ConnectedDatabase, "db"> & Partial<Pick<ConnectedDatabase, "waitMs">>;
  readonly keyRing: KeyRing;
  readonly config: Pick<Config, "publicUrl" | "trustedProxies">;
  readonly log: Log;
  /** Default: a thread of its own, which ends with the rest. */
  readonly passwords?: Passwords;
  /** Default: those that ship. */
  readonly drivers?: DriverSet;
  /** Default: the one of this release. */
  readonly engineVersion?: string;
  readonly streamTimes?: StreamTimes;
}

function counted(log: Log, metrics: ReplicaMetrics): Log {
  return (line) => {
    metrics.logged(line.level);
    log(line);
  };
}

/** Starts what lives as long as the process, on a migrated database. Dispose it before the database is closed. */
export async function startServices(
  { database: { db, waitMs }, keyRing, config, log, ...given }: ServiceOptions,
): Promise<Services & AsyncDisposable> {
  const installation = await db.selectFrom("installation").select(["id", "incarnation"])
    .executeTakeFirstOrThrow();
  const settings = new LiveSettings(db);
  await settings.refresh();
  const passwords = given.passwords ?? startPasswords();
  const texts = startTexts();
  const wakeups = new Wakeups(db);
  const feed = new OutboxFeed(db, given.streamTimes);
  const overload = new Overload(waitMs ?? (() => 0));
  const metrics = new ReplicaMetrics(() => overload.pressureMs);
  return {
    db,
    overload,
    keyRing,
    passwords,
    texts,
    drivers: given.drivers ?? SHIPPED_DRIVERS,
    engineVersion: given.engineVersion ?? ENGINE_VERSION,
    wakeups,
    metrics,
    log: counted(logAbove(log, () => settings.known["logging.level"]), metrics),
    ...config,
    issuer: `urn:uuid:${installation.id}`,
    incarnation: installation.incarnation,
    nonces: await createProofNonces(keyRing),
    floors: new ClaimFloors(),
    sessionCount: new SessionCount(db),
    feed,
    streamSlots: new StreamSlots(),
    ...(given.streamTimes ? { streamTimes: given.streamTimes } : {}),
    callerNow: (caller) => callerNow(db, caller),
    settings,
    ticks: new Ticks(),
    throttle: new LoginThrottle(),
    cookie: sessionCookie(config.publicUrl),
    async [Symbol.asyncDispose]() {
      if (!given.passwords) passwords[Symbol.dispose]();
      texts[Symbol.dispose]();
      overload[Symbol.dispose]();
      await Promise.all([wakeups.close(), feed.close()]);
    },
  };
}
