import type { Transaction } from "kysely";
import { permissionsOf, REACHES } from "@rookery/shared/api/access.ts";
import type { Selector } from "@rookery/shared/api/permissions.ts";
import { type FieldError, ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { selectUnknownPlaces } from "./store.ts";

/** What a permission shall allow, and where. */
export interface WantedRule {
  readonly actions: readonly string[];
  readonly selector: Selector | null;
}

/** Refuses a selector of what does not exist, and one that an action cannot be narrowed by. */
export async function checkRule(tx: Transaction<Database>, rule: WantedRule): Promise<void> {
  const { selector } = rule;
  if (selector === null) return;
  const errors = rule.actions.flatMap((action, index): FieldError[] => {
    const detail = whyNotNarrowed(action, selector);
    return detail === undefined ? [] : [{ detail, pointer: `#/actions/${index}` }];
  });
  for (const { field, id } of await selectUnknownPlaces(tx, selector)) {
    const places: readonly string[] = selector[field];
    const detail = field === "tenantIds" ? "there is no such tenant" : "there is no such site";
    errors.push({ detail, pointer: `#/selector/${field}/${places.indexOf(id)}` });
  }
  if (errors.length === 0) return;
  const detail = errors.map((error) => `${error.pointer}: ${error.detail}`).join("; ");
  throw new ProblemError("validation", detail.slice(0, 500), { errors: errors.slice(0, 50) });
}

/** A wildcard stands for what of it can be narrowed; nothing may be left of it. */
function whyNotNarrowed(action: string, { siteIds }: Selector): string | undefined {
  const reaches = permissionsOf(action).map((name) => REACHES[name]);
  if (reaches.includes("site")) return undefined;
  if (!reaches.includes("tenant")) {
    return "belongs to no site: it can be held everywhere (selector null) or not at all";
  }
  return siteIds.length === 0
    ? undefined
    : "changes what the sites of a tenant share: name tenantIds and no siteIds";
}
