import { z } from "zod";
import { Sha256 } from "../ids.ts";

/** The JWS type of a driver, so that no other token of the control plane can pass for one. */
export const DRIVER_TYPE = "rookery-driver+jwt";
/** The longest compact JWS of a driver that is sent or read. */
export const MAX_DRIVER_TOKEN = 400_000;

export const Platform = z.string().regex(/^[a-z0-9_]{1,40}$/).meta({ example: "frr" });

/** A driver that an agent needs for the devices of its sites. */
export const WantedDriver = z.object({ platform: Platform, sha256: Sha256 })
  .meta({ id: "WantedDriver" });
export type WantedDriver = z.infer<typeof WantedDriver>;

/**
 * The claims of a driver that travels: signed by the control plane (JWS, Ed25519, typ `rookery-driver+jwt`). `sha256` is the
 * digest of the canonical JSON of `driver`, which the agent works out by itself.
 */
export const DriverClaims = z.strictObject({
  iss: z.string(),
  platform: Platform,
  sha256: Sha256,
  driver: z.json(),
});
export type DriverClaims = z.infer<typeof DriverClaims>;
