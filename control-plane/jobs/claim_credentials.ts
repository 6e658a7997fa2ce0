import { sql, type Transaction } from "kysely";
import { isStale, liveLimit } from "../credentials/ramp.ts";
import type { Database } from "../database/schema.ts";
import { type Candidate, CANDIDATES, headOf, lanesOf, type QueueView } from "./claim_candidates.ts";

/** Looked at first, beside twice what is wanted: mostly the head of the queue is what is granted. */
const FEW = 16;

/** What a claim is to grant at a site. */
export interface Choice {
  readonly chosen: readonly Candidate[];
  /** A job was passed over because its credential has no room: no claim floor may be put behind it. */
  readonly passedOver: boolean;
}

/**
 * Chooses the best waiting jobs, one for each free device, and no more of a credential version than its ramp allows.
 * A few from the floor on; where that fills no claim, more from the head: a hint hides nothing. Where jobs without room
 * clog the head, lane by lane.
 */
export async function chooseJobs(
  tx: Transaction<Database>,
  view: QueueView,
  free: number,
): Promise<Choice> {
  const candidates = await findCandidates(tx, view, free);
  const choice = pick(candidates, free);
  const limited = choice.chosen.filter((candidate) => candidate.room !== null);
  if (limited.length === 0) return choice;
  const rooms = await lockRooms(tx, limited);
  const exact = candidates.map((candidate) =>
    candidate.room === null ? candidate : { ...candidate, room: rooms.get(nameOf(candidate)) ?? 0 }
  );
  const again = pick(exact, free);
  return { ...again, passedOver: again.passedOver || choice.passedOver };
}

async function findCandidates(
  tx: Transaction<Database>,
  view: QueueView,
  free: number,
): Promise<readonly Candidate[]> {
  const few = Math.min(CANDIDATES, 2 * free + FEW);
  let { rows: candidates } = await headOf(view, few).execute(tx);
  const isAll = view.floor === undefined && candidates.length < few;
  if (!isAll && pick(candidates, free).chosen.length < free) {
    const whole = headOf({ ...view, floor: undefined }, CANDIDATES);
    candidates = (await whole.execute(tx)).rows;
  }
  const { chosen, passedOver } = pick(candidates, free);
  const isClogged = passedOver && chosen.length < free && candidates.length === CANDIDATES;
  if (!isClogged) return candidates;
  const { rows: lanes } = await lanesOf({ ...view, floor: undefined }).execute(tx);
  // Only to be counted as passed over: a lane without room shows none of its jobs.
  return [...candidates.filter(({ room }) => room !== null && room <= 0), ...lanes];
}

function pick(candidates: readonly Candidate[], free: number): Choice {
  const devices = new Set<string>();
  const used = new Map<string, number>();
  const chosen: Candidate[] = [];
  let passedOver = false;
  for (const candidate of candidates) {
    if (chosen.length === free) break;
    if (devices.has(candidate.deviceId)) continue;
    const name = nameOf(candidate);
    const count = used.get(name) ?? 0;
    if (candidate.room !== null && count >= candidate.room) {
      passedOver = true;
      continue;
    }
    devices.add(candidate.deviceId);
    used.set(name, count + 1);
    chosen.push(candidate);
  }
  return { chosen, passedOver };
}

function nameOf({ credentialId, version }: Pick<Candidate, "credentialId" | "version">): string {
  return `${credentialId}/${version}`;
}

/**
 * Locks the versions that have a limit, in the order of their keys and all at once, and counts anew: exact over all
 * sites and replicas, since no lease of such a version is granted without this lock. Only versions that seemed to have
 * room come here, so that thousands of claims that get nothing do not queue for one row.
 */
async function lockRooms(
  tx: Transaction<Database>,
  candidates: readonly Candidate[],
): Promise<ReadonlyMap<string, number>> {
  const wanted = [...new Map(candidates.map((candidate) => [nameOf(candidate), candidate]))]
    .map(([, { credentialId, version }]) => ({ credential_id: credentialId, version }));
  const which = sql`jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb)
    as w(credential_id uuid, version integer)`;
  await sql`
    select 1 from credential_versions v join ${which}
      on w.credential_id = v.credential_id and w.version = v.version
    order by v.credential_id, v.version for no key update of v`.execute(tx);
  await restartStale(tx, which);
  // A statement of its own, after the locks: only then does its snapshot see every other grant.
  const { rows } = await sql<Pick<Candidate, "credentialId" | "version"> & { room: number }>`
    select v.credential_id, v.version,
      (coalesce(${liveLimit}, ${CANDIDATES}::int) - (select count(*) from leases b
        where b.credential_id = v.credential_id and b.credential_version = v.version))::int as room
    from credential_versions v join ${which}
      on w.credential_id = v.credential_id and w.version = v.version`.execute(tx);
  return new Map(rows.map((row) => [nameOf(row), row.room]));
}

/** Trust that is too old is forgotten for good with the first lease that it would have been used for. */
async function restartStale(
  tx: Transaction<Database>,
  which: ReturnType<typeof sql>,
): Promise<void> {
  await sql`
    update credential_versions v set ramp = 1 from ${which}
    where v.credential_id = w.credential_id and v.version = w.version
      and v.ramp is distinct from 1 and ${isStale}`.execute(tx);
}
