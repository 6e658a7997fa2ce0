import { type Kysely, sql, type Transaction } from "kysely";
import {
  type ChangeReport,
  MAX_HINT_TEXT,
  MAX_HINT_USER,
  MAX_REPORTERS,
} from "@rookery/shared/api/change_hints.ts";
import { type DeviceId, MAX_INTEGER, type SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

/** A device is backed up when nothing was said of it for so long; a change comes as many messages. */
export const QUIET_SECONDS = 60;
/** Whoever goes on changing a device for longer is backed up in between. */
export const LONGEST_SECONDS = 600;
/** Devices that share one address, behind one address translation, are told apart by nobody: more are not asked. */
const MOST_DEVICES = 20;

/** By what names a device is looked for, in lower case: `host` counts before `address`. */
export interface DeviceNames {
  readonly host: string;
  readonly address: string;
}

export interface NamedDevice {
  /** Which of the names, by its place in the list. */
  readonly place: number;
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
}

/**
 * The devices in use that are meant by names: those with that host, else with that name, else with that address. An agent of
 * several sites cannot tell which of them has the address; then each that has it is meant.
 */
export async function findNamedDevices(
  db: Kysely<Database>,
  { siteIds, names }: {
    readonly siteIds: readonly SiteId[];
    readonly names: readonly DeviceNames[];
  },
): Promise<NamedDevice[]> {
  const asked = JSON.stringify(names.map((name, place) => ({ ...name, place })));
  const inUse = sql`d.archived_at is null and d.site_id = any(${[...siteIds]}::uuid[])`;
  const { rows } = await sql<NamedDevice>`
    select a.place, f.site_id, f.device_id
    from jsonb_to_recordset(${asked}::text::jsonb) as a(place int, host text, address text)
    cross join lateral (
      select m.*, rank() over (order by m.preference) as position from (
        select 1 as preference, d.site_id, d.id as device_id from devices d
        where ${inUse} and lower(d.host) = a.host
        union all
        select 2, d.site_id, d.id from devices d where ${inUse} and lower(d.name) = a.host
        union all
        select 3, d.site_id, d.id from devices d where ${inUse} and lower(d.host) = a.address
      ) m order by position, device_id limit ${MOST_DEVICES}
    ) f where f.position = 1`.execute(db);
  return rows;
}

/** What is said of one device. */
export interface DeviceHint {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly count: number;
  readonly report: Omit<ChangeReport, "at">;
}

export interface NotedHint {
  readonly deviceId: DeviceId;
  readonly dueAt: Temporal.Instant;
}

/** Notes what is said of devices, and puts off their backups. In the order of their ids, so that nobody waits in a circle. */
export async function noteHints(
  db: Kysely<Database>,
  hints: readonly DeviceHint[],
): Promise<NotedHint[]> {
  const { rows } = await sql<NotedHint>`
    insert into change_hints (site_id, device_id, first_at, last_at, due_at, hints, reports)
    select n.site_id, n.device_id, now(), now(), now() + make_interval(secs => ${QUIET_SECONDS}),
      n.hints, (select jsonb_agg(r || jsonb_build_object('at', now()) order by i)
        from jsonb_array_elements(n.reports) with ordinality as e(r, i))
    from jsonb_to_recordset(${JSON.stringify(byDevice(hints))}::text::jsonb)
      as n(site_id uuid, device_id uuid, hints int, reports jsonb)
    order by n.site_id, n.device_id
    on conflict (site_id, device_id) do update set last_at = excluded.last_at,
      due_at = least(excluded.due_at,
        change_hints.first_at + make_interval(secs => ${LONGEST_SECONDS})),
      hints = least(change_hints.hints::bigint + excluded.hints, ${MAX_INTEGER}),
      reports = ${newestOfEach(sql`change_hints.reports || excluded.reports`)}
    returning device_id, due_at`.execute(db);
  return rows;
}

/** The newest report of each user, oldest first, of the newest users. */
export function newestOfEach(reports: ReturnType<typeof sql>) {
  return sql`(select jsonb_agg(kept.r order by kept.i) from (
    select newest.r, newest.i from (
      select distinct on (r ->> 'user') r, i
      from jsonb_array_elements(${reports}) with ordinality as e(r, i)
      order by r ->> 'user', i desc) newest
    order by newest.i desc limit ${MAX_REPORTERS}) kept)`;
}

/** One row for each device, whatever was said of it. */
function byDevice(hints: readonly DeviceHint[]) {
  return [...Map.groupBy(hints, ({ deviceId }) => deviceId).values()].map((said) => ({
    site_id: said[0]?.siteId,
    device_id: said[0]?.deviceId,
    hints: Math.min(said.reduce((sum, { count }) => sum + count, 0), MAX_INTEGER),
    reports: [...new Map(said.map(({ report }) => [report.user, bounded(report)])).values()]
      .slice(-MAX_REPORTERS),
  }));
}

function bounded(report: DeviceHint["report"]): DeviceHint["report"] {
  const { user, text } = report;
  return { ...report, user: user.slice(0, MAX_HINT_USER), text: text.slice(0, MAX_HINT_TEXT) };
}

/** What waits for quiet at a site, by device. */
export async function selectHints(
  db: Kysely<Database>,
  page: {
    readonly siteId: SiteId;
    readonly after?: DeviceId | undefined;
    readonly limit: number;
  },
) {
  const { siteId, after, limit } = page;
  return await db.selectFrom("changeHints").selectAll().where("siteId", "=", siteId)
    .$if(after !== undefined, (query) => query.where("deviceId", ">", after as DeviceId))
    .orderBy("deviceId").limit(limit).execute();
}

/** The sites with devices that have been quiet for long enough. */
export async function sitesWithDueHints(db: Kysely<Database>): Promise<SiteId[]> {
  const { rows } = await sql<{ siteId: SiteId }>`
    select distinct site_id from change_hints where due_at <= now() order by site_id limit 100`
    .execute(db);
  return rows.map(({ siteId }) => siteId);
}

export interface DueHint {
  readonly deviceId: DeviceId;
  readonly isArchived: boolean;
  /** The running backup that the change may have come too late for. */
  readonly isRunning: boolean;
}

/** Takes hold of what is due at a site whose queue is locked. */
export async function lockDueHints(
  tx: Transaction<Database>,
  { siteId, limit }: { readonly siteId: SiteId; readonly limit: number },
): Promise<DueHint[]> {
  const { rows } = await sql<DueHint>`
    select h.device_id, d.archived_at is not null as is_archived,
      exists (select 1 from leases l where l.site_id = h.site_id and l.device_id = h.device_id
        and l.kind = 'backup_config' and l.granted_at <= h.last_at) as is_running
    from change_hints h join devices d on d.id = h.device_id
    where h.site_id = ${siteId} and h.due_at <= now()
    order by h.device_id limit ${limit} for update of h`.execute(tx);
  return rows;
}

/** Puts hints off by some seconds. */
export async function postponeHints(
  db: Kysely<Database>,
  late: { readonly siteId: SiteId; readonly seconds: number; readonly deviceIds?: DeviceId[] },
): Promise<void> {
  const { siteId, seconds, deviceIds } = late;
  await sql`
    update change_hints set due_at = now() + make_interval(secs => ${seconds})
    where site_id = ${siteId} and due_at <= now()
      ${deviceIds ? sql`and device_id = any(${deviceIds}::uuid[])` : sql``}`.execute(db);
}

/** Moves what was said of devices to their jobs, beside what a job of theirs knew already. */
export async function moveHintsToJobs(
  tx: Transaction<Database>,
  { siteId, jobs }: {
    readonly siteId: SiteId;
    readonly jobs: readonly { readonly deviceId: DeviceId; readonly jobId: string }[];
  },
): Promise<void> {
  const ordered = jobs.map(({ deviceId, jobId }) => ({ device_id: deviceId, job_id: jobId }));
  await sql`
    with moved as (
      delete from change_hints h
      using jsonb_to_recordset(${JSON.stringify(ordered)}::text::jsonb)
        as o(device_id uuid, job_id uuid)
      where h.site_id = ${siteId} and h.device_id = o.device_id
      returning o.job_id, h.first_at, h.last_at, h.hints, h.reports
    )
    update jobs j set cause = jsonb_build_object('kind', 'change_hint',
      'firstAt', coalesce(j.cause -> 'firstAt', to_jsonb(m.first_at)), 'lastAt', m.last_at,
      'hints', least(coalesce((j.cause ->> 'hints')::bigint, 0) + m.hints, ${MAX_INTEGER}),
      'reports', ${newestOfEach(sql`coalesce(j.cause -> 'reports', '[]') || m.reports`)})
    from moved m where j.site_id = ${siteId} and j.id = m.job_id`.execute(tx);
}

/** Forgets what was said of devices that are backed up no more. */
export async function dropHints(
  tx: Transaction<Database>,
  { siteId, deviceIds }: { readonly siteId: SiteId; readonly deviceIds: readonly DeviceId[] },
): Promise<void> {
  await tx.deleteFrom("changeHints").where("siteId", "=", siteId)
    .where("deviceId", "in", [...deviceIds]).execute();
}
