import type { Kysely } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { openEnvelope, type SealContext } from "../keys/envelope.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { digestRecoveryCode } from "./recovery_codes.ts";
import { findFactor, takeRecoveryCode, takeStep, type TotpFactorRow } from "./store.ts";
import { findStep } from "./totp.ts";

export interface CodeServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
}

export interface GivenCode {
  readonly userId: UserId;
  /** As the endpoints parse it: six digits, or a recovery code without hyphens. */
  readonly code: string;
}

/** What a code was that was right, and is used up by that. */
export type UsedCode = "totp" | "recovery_code";

/** Uses a code up that finishes a login; undefined when it is wrong or was used before. */
export async function useCode(
  services: CodeServices,
  given: GivenCode,
): Promise<UsedCode | undefined> {
  const { userId, code } = given;
  if (isTotp(code)) return await useTotp(services, given) ? "totp" : undefined;
  const taken = { userId, codeSha256: digestRecoveryCode(code) };
  return await takeRecoveryCode(services.db, taken) ? "recovery_code" : undefined;
}

/** Whether it is a code of the person's authenticator, confirmed or not, that was not used before. */
export async function useTotp(
  { db, keyRing }: CodeServices,
  { userId, code }: GivenCode,
): Promise<boolean> {
  const factor = await findFactor(db, userId);
  if (!factor || !isTotp(code)) return false;
  const secret = await openTotpSecret(keyRing, factor);
  const step = findStep(secret, { code, nowMs: Date.now() });
  return step !== undefined && await takeStep(db, { userId, step });
}

/** One answer for a wrong code and one that was used before. */
export function wrongCode(): never {
  throw new ProblemError("invalid-code", "The code is wrong, too old, or was used before.");
}

function isTotp(code: string): boolean {
  return code.length === 6;
}

function openTotpSecret(keyRing: KeyRing, factor: TotpFactorRow) {
  return openEnvelope(keyRing, { context: totpContext(factor.userId), envelope: factor });
}

/** A secret opens for its own person alone. */
export function totpContext(userId: UserId): SealContext {
  return ["totp", userId];
}
