/** The life of every lease, from its grant to the moment when it was gone. */
import type { AttemptRow, GrantRow, Tables } from "./evidence.ts";

export interface LeaseLife {
  readonly grant: GrantRow;
  /** Infinity for one that lives still. Before the transaction that took it away was over, so it never says too long. */
  readonly goneAt: number;
  /** What ended it: none for one that lives, or that nobody knows the end of. */
  readonly ends: readonly AttemptRow[];
  /** Its result, accepted in time or late. */
  readonly accepted: readonly AttemptRow[];
}

export function livesOf({ grants, attempts }: Pick<Tables, "grants" | "attempts">): LeaseLife[] {
  const byLease = Map.groupBy(attempts, (attempt) => attempt.lease_id);
  return grants.map((grant) => {
    const own = (byLease.get(grant.lease_id) ?? []).filter(({ outcome }) =>
      outcome !== "superseded"
    );
    const ends = own.filter(({ answer }) => answer !== "accepted_late");
    const goneAt = Math.min(Infinity, ...ends.map(({ ended_at }) => ended_at));
    return { grant, goneAt, ends, accepted: own.filter(({ answer }) => answer !== null) };
  });
}
