import { type Kysely, type RawBuilder, sql, type SqlBool } from "kysely";
import { parseTagExpression, type TagCondition } from "@rookery/shared/api/tag_expression.ts";
import type { Selection } from "@rookery/shared/api/policies.ts";
import type { DeviceId, PolicyId, SiteId } from "@rookery/shared/ids.ts";
import { type FieldError, ProblemError, refusedField } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { tagNames } from "../devices/device_tags.ts";
import { hasTags } from "../devices/tag_filter.ts";
import { isVisible, type Scope, whereVisible } from "../permissions/scope.ts";

/** A selection with the sites that it can reach; null: every site. */
export interface Reach {
  readonly selection: Selection;
  readonly siteIds: readonly SiteId[] | null;
}

/** The condition that a device of the table `d` is selected now. */
export function isSelected({ selection, siteIds }: Reach): RawBuilder<SqlBool> {
  const { deviceIds, tags } = selection;
  return sql<SqlBool>`(d.archived_at is null
    ${siteIds ? sql`and d.site_id = any(${[...siteIds]}::uuid[])` : sql``}
    ${deviceIds ? sql`and d.id = any(${[...deviceIds]}::uuid[])` : sql``}
    ${tags === undefined ? sql`` : sql`and ${hasTags("d.id", tags)}`})`;
}

/**
 * Which sites a selection can reach. Refuses with `not-found` what the caller does not see, and with `validation` what
 * would reach sites that the caller does not see.
 */
export async function findReach(
  db: Kysely<Database>,
  { selection, scope }: { readonly selection: Selection; readonly scope: Scope },
): Promise<SiteId[] | null> {
  const { deviceIds, siteIds } = selection;
  if (deviceIds) return await sitesOf(db, { deviceIds, scope });
  if (siteIds) return await seenSites(db, { siteIds, scope });
  if (scope.all) return null;
  const detail = "is required: you see some sites only";
  throw refusedField("#/selection/siteIds", detail);
}

async function sitesOf(
  db: Kysely<Database>,
  { deviceIds, scope }: { readonly deviceIds: readonly DeviceId[]; readonly scope: Scope },
): Promise<SiteId[]> {
  const rows = await whereVisible(db.selectFrom("devices"), "devices.siteId", scope)
    .select(["id", "siteId"]).where(sql<boolean>`id = any(${[...deviceIds]}::uuid[])`).execute();
  refuseUnknown(deviceIds, { known: rows.map(({ id }) => id), field: "deviceIds", noun: "device" });
  return [...new Set(rows.map(({ siteId }) => siteId))].sort();
}

async function seenSites(
  db: Kysely<Database>,
  { siteIds, scope }: { readonly siteIds: readonly SiteId[]; readonly scope: Scope },
): Promise<SiteId[]> {
  const { rows } = await sql<{ id: SiteId }>`
    select id from sites where id = any(${[...siteIds]}::uuid[]) and ${isVisible("sites.id", scope)}
    order by id`.execute(db);
  refuseUnknown(siteIds, { known: rows.map(({ id }) => id), field: "siteIds", noun: "site" });
  return rows.map(({ id }) => id);
}

function refuseUnknown(
  ids: readonly string[],
  { known, field, noun }: {
    readonly known: readonly string[];
    readonly field: string;
    readonly noun: string;
  },
): void {
  const seen = new Set(known);
  const errors: FieldError[] = ids.flatMap((id, index) =>
    seen.has(id)
      ? []
      : [{ detail: `there is no such ${noun}`, pointer: `#/selection/${field}/${index}` }]
  );
  const [first] = errors;
  if (!first) return;
  throw new ProblemError("not-found", `${first.pointer}: ${first.detail}`, {
    errors: errors.slice(0, 50),
  });
}

/** The policies that select a device; none when the caller does not see the device. */
export async function selectPoliciesOf(
  db: Kysely<Database>,
  { deviceId, scope }: { readonly deviceId: DeviceId; readonly scope: Scope },
): Promise<PolicyId[]> {
  const device = await whereVisible(db.selectFrom("devices"), "devices.siteId", scope)
    .select(["siteId", tagNames.as("tags")]).where("devices.id", "=", deviceId).executeTakeFirst();
  if (!device) return [];
  const { rows } = await sql<{ id: PolicyId; tags: string | null }>`
    select id, selection ->> 'tags' as tags from policies
    where deleted_at is null and coalesce(${device.siteId}::uuid = any(site_ids), true)
      and coalesce(selection -> 'deviceIds' ? ${deviceId}, true)`.execute(db);
  const names = new Set(device.tags.map((tag) => tag.toLowerCase()));
  return rows.filter(({ tags }) => tags === null || fulfils(parseTagExpression(tags), names))
    .map(({ id }) => id);
}

function fulfils(asked: TagCondition, names: ReadonlySet<string>): boolean {
  if ("not" in asked) return !fulfils(asked.not, names);
  if ("tag" in asked) return names.has(asked.tag.toLowerCase());
  return "and" in asked
    ? asked.and.every((part) => fulfils(part, names))
    : asked.or.some((part) => fulfils(part, names));
}
