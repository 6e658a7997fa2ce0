import { createHash } from "node:crypto";
import type { DeviceId, PolicyId } from "@rookery/shared/ids.ts";

/**
 * Where in the jitter window of a policy a device has its place: always the same one, so that a fleet is spread and the
 * hour of each device is known.
 */
export function jitterSeconds(
  windowSeconds: number,
  { deviceId, policyId }: { readonly deviceId: DeviceId; readonly policyId: PolicyId },
): number {
  if (windowSeconds === 0) return 0;
  const digest = createHash("sha256").update(`${deviceId} ${policyId}`).digest();
  return digest.readUIntBE(0, 6) % windowSeconds;
}
