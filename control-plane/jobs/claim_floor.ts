import type { JobId, SiteId } from "@rookery/shared/ids.ts";

/** How many claims a floor lives before the queue is read from its head again. */
const CLAIMS_PER_FLOOR = 200;

/** The key below which a site's queue holds nothing to grant. Text, since a `Date` would lose microseconds. */
export interface FloorKey {
  readonly rank: string;
  readonly jobId: JobId;
}

interface Floor {
  readonly key: FloorKey;
  readonly queueVersion: number;
  readonly claims: number;
}

/**
 * Where in each site's queue to start reading. When an old transaction keeps deleted rows alive, a claim
 * from the head walks over all of them (measured: 498 buffers instead of 4). Only a hint: it is dropped when
 * work was put before it (`queueVersion`), when a claim comes back empty, and every 200 claims.
 */
export class ClaimFloors {
  readonly #floors = new Map<SiteId, Floor>();

  get(siteId: SiteId, queueVersion: number): FloorKey | undefined {
    const floor = this.#floors.get(siteId);
    if (!floor) return undefined;
    if (floor.queueVersion !== queueVersion || floor.claims >= CLAIMS_PER_FLOOR) {
      this.#floors.delete(siteId);
      return undefined;
    }
    return floor.key;
  }

  /** Notes what a claim took last; undefined when it came back empty. */
  note(siteId: SiteId, queueVersion: number, key: FloorKey | undefined): void {
    if (!key) return void this.#floors.delete(siteId);
    const claims = (this.#floors.get(siteId)?.claims ?? 0) + 1;
    this.#floors.set(siteId, { key, queueVersion, claims });
  }
}
