import type { SiteId, TenantId } from "@rookery/shared/ids.ts";

/** A site with work for an agent, and how many sessions the agent has there already. */
export interface SiteWithWork {
  readonly siteId: SiteId;
  readonly tenantId: TenantId;
  readonly live: number;
}

/** How many leases a claim asks a site for. */
export interface Share {
  readonly siteId: SiteId;
  readonly wanted: number;
}

/**
 * Shares out what an agent has room for: each one goes to the tenant that has least of the agent, and there to the site
 * that has least. So a site with ten thousand jobs waiting holds up nobody else's ten, and a tenant gets no more for having
 * more sites. Sites come in the order given; what one does not use is asked for at the others (see `claimJobs`).
 */
export function fairShares(sites: readonly SiteWithWork[], wanted: number): Share[] {
  const shares = sites.map(({ siteId, tenantId, live }) => ({ siteId, tenantId, live, wanted: 0 }));
  const ofTenant = new Map<TenantId, number>();
  for (const { tenantId, live } of shares) {
    ofTenant.set(tenantId, (ofTenant.get(tenantId) ?? 0) + live);
  }
  for (let left = shares.length === 0 ? 0 : wanted; left > 0; left--) {
    const next = shares.reduce((best, share) => {
      const ahead = (ofTenant.get(share.tenantId) ?? 0) - (ofTenant.get(best.tenantId) ?? 0);
      const isBetter = ahead < 0 ||
        ahead === 0 && share.live + share.wanted < best.live + best.wanted;
      return isBetter ? share : best;
    });
    next.wanted++;
    ofTenant.set(next.tenantId, (ofTenant.get(next.tenantId) ?? 0) + 1);
  }
  return shares.filter((share) => share.wanted > 0).map(({ siteId, wanted }) => ({
    siteId,
    wanted,
  }));
}
