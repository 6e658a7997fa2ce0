import type { Kysely } from "kysely";
import {
  createTagRule,
  deleteTagRule,
  getTagRule,
  listTagRules,
  previewTagRule,
  TagRuleId,
  updateTagRule,
} from "@rookery/shared/api/tag_rules.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { reachOf } from "../http/caller.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import { chooseTenant } from "../tenants/store.ts";
import * as store from "./tag_rule_store.ts";

const EXAMPLES = 20;

/** Rules that tag devices by what they are. */
export function mountTagRules(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listTagRules, async ({ query: { limit, cursor } }, { scope }) => {
    const after = readCursor(cursor, TagRuleId);
    const rows = await store.selectTagRules(db, { scope, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: ruleOf, position: (row) => row.id });
  });

  route(app, getTagRule, async ({ params: { ruleId } }, { scope }) => {
    return ruleOf(await readRule(db, scope, ruleId));
  });

  route(app, createTagRule, async ({ body }, context) => {
    const { scope } = context;
    const id = newId<TagRuleId>();
    const tenantId = await chooseTenant(db, { scope, tenantId: body.tenantId });
    await inTransaction(db, async (tx) => {
      await store.putTagRule(tx, { ...body, id, tenantId });
      const tagged = await store.applyTagRules(tx, { ruleId: id });
      const entry = { action: "tag_rule.create", target: { kind: "tag_rule", id } };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { ...body, tagged } });
    });
    return ruleOf(await readRule(db, scope, id));
  });

  route(app, updateTagRule, async ({ params: { ruleId: id }, body }, context) => {
    const before = await readRule(db, context.scope, id);
    const rule = { ...before, ...given(body) };
    if (!(rule.name || rule.address || rule.platform || rule.model)) {
      throw refusedField("#/name", "give a pattern: name, address, platform or model");
    }
    await inTransaction(db, async (tx) => {
      await store.putTagRule(tx, rule);
      const tagged = await store.applyTagRules(tx, { ruleId: id });
      const entry = { action: "tag_rule.update", target: { kind: "tag_rule", id } };
      const detail = { ...changedFields({ ...before }, body), tagged };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
    });
    return ruleOf(await readRule(db, context.scope, id));
  });

  route(app, deleteTagRule, async ({ params: { ruleId: id } }, context) => {
    const { tag } = await readRule(db, context.scope, id);
    await inTransaction(db, async (tx) => {
      await store.deleteTagRuleRow(tx, id);
      const entry = { action: "tag_rule.delete", target: { kind: "tag_rule", id } };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { tag } });
    });
  });

  route(app, previewTagRule, async ({ body }, { scope, caller }) => {
    const tenantId = await chooseTenant(db, { scope, tenantId: body.tenantId });
    const seen = reachOf(caller, "devices:read");
    return await store.previewRule(db, { ...body, tenantId }, { seen, examples: EXAMPLES });
  });
}

async function readRule(db: Kysely<Database>, scope: Scope, ruleId: TagRuleId) {
  const [row] = await store.selectTagRules(db, { scope, ruleId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such rule.");
  return row;
}

function ruleOf(row: store.TagRuleRow) {
  return { ...row, createdAt: row.createdAt.toString(), updatedAt: row.updatedAt.toString() };
}
