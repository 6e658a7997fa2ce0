/** Which rules a text was redacted by: what was redacted by others is not to be shown or searched before it is anew. */
import { createHash } from "node:crypto";
import { DRIVERS, findDriver } from "@rookery/shared/drivers/mod.ts";
import { EVERYWHERE, REDACTOR_VERSION } from "@rookery/shared/drivers/redact.ts";

/** The name of today's rules of a platform; null when it has no driver any more, so that nothing of it is shown. */
export function redactionRules(platform: string): string | null {
  const driver = findDriver(platform);
  if (!driver) return null;
  const rules = JSON.stringify([REDACTOR_VERSION, platform, driver.secrets, EVERYWHERE]);
  return createHash("sha256").update(rules).digest("base64url").slice(0, 22);
}

/** Those of all platforms. */
export const REDACTION_RULES: readonly string[] = [...DRIVERS.keys()].flatMap((platform) =>
  redactionRules(platform) ?? []
);
