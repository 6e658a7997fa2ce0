import type { Selectable } from "kysely";
import { type Session, SessionId } from "@rookery/shared/api/sessions.ts";
import type { SessionsTable } from "../database/schema.ts";
import type { UserCaller } from "../http/caller.ts";

/** A session as the wire has it; `current` is the one through which it is asked for. */
export function sessionOf(row: Selectable<SessionsTable>, { via }: UserCaller): Session {
  return {
    id: SessionId.parse(row.id),
    current: via.kind === "session" && via.sessionId === row.id,
    userAgent: row.userAgent,
    address: row.address,
    createdAt: row.createdAt.toString(),
    lastUsedAt: row.lastUsedAt.toString(),
    expiresAt: row.expiresAt.toString(),
  };
}
