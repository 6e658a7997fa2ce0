import { SignJWT } from "jose";
import { MAX_WANTED_DRIVERS } from "@rookery/shared/api/agent_protocol.ts";
import {
  DRIVER_TYPE,
  DriverClaims,
  type WantedDriver,
} from "@rookery/shared/drivers/signed_driver.ts";
import type { Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { AgentServices } from "./services.ts";

/** The drivers that devices of these sites need and that an agent with those digests lacks. */
export async function neededDrivers(
  { db, drivers }: Pick<AgentServices, "db" | "drivers">,
  { siteIds, reported }: {
    readonly siteIds: readonly SiteId[];
    readonly reported: Readonly<Record<string, string>>;
  },
): Promise<WantedDriver[]> {
  const lacking = new Map(
    Object.entries(await drivers.digests()).filter(([name, sha256]) => reported[name] !== sha256),
  );
  // The rule: agents have what we have, and no session asks the database for it.
  if (lacking.size === 0 || siteIds.length === 0) return [];
  const rows = await db.selectFrom("devices").select("platform").distinct()
    .where("siteId", "in", [...siteIds]).where("platform", "in", [...lacking.keys()])
    .where("archivedAt", "is", null).orderBy("platform").limit(MAX_WANTED_DRIVERS).execute();
  return rows.flatMap(({ platform }) => {
    const sha256 = lacking.get(platform);
    return sha256 === undefined ? [] : [{ platform, sha256 }];
  });
}

/** A driver as it travels; undefined when there is none with that digest. */
export async function signDriver(
  { drivers, keyRing, issuer }: Pick<AgentServices, "drivers" | "keyRing" | "issuer">,
  sha256: Sha256,
): Promise<string | undefined> {
  const driver = await drivers.findByDigest(sha256);
  if (!driver) return undefined;
  const claims = DriverClaims.parse({ iss: issuer, platform: driver.platform, sha256, driver });
  return await new SignJWT(claims)
    .setProtectedHeader({ alg: "Ed25519", typ: DRIVER_TYPE, kid: keyRing.signing.kid })
    .sign(keyRing.signing.privateKey);
}
