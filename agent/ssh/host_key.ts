import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { HostKeyPolicy } from "@rookery/shared/jobs/lease.ts";
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
import { DeviceError } from "./ssh_failure.ts";

/** What decides whether a host key is accepted. */
export interface HostKeyRules {
  readonly hostKeyPolicy: HostKeyPolicy;
  /** The pinned keys; with any, only these are accepted, under either policy. */
  readonly hostKeys: readonly HostKeySeen[];
  /** `host:port`, for messages. */
  readonly where: string;
}

/** The type and OpenSSH fingerprint of a host key blob (RFC 4253, section 6.6); throws when it is none. */
export function describeHostKey(blob: Uint8Array): HostKeySeen {
  const buffer = Buffer.from(blob.buffer, blob.byteOffset, blob.length);
  const length = buffer.length >= 4 ? buffer.readUInt32BE(0) : 0;
  const type = buffer.toString("latin1", 4, 4 + length);
  if (length > 60 || type.length !== length || !/^[\x21-\x7e]+$/.test(type)) {
    throw new DeviceError("handshake_failed", "Cannot read the device's host key: it is malformed");
  }
  const digest = createHash("sha256").update(buffer).digest("base64").replace(/=+$/, "");
  return { type, fingerprint: `SHA256:${digest}` };
}

/** Whether two host keys are the same. */
export function sameHostKey(one: HostKeySeen, other: HostKeySeen): boolean {
  return one.type === other.type && equalText(one.fingerprint, other.fingerprint);
}

/** Why a host key is refused; undefined when it is accepted. */
export function whyRefused(seen: HostKeySeen, rules: HostKeyRules): DeviceError | undefined {
  // Every pin is compared, so that the time taken says nothing about which one matched.
  const matches = rules.hostKeys.filter((pin) => sameHostKey(pin, seen)).length > 0;
  if (matches) return undefined;
  const shown = `${seen.type} ${seen.fingerprint}`;
  if (rules.hostKeys.length > 0) {
    const pinned = rules.hostKeys.map((key) => `${key.type} ${key.fingerprint}`).join(", ");
    return new DeviceError(
      "host_key_changed",
      `Cannot trust ${rules.where}: it shows ${shown}, but pinned is ${pinned}`.slice(0, 1_500),
      { hostKey: seen },
    );
  }
  if (rules.hostKeyPolicy === "first_use") return undefined;
  return new DeviceError(
    "host_key_unknown",
    `Cannot trust ${rules.where}: its key ${shown} has not been accepted and the site is strict`,
    { hostKey: seen },
  );
}

function equalText(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)];
  return left.length === right.length && timingSafeEqual(left, right);
}
