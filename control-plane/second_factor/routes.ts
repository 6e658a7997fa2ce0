import type { Transaction } from "kysely";
import {
  confirmSecondFactor,
  enrolSecondFactor,
  getSecondFactor,
  removeSecondFactor,
  replaceRecoveryCodes,
  type SecondFactor,
} from "@rookery/shared/api/second_factor.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import type { UserCaller } from "../http/caller.ts";
import { route, type RouteContext } from "../http/route.ts";
import { sealEnvelope } from "../keys/envelope.ts";
import { checkOwnPassword, type PasswordServices } from "../sessions/check_password.ts";
import { deleteSessionsOf } from "../sessions/store.ts";
import { digestRecoveryCode, newRecoveryCodes } from "./recovery_codes.ts";
import * as store from "./store.ts";
import { newTotpSecret, showTotpSecret } from "./totp.ts";
import { type CodeServices, totpContext, useTotp, wrongCode } from "./use_code.ts";

export interface SecondFactorServices extends PasswordServices, CodeServices {
  readonly publicUrl: string;
}

/** What people do about their own second factor. Each change asks for what a session that was left open does not know. */
export function mountSecondFactor(app: App, services: SecondFactorServices): void {
  const { db } = services;
  route(app, getSecondFactor, async (_input, { caller: { userId } }) => {
    const factor = await store.findFactor(db, userId);
    return {
      state: stateOf(factor),
      confirmedAt: factor?.confirmedAt?.toString() ?? null,
      recoveryCodesLeft: await store.countRecoveryCodes(db, userId),
      isDemanded: await store.isDemandedOf(db, userId),
    };
  });
  mountEnrolment(app, services);
  mountOwnChanges(app, services);
}

function stateOf(factor: store.TotpFactorRow | undefined): SecondFactor["state"] {
  if (!factor) return "off";
  return factor.confirmedAt === null ? "unconfirmed" : "on";
}

function mountEnrolment(app: App, services: SecondFactorServices): void {
  const { db, keyRing, publicUrl } = services;
  route(app, enrolSecondFactor, async ({ body }, context) => {
    requireBrowserSession(context.caller);
    await checkOwnPassword(services, { password: body.password, context });
    const { userId, username } = context.caller;
    const secret = newTotpSecret();
    const envelope = await sealEnvelope(keyRing, {
      context: totpContext(userId),
      plaintext: secret,
    });
    await inTransaction(db, async (tx) => {
      if (!await store.insertFactor(tx, { userId, envelope })) alreadyOn();
      await audit(tx, "user.enrol_second_factor", context);
    });
    return showTotpSecret(secret, `${username}@${new URL(publicUrl).host}`);
  });

  route(app, confirmSecondFactor, async ({ body: { code } }, context) => {
    const except = requireBrowserSession(context.caller);
    const { userId } = context.caller;
    const factor = await store.findFactor(db, userId);
    if (factor?.confirmedAt !== null) nothingToConfirm();
    if (!await useTotp(services, { userId, code })) wrongCode();
    return await inTransaction(db, async (tx) => {
      if (!await store.confirmFactor(tx, userId)) nothingToConfirm();
      // They were opened without a code.
      await deleteSessionsOf(tx, userId, { except });
      await audit(tx, "user.confirm_second_factor", context);
      return await giveRecoveryCodes(tx, userId);
    });
  });
}

function mountOwnChanges(app: App, services: SecondFactorServices): void {
  const { db } = services;
  route(app, replaceRecoveryCodes, async ({ body: { password } }, context) => {
    requireBrowserSession(context.caller);
    await checkOwnPassword(services, { password, context });
    const { userId } = context.caller;
    return await inTransaction(db, async (tx) => {
      if (stateOf(await store.findFactor(tx, userId)) !== "on") isOff();
      await audit(tx, "user.replace_recovery_codes", context);
      return await giveRecoveryCodes(tx, userId);
    });
  });

  route(app, removeSecondFactor, async ({ body: { password } }, context) => {
    requireBrowserSession(context.caller);
    await checkOwnPassword(services, { password, context });
    await inTransaction(db, async (tx) => {
      if (!await store.deleteFactor(tx, context.caller.userId)) isOff();
      await audit(tx, "user.remove_second_factor", context);
    });
  });
}

async function giveRecoveryCodes(tx: Transaction<Database>, userId: UserId) {
  const recoveryCodes = [...newRecoveryCodes()];
  const digests = recoveryCodes.map(digestRecoveryCode);
  await store.replaceRecoveryCodes(tx, { userId, digests });
  return { recoveryCodes };
}

async function audit(
  tx: Transaction<Database>,
  action: string,
  context: Pick<RouteContext, "address" | "requestId"> & { readonly caller: UserCaller },
): Promise<void> {
  const target = { kind: "user", id: context.caller.userId };
  await writeAudit(tx, { actor: actorOf(context), action, target });
}

function alreadyOn(): never {
  throw new ProblemError("conflict", "Your second factor is on; switch it off before another one.");
}

function isOff(): never {
  throw new ProblemError("conflict", "You have no second factor that is on.");
}

function nothingToConfirm(): never {
  throw new ProblemError("conflict", "There is no second factor of yours to be confirmed.");
}
