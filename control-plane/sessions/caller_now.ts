import type { Kysely } from "kysely";
import { findApiTokenAgain } from "../api_tokens/store.ts";
import type { Database } from "../database/schema.ts";
import type { UserCaller } from "../http/caller.ts";
import { findSessionAgain } from "./store.ts";

/**
 * A caller with what they may do by now; undefined once their session is over, their token revoked, they disabled, or
 * something else due first.
 */
export async function callerNow(
  db: Kysely<Database>,
  { via }: UserCaller,
): Promise<UserCaller | undefined> {
  const caller = via.kind === "session"
    ? await findSessionAgain(db, via.sessionId)
    : await findApiTokenAgain(db, via.tokenId);
  return caller?.due === undefined ? caller : undefined;
}
