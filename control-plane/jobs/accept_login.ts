import type { Selectable, Transaction } from "kysely";
import { lockUsedVersion, type LoginVerdict, noteLogin } from "../credentials/credential_state.ts";
import type { Database, GrantsTable } from "../database/schema.ts";
import { type Acceptance, acceptResult, type Envelope, type Verdict } from "./accept.ts";

/** An attempt's end, with what it says about the credential. */
export interface LoginResult {
  readonly verdict: Verdict;
  readonly login?: LoginVerdict | undefined;
  readonly envelope: Envelope;
}

/**
 * Settles an attempt and clears or blames the credential version that it used: both or neither. What settles nothing says
 * nothing about the credential either; a cancelled job's refusal was a refusal all the same.
 */
export async function acceptWithLogin(
  tx: Transaction<Database>,
  grant: Selectable<GrantsTable>,
  { login, ...result }: LoginResult,
): Promise<Acceptance> {
  // Before the lease, as the lock order wants it.
  const version = login && await lockUsedVersion(tx, grant, login);
  const acceptance = await acceptResult(tx, grant, result);
  if (!acceptance.settled || !version || !login) return acceptance;
  return { ...acceptance, quarantined: await noteLogin(tx, grant, login) };
}
