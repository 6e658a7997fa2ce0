import { compactVerify, decodeProtectedHeader, importJWK, type JWK } from "jose";
import { Driver } from "@rookery/shared/drivers/driver.ts";
import { driverSha256 } from "@rookery/shared/drivers/mod.ts";
import {
  DRIVER_TYPE,
  DriverClaims,
  MAX_DRIVER_TOKEN,
  type WantedDriver,
} from "@rookery/shared/drivers/signed_driver.ts";
import { whyNotReadOnly } from "./read_only_commands.ts";

/** A driver that this agent does not use, whoever sent it; the message says why. */
export class DriverRefusedError extends Error {
  override name = "DriverRefusedError";
}

export interface DriverExpectation {
  readonly issuer: string;
  readonly signingKey: (kid: string) => Promise<JWK | undefined> | JWK | undefined;
  /** What was asked for; absent for what was kept, which says itself what it is. */
  readonly wanted?: WantedDriver;
}

/** A driver that passed, with the digest that was worked out here. */
export interface CheckedDriver extends WantedDriver {
  readonly driver: Driver;
}

/**
 * Checks a driver that came over the network or from the disk: signature, closed vocabulary, digest, and all that it would
 * make this agent send. Throws a DriverRefusedError with the reason.
 */
export async function checkDriver(
  token: string,
  { issuer, signingKey, wanted }: DriverExpectation,
): Promise<CheckedDriver> {
  const claims = await verifySignature(token, signingKey);
  if (claims.iss !== issuer) throw refused("it is of another installation");
  const parsed = Driver.safeParse(claims.driver);
  if (!parsed.success) {
    const path = parsed.error.issues[0]?.path.join(".") ?? "";
    throw refused(`it is not in the vocabulary of this agent: ${path || "its root"} is wrong`);
  }
  const driver = parsed.data;
  const { platform } = driver;
  const sha256 = await driverSha256(driver);
  const said = wanted ?? claims;
  if (sha256 !== claims.sha256 || sha256 !== said.sha256) throw refused("it has another digest");
  if (platform !== claims.platform || platform !== said.platform) {
    throw refused("it is of another platform");
  }
  const why = whyNotReadOnly(driver);
  if (why !== undefined) throw refused(why);
  return { driver, platform, sha256 };
}

async function verifySignature(
  token: string,
  signingKey: DriverExpectation["signingKey"],
): Promise<DriverClaims> {
  const jwk = await signingKey(signerOf(token));
  if (!jwk) throw refused("it is signed by a key that this agent does not trust");
  try {
    const { payload } = await compactVerify(token, await importJWK(jwk, "Ed25519"), {
      algorithms: ["Ed25519"],
    });
    return DriverClaims.parse(JSON.parse(new TextDecoder().decode(payload)));
  } catch (cause) {
    throw refused("its signature or its form is wrong", { cause });
  }
}

function signerOf(token: string): string {
  if (token.length > MAX_DRIVER_TOKEN) throw refused("it is too large");
  try {
    const { alg, typ, kid } = decodeProtectedHeader(token);
    if (alg === "Ed25519" && typ === DRIVER_TYPE && kid !== undefined) return kid;
  } catch (cause) {
    throw refused("it is no JWS", { cause });
  }
  throw refused("its algorithm or type is wrong");
}

function refused(why: string, options?: ErrorOptions): DriverRefusedError {
  return new DriverRefusedError(`Cannot use the driver: ${why}`, options);
}
