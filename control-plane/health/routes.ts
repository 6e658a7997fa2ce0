import { sql } from "kysely";
import { getHealth, getReadiness } from "@rookery/shared/api/health.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { ConnectedDatabase } from "../database/connect.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import type { Ticks } from "../jobs/ticks.ts";
import type { KeyRing } from "../keys/key_ring.ts";

/** Longer than any healthy database takes, shorter than what probes wait. */
const PATIENCE_MS = 3_000;
const RETRY_SECONDS = 5;

export interface HealthServices extends Pick<ConnectedDatabase, "db"> {
  readonly keyRing: KeyRing;
  readonly ticks: Ticks;
}

/** Probes for whoever keeps the process running. */
export function mountHealth(app: App, services: HealthServices): void {
  route(app, getHealth, () => ({ status: "ok" }));
  route(app, getReadiness, async () => {
    const started = Promise.withResolvers<never>();
    const timer = setTimeout(() => started.reject(new Error("no answer in time")), PATIENCE_MS);
    try {
      await Promise.race([checkMigrated(services), started.promise]);
    } catch (cause) {
      throw new ProblemError("overloaded", "The database does not answer, or is not migrated.", {
        retryAfterSeconds: RETRY_SECONDS,
        cause,
      });
    } finally {
      clearTimeout(timer);
    }
    // Throws while this replica's keys are out of date: it could grant nothing.
    void services.keyRing.signing;
    refuseLate(services.ticks);
    return { status: "ready" };
  });
}

/** Its requests may be answered still, and nothing would come of them in time. */
function refuseLate({ late }: Ticks): void {
  if (late.length === 0) return;
  throw new ProblemError("overloaded", `The upkeep of this replica is late: ${late.join(", ")}.`, {
    retryAfterSeconds: RETRY_SECONDS,
  });
}

/** Reads what only a migrated database has: its row of migrations and the row of the installation. */
async function checkMigrated({ db }: Pick<ConnectedDatabase, "db">): Promise<void> {
  const { rows } = await sql`select 1 from installation, migrations limit 1`.execute(db);
  if (rows.length === 0) throw new Error("The database has no installation");
}
