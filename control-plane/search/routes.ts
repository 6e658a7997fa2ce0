import type { Kysely } from "kysely";
import { searchConfigurations, type SearchReply } from "@rookery/shared/api/search.ts";
import type { HandlerInput } from "@rookery/shared/endpoint.ts";
import { RevisionId } from "@rookery/shared/ids.ts";
import type { TextServices } from "../backups/render_text.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { readCursor, writeCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import { deadlineIn } from "./in_time.ts";
import {
  type Found,
  searchCurrent,
  type SearchedText,
  someAreHeldBack,
  TextPosition,
} from "./search_current.ts";
import { searchHistory } from "./search_history.ts";
import { SearchSlots } from "./search_slots.ts";

export interface SearchContext extends TextServices {
  readonly db: Kysely<Database>;
  /** How long a search may take. Default 5,000. */
  readonly searchMs?: number;
}

const SEARCH_MS = 5_000;

/** What configurations have, or had, in their lines. */
export function mountSearch(app: App, context: SearchContext): void {
  const slots = new SearchSlots();
  route(app, searchConfigurations, ({ query }, { scope }) => {
    const search = query.revisions === "all" ? replyOfHistory : replyOfCurrent;
    return slots.run(() => search(context, query, scope));
  });
}

type Query = HandlerInput<typeof searchConfigurations>["query"];

const TOO_LONG =
  "The search took too long: go on by nextCursor if there is one, or ask for less (a site, tags, a longer text).";
const HELD_BACK = "Some configurations are being masked anew by today's rules: search again later.";
const UNREADABLE =
  "Some configurations cannot be read: POST /api/v1/configuration-checks finds them.";

async function replyOfCurrent(
  { db, searchMs = SEARCH_MS }: SearchContext,
  query: Query,
  scope: Scope,
): Promise<SearchReply> {
  const order = { ...query, scope, after: readCursor(query.cursor, TextPosition) };
  const found = await searchCurrent(db, order, deadlineIn(searchMs));
  const heldBack = await someAreHeldBack(db, order);
  return replyOf(found, heldBack ? HELD_BACK : null);
}

async function replyOfHistory(
  { db, searchMs = SEARCH_MS, ...services }: SearchContext,
  query: Query,
  scope: Scope,
): Promise<SearchReply> {
  const { keyRing, texts } = services;
  const before = readCursor(query.cursor, RevisionId);
  const order = { ...query, keyRing, texts, scope, before };
  const { unreadable, ...found } = await searchHistory(db, order, deadlineIn(searchMs));
  return replyOf(found, unreadable ? UNREADABLE : null);
}

function replyOf({ rows, next, timedOut }: Found<unknown>, missing: string | null): SearchReply {
  const reason = timedOut ? TOO_LONG : missing;
  return {
    items: rows.map(foundOf),
    nextCursor: next === undefined ? null : writeCursor(next),
    partial: reason !== null,
    reason,
  };
}

function foundOf({ lastSeenAt, lines, ...row }: SearchedText) {
  return { ...row, lastSeenAt: lastSeenAt.toString(), lines: lines ?? [] };
}
