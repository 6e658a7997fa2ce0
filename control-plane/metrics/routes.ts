import { getMetrics } from "@rookery/shared/api/metrics.ts";
import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import type { ReplicaMetrics } from "./replica_metrics.ts";
import { readSiteMetrics } from "./site_metrics.ts";

export interface MetricsServices {
  readonly db: Kysely<Database>;
  readonly metrics: ReplicaMetrics;
}

export function mountMetrics(app: App, { db, metrics }: MetricsServices): void {
  route(app, getMetrics, async (_input, { scope }) => {
    const sites = await readSiteMetrics(db, scope);
    // What a replica answers is the work of all sites.
    return scope.all ? `${sites}${await metrics.read()}` : sites;
  });
}
