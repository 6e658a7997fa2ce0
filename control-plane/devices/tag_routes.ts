import { type Kysely, sql, type Transaction } from "kysely";
import {
  deleteTag,
  listTags,
  renameTag,
  TagId,
  type TagName,
} from "@rookery/shared/api/tag_names.ts";
import type { TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { isTenantVisible, type Scope } from "../permissions/scope.ts";
import { namesTag } from "./tag_filter.ts";

const DUPLICATES = { tags_name: ["name", "another tag of the tenant has this name"] } as const;

/** The tags that tenants have. */
export function mountTags(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listTags, async ({ query: { limit, cursor, tenantId } }, { scope }) => {
    const after = readCursor(cursor, TagId);
    const rows = await selectTags(db, { scope, tenantId, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: tagOf, position: (row) => row.id });
  });

  route(app, renameTag, async ({ params: { tagId }, body: { name } }, context) => {
    const before = await readTag(db, context.scope, tagId);
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        if (name.toLowerCase() !== before.name.toLowerCase()) await refuseSelected(tx, before.name);
        await tx.updateTable("tags").set({ name }).where("id", "=", tagId).execute();
        const entry = { action: "tag.update", target: { kind: "tag", id: tagId } };
        const detail = { before: { name: before.name }, after: { name } };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return tagOf(await readTag(db, context.scope, tagId));
  });

  route(app, deleteTag, async ({ params: { tagId } }, context) => {
    const { name } = await readTag(db, context.scope, tagId);
    await inTransaction(db, async (tx) => {
      await refuseSelected(tx, name);
      await refuseGiven(tx, tagId);
      await tx.deleteFrom("tags").where("id", "=", tagId).execute();
      const entry = { action: "tag.delete", target: { kind: "tag", id: tagId } };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { name } });
    });
  });
}

interface TagRow extends Omit<TagName, "createdAt"> {
  readonly createdAt: Temporal.Instant;
}

async function selectTags(
  db: Kysely<Database>,
  { scope, tagId, tenantId, after, limit }: {
    readonly scope: Scope;
    readonly tagId?: TagId;
    readonly tenantId?: TenantId | undefined;
    readonly after?: TagId | undefined;
    readonly limit: number;
  },
): Promise<TagRow[]> {
  const { rows } = await sql<TagRow>`
    select t.id, t.tenant_id, t.name, t.created_at from tags t
    where ${isTenantVisible("t.tenant_id", scope)}
      ${tagId === undefined ? sql`` : sql`and t.id = ${tagId}`}
      ${tenantId === undefined ? sql`` : sql`and t.tenant_id = ${tenantId}`}
      ${after === undefined ? sql`` : sql`and t.id > ${after}`}
    order by t.id limit ${limit}`.execute(db);
  return rows;
}

async function readTag(db: Kysely<Database>, scope: Scope, tagId: TagId): Promise<TagRow> {
  const [row] = await selectTags(db, { scope, tagId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such tag.");
  return row;
}

/** Policies select by names, whichever tenant's. */
async function refuseSelected(tx: Transaction<Database>, name: string): Promise<void> {
  const { rows } = await sql<{ tags: string }>`
    select selection ->> 'tags' as tags from policies
    where deleted_at is null and selection ->> 'tags' is not null`.execute(tx);
  if (!rows.some(({ tags }) => namesTag(tags, name))) return;
  throw new ProblemError("in-use", "A policy selects devices by this tag: change that first.");
}

async function refuseGiven(tx: Transaction<Database>, tagId: TagId): Promise<void> {
  const rule = await tx.selectFrom("tagRules").select("id").where("tagId", "=", tagId).limit(1)
    .executeTakeFirst();
  if (rule) throw new ProblemError("in-use", "A rule gives this tag: delete the rule first.");
}

function tagOf(row: TagRow): TagName {
  return { ...row, createdAt: row.createdAt.toString() };
}
