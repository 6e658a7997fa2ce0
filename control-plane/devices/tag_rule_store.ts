import { type Kysely, type RawBuilder, sql, type SqlBool, type Transaction } from "kysely";
import type { TagRuleId } from "@rookery/shared/api/tag_rules.ts";
import type { DeviceId, TenantId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { isTenantVisible, isVisible, type Scope } from "../permissions/scope.ts";

/** What a device has to fit; null: whatever it is. */
export interface RulePatterns {
  readonly name: string | null;
  readonly address: string | null;
  readonly platform: string | null;
  readonly model: string | null;
}

export interface TagRuleRow extends RulePatterns {
  readonly id: TagRuleId;
  readonly tenantId: TenantId;
  readonly tag: string;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
}

export interface RuleSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly ruleId?: TagRuleId;
  readonly after?: TagRuleId | undefined;
}

export async function selectTagRules(
  db: Kysely<Database>,
  { scope, limit, ruleId, after }: RuleSelection,
): Promise<TagRuleRow[]> {
  const { rows } = await sql<TagRuleRow>`
    select r.id, r.tenant_id, t.name as tag, r.name, r.address, r.platform, r.model, r.created_at,
      r.updated_at
    from tag_rules r join tags t on t.id = r.tag_id
    where ${isTenantVisible("r.tenant_id", scope)}
      ${ruleId === undefined ? sql`` : sql`and r.id = ${ruleId}`}
      ${after === undefined ? sql`` : sql`and r.id > ${after}`}
    order by r.id limit ${limit}`.execute(db);
  return rows;
}

/** Makes a rule, or writes it anew, and the tag if its tenant lacks it. */
export async function putTagRule(
  tx: Transaction<Database>,
  rule: RulePatterns & {
    readonly id: TagRuleId;
    readonly tenantId: TenantId;
    readonly tag: string;
  },
): Promise<void> {
  const { id, tenantId, tag, name, address, platform, model } = rule;
  await sql`
    insert into tags (id, tenant_id, name) values (${newId()}, ${tenantId}, ${tag})
    on conflict do nothing`.execute(tx);
  await sql`
    insert into tag_rules (id, tenant_id, tag_id, name, address, platform, model)
    select ${id}, tenant_id, id, ${name}, ${address}, ${platform}, ${model} from tags
    where tenant_id = ${tenantId} and lower(name) = lower(${tag})
    on conflict (id) do update set tag_id = excluded.tag_id, name = excluded.name,
      address = excluded.address, platform = excluded.platform, model = excluded.model,
      updated_at = now()`.execute(tx);
}

export async function deleteTagRuleRow(tx: Transaction<Database>, id: TagRuleId): Promise<void> {
  await tx.deleteFrom("tagRules").where("id", "=", id).execute();
}

/**
 * The condition that the device `d` with the facts `f` fits the patterns in the row `r`. LIKE looks at a value once for each
 * of at most ten wild cards: no pattern makes it slow.
 */
const fits = sql<SqlBool>`((r.name is null or lower(d.name) like as_like(r.name))
  and (r.address is null or lower(d.host) like as_like(r.address))
  and (r.platform is null or lower(d.platform) like as_like(r.platform))
  and (r.model is null or lower(f.model) like as_like(r.model)))`;

/** Gives the devices in use the tags of the rules that they fit: one rule's, or those of some devices. Returns how many. */
export async function applyTagRules(
  tx: Transaction<Database>,
  which: { readonly ruleId: TagRuleId } | { readonly deviceIds: readonly DeviceId[] },
): Promise<number> {
  const chosen: RawBuilder<SqlBool> = "ruleId" in which
    ? sql`r.id = ${which.ruleId}`
    : sql`d.id = any(${[...which.deviceIds]}::uuid[])`;
  const { numAffectedRows } = await sql`
    insert into device_tags (device_id, tag_id)
    select distinct d.id, r.tag_id from tag_rules r
      join sites s on s.tenant_id = r.tenant_id
      join devices d on d.site_id = s.id and d.archived_at is null
      left join device_facts f on f.device_id = d.id
    where ${chosen} and ${fits}
    order by 1, 2
    on conflict do nothing`.execute(tx);
  return Number(numAffectedRows ?? 0n);
}

export interface RuleExample {
  readonly deviceId: DeviceId;
  readonly name: string;
  readonly host: string;
  readonly tagged: boolean;
}

/** How many devices in use fit, and have the tag already; and some of them, as far as `seen` reaches. */
export async function previewRule(
  db: Kysely<Database>,
  rule: RulePatterns & { readonly tenantId: TenantId; readonly tag: string },
  { seen, examples }: { readonly seen: Scope; readonly examples: number },
) {
  const { tenantId, tag, name, address, platform, model } = rule;
  const found = sql`
    select d.id as device_id, d.site_id, d.name, d.host, exists (
        select from device_tags x join tags t on t.id = x.tag_id
        where x.device_id = d.id and lower(t.name) = lower(${tag})) as tagged
    from (values (${name}::text, ${address}::text, ${platform}::text, ${model}::text))
        as r(name, address, platform, model),
      sites s join devices d on d.site_id = s.id and d.archived_at is null
      left join device_facts f on f.device_id = d.id
    where s.tenant_id = ${tenantId} and ${fits}`;
  const { rows: [counts] } = await sql<{ fits: number; tagged: number }>`
    select count(*)::int as fits, count(*) filter (where tagged)::int as tagged
    from (${found}) x`.execute(db);
  const { rows } = await sql<RuleExample>`
    select device_id, name, host, tagged from (${found}) x
    where ${isVisible("x.site_id", seen)} order by tagged, device_id limit ${examples}`.execute(db);
  return { fits: counts?.fits ?? 0, tagged: counts?.tagged ?? 0, examples: rows };
}
