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

/** Whose floor: agents that run other platforms or kinds skip other jobs, so each set of them has its own. */
export interface FloorOwner {
  readonly siteId: SiteId;
  readonly platforms: readonly string[];
  readonly kinds: readonly string[];
}

/**
 * Where in each site's queue to start reading. When an old transaction keeps deleted rows alive, a claim
 * from the head walks over all of them (measured: 498 buffers instead of 4). Only a hint: it is dropped when
 * work was put before it (`queueVersion`), when a claim is not filled, and every 200 claims.
 */
export class ClaimFloors {
  readonly #floors = new Map<string, Floor>();

  get(owner: FloorOwner, queueVersion: number): FloorKey | undefined {
    const name = nameOf(owner);
    const floor = this.#floors.get(name);
    if (!floor) return undefined;
    if (floor.queueVersion !== queueVersion || floor.claims >= CLAIMS_PER_FLOOR) {
      this.#floors.delete(name);
      return undefined;
    }
    return floor.key;
  }

  /** Notes what a committed claim took last; undefined when it took all that there was. */
  note(owner: FloorOwner, queueVersion: number, key: FloorKey | undefined): void {
    const name = nameOf(owner);
    if (!key) return void this.#floors.delete(name);
    const claims = (this.#floors.get(name)?.claims ?? 0) + 1;
    this.#floors.set(name, { key, queueVersion, claims });
  }
}

function nameOf({ siteId, platforms, kinds }: FloorOwner): string {
  return [siteId, ...platforms.toSorted(), "", ...kinds.toSorted()].join();
}
