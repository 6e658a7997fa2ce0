import { type Insertable, type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { OccurrenceDecision } from "@rookery/shared/api/policies.ts";
import { Selection } from "@rookery/shared/api/policies.ts";
import type { DeviceId, OccurrenceId, PolicyId, SiteId } from "@rookery/shared/ids.ts";
import { JobKind } from "@rookery/shared/jobs/mod.ts";
import { Blackout } from "@rookery/shared/schedules/blackout.ts";
import { Schedule } from "@rookery/shared/schedules/schedule.ts";
import type { Database, PoliciesTable } from "../database/schema.ts";
import { areVisible, type Scope } from "../permissions/scope.ts";

/** How many of the devices that a policy names are shown with it. */
const SHOWN_DEVICES = 20;

/** A policy as it is stored, its documents read. */
export type StoredPolicy = ReturnType<typeof readPolicy>;

export function readPolicy<Row extends Selectable<PoliciesTable>>(row: Row) {
  return {
    ...row,
    kind: JobKind.parse(row.kind),
    schedule: Schedule.parse(row.schedule),
    selection: Selection.parse(row.selection),
    blackouts: Blackout.array().parse(row.blackouts),
  };
}

export interface PolicySelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly after?: PolicyId | undefined;
  readonly policyIds?: readonly PolicyId[] | undefined;
  /** Those that can reach the site. */
  readonly siteId?: SiteId | undefined;
  readonly kind?: JobKind | undefined;
  readonly enabled?: boolean | undefined;
}

/** Policies that are not deleted, by id. */
export async function selectPolicies(db: Kysely<Database>, selection: PolicySelection) {
  const { scope, after, policyIds, siteId, kind, enabled, limit } = selection;
  const rows = await db.selectFrom("policies").selectAll("policies")
    .leftJoin("users", "users.id", "policies.createdBy").select("users.username as createdByName")
    .select(namedDevices.as("devices"))
    .where("policies.deletedAt", "is", null).where(areVisible("policies.siteIds", scope))
    .$if(after !== undefined, (query) => query.where("policies.id", ">", after as PolicyId))
    .$if(
      policyIds !== undefined,
      (query) => query.where(sql<boolean>`policies.id = any(${[...policyIds ?? []]}::uuid[])`),
    )
    .$if(
      siteId !== undefined,
      (query) =>
        query.where(sql<boolean>`coalesce(${siteId}::uuid = any(policies.site_ids), true)`),
    )
    .$if(kind !== undefined, (query) => query.where("policies.kind", "=", kind as string))
    .$if(enabled !== undefined, (query) => query.where("policies.enabled", "=", enabled as boolean))
    .orderBy("policies.id").limit(limit).execute();
  return rows.map(readPolicy);
}

export type PolicyRow = Awaited<ReturnType<typeof selectPolicies>>[number];

const namedDevices = sql<{ id: DeviceId; name: string; platform: string }[]>`(
  select coalesce(jsonb_agg(jsonb_build_object('id', d.id, 'name', d.name, 'platform', d.platform)
    order by d.name), '[]')
  from devices d where d.id = any(array(
    select x::uuid from jsonb_array_elements_text(policies.selection -> 'deviceIds') x
    limit ${sql.lit(SHOWN_DEVICES)})))`;

/** Holds a policy still: nobody changes it or decides a run of it meanwhile. Undefined when it is not there any more. */
export async function lockPolicy(
  tx: Transaction<Database>,
  id: PolicyId,
): Promise<StoredPolicy | undefined> {
  const row = await tx.selectFrom("policies").selectAll()
    .where("id", "=", id).where("deletedAt", "is", null).forUpdate().executeTakeFirst();
  return row && readPolicy(row);
}

/** What is written of a policy; documents go as text, since a list would be taken for an array of PostgreSQL. */
export type PolicyChange = Partial<
  & Omit<Selectable<PoliciesTable>, "payload" | "schedule" | "selection" | "blackouts">
  & { payload: unknown; schedule: Schedule; selection: Selection; blackouts: readonly Blackout[] }
>;

function columnsOf(change: PolicyChange) {
  const { payload, schedule, selection, blackouts, siteIds, ...plain } = change;
  const documents = Object.entries({ payload, schedule, selection, blackouts })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, sql`${JSON.stringify(value)}::text::jsonb`]);
  return {
    ...plain,
    ...(siteIds === undefined ? {} : { siteIds: sql`${siteIds}::uuid[]` }),
    ...Object.fromEntries(documents),
  };
}

export async function insertPolicy(db: Kysely<Database>, policy: PolicyChange): Promise<void> {
  // Documents are SQL of their own; the types of the columns know of values alone.
  await db.insertInto("policies").values(columnsOf(policy) as Insertable<PoliciesTable>).execute();
}

export async function updatePolicy(
  db: Kysely<Database>,
  id: PolicyId,
  change: PolicyChange,
): Promise<void> {
  await db.updateTable("policies").set({ ...columnsOf(change), updatedAt: sql`now()` })
    .where("id", "=", id).execute();
}

/** Only the owner of the row's lock moves it. */
export async function setNextAt(
  db: Kysely<Database>,
  id: PolicyId,
  nextAt: Temporal.Instant | null,
): Promise<void> {
  await db.updateTable("policies").set({ nextAt }).where("id", "=", id).execute();
}

export interface OccurrenceSelection {
  readonly policyId: PolicyId;
  readonly limit: number;
  readonly before?: OccurrenceId | undefined;
  readonly occurrenceId?: OccurrenceId | undefined;
  readonly decision?: OccurrenceDecision | undefined;
}

/** The ledger of a policy, newest decision first. Whether the caller may see the policy is asked before. */
export function selectOccurrences(db: Kysely<Database>, selection: OccurrenceSelection) {
  const { policyId, before, occurrenceId, decision, limit } = selection;
  return db.selectFrom("occurrences").selectAll().where("policyId", "=", policyId)
    .$if(before !== undefined, (query) => query.where("id", "<", before as OccurrenceId))
    .$if(
      occurrenceId !== undefined,
      (query) => query.where("id", "=", occurrenceId as OccurrenceId),
    )
    .$if(
      decision !== undefined,
      (query) => query.where("decision", "=", decision as OccurrenceDecision),
    )
    .orderBy("id", "desc").limit(limit).execute();
}
