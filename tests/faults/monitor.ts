/** Looks into the database while all goes on, each time in one snapshot, and waits for the end of the last job. */
import { setTimeout as delay } from "node:timers/promises";
import { connectDatabase, type DatabaseAddress } from "../../control-plane/database/connect.ts";
import { type MonitorLine, openTeller } from "./history.ts";

const LOOK_MS = 4_000;
const PATIENCE_MS = 10_000;

/** Until `signal`. While the database is away there is nothing to see. */
export async function monitor(
  address: DatabaseAddress,
  { histories, signal }: { readonly histories: string; readonly signal: AbortSignal },
): Promise<void> {
  using history = openTeller<MonitorLine>(histories, "monitor.jsonl");
  while (!signal.aborted) {
    const seen = await look(address).catch(() => undefined);
    if (seen) history.tell(seen);
    await delay(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}

async function look(address: DatabaseAddress): Promise<Omit<MonitorLine, "at"> | undefined> {
  const [row] = await query<Omit<MonitorLine, "at">>(
    address,
    `select count(*)::int as jobs,
      (count(*) filter (where 1 <> (r.job_id is not null)::int + (l.job_id is not null)::int
        + (d.job_id is not null)::int))::int as misplaced,
      (select count(*)::int from sites s
        where s.max_live < (select count(*) from leases b where b.site_id = s.id)) as overfull
    from jobs j left join ready r on r.site_id = j.site_id and r.job_id = j.id
      left join leases l on l.site_id = j.site_id and l.job_id = j.id
      left join done d on d.site_id = j.site_id and d.job_id = j.id`,
  );
  return row;
}

/** The devices with jobs that have not ended. */
export async function devicesWithOpenJobs(address: DatabaseAddress): Promise<string[]> {
  const rows = await query<{ deviceId: string }>(
    address,
    `select distinct device_id as "deviceId" from open_jobs`,
  );
  return rows.map(({ deviceId }) => deviceId);
}

/** A connection of its own each time: what hangs in a crash of the server is given up. */
export async function query<Row>(address: DatabaseAddress, text: string): Promise<Row[]> {
  const database = connectDatabase(address, { poolSize: 1 });
  const late = new AbortController();
  try {
    return await Promise.race([
      database.sql.unsafe(text) as unknown as Promise<Row[]>,
      delay(PATIENCE_MS, undefined, { signal: late.signal }).then(() => {
        throw new Error("The database does not answer");
      }),
    ]);
  } finally {
    late.abort();
    await database.close().catch(() => {});
  }
}
