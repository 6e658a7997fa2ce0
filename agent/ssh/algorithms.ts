import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
// @ts-types="@types/ssh2"
import type ssh2 from "ssh2";
import type { ServerOffer } from "./kexinit.ts";
import { DeviceError, plainText } from "./ssh_failure.ts";

interface AlgorithmLists {
  readonly kex: readonly ssh2.KexAlgorithm[];
  readonly cipher: readonly ssh2.CipherAlgorithm[];
  readonly hmac: readonly ssh2.MacAlgorithm[];
  readonly serverHostKey: readonly ssh2.ServerHostKeyAlgorithm[];
}

/**
 * In order of preference; the first of ours that the device offers is taken. Absent on purpose: ecdh-sha2-nistp521 (Deno has no
 * such createECDH), aes192-cbc (not in Deno). The large groups are last: in Deno they block for up to half a second.
 */
const MODERN: AlgorithmLists = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
  ],
  cipher: [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
    "aes192-ctr",
    // Last: under this runtime it keeps a little memory for every packet, so it is for devices with nothing else.
    "chacha20-poly1305@openssh.com",
  ],
  hmac: [
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1-etm@openssh.com",
    "hmac-sha1",
  ],
  serverHostKey: [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
  ],
};

/** Appended when a device's `legacyAlgorithms` is on: last, so a modern device loses nothing by it. */
const LEGACY: AlgorithmLists = {
  kex: [
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group1-sha1",
  ],
  cipher: ["aes256-cbc", "aes128-cbc", "3des-cbc"],
  hmac: ["hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
  serverHostKey: ["ssh-rsa", "ssh-dss"],
};

/**
 * What we offer a device. The types of its pinned keys come first: a device that has several keys would otherwise show one
 * that is not pinned and look changed. Compression is off always (broken under Deno, and a needless surface).
 */
export function algorithmsFor(
  options: { readonly legacyAlgorithms: boolean; readonly hostKeys: readonly HostKeySeen[] },
): ssh2.Algorithms {
  const lists = listsFor(options.legacyAlgorithms);
  const pinned = new Set(options.hostKeys.map((key) => key.type));
  const isPinned = (name: string) => pinned.has(name.startsWith("rsa-sha2-") ? "ssh-rsa" : name);
  return {
    kex: [...lists.kex],
    cipher: [...lists.cipher],
    hmac: [...lists.hmac],
    serverHostKey: [
      ...lists.serverHostKey.filter(isPinned),
      ...lists.serverHostKey.filter((name) => !isPinned(name)),
    ],
    compress: ["none"],
  };
}

/**
 * The error for a device with which we have no algorithm in common, naming what it offers; undefined when something can
 * be agreed in every category, so the key exchange failed for another reason.
 */
export function nothingInCommon(
  offer: ServerOffer,
  options: { readonly legacyAlgorithms: boolean; readonly where: string },
): DeviceError | undefined {
  const missing = missingCategories(offer, listsFor(options.legacyAlgorithms));
  if (missing.length === 0) return undefined;
  const offered = missing.map(([name, names]) => `${name}: ${plainText(names.join(", "), 350)}`)
    .join("; ");
  const text = `Cannot agree with ${options.where} on algorithms; it offers only ${offered}`;
  const legacyHelps = !options.legacyAlgorithms &&
    missingCategories(offer, listsFor(true)).length === 0;
  return legacyHelps
    ? new DeviceError(
      "legacy_algorithms_only",
      `${text}. They are weak; the device's switch legacyAlgorithms allows them.`,
    )
    : new DeviceError("handshake_failed", `${text}. Rookery speaks none of them.`);
}

function listsFor(legacy: boolean): AlgorithmLists {
  if (!legacy) return MODERN;
  return {
    kex: [...MODERN.kex, ...LEGACY.kex],
    cipher: [...MODERN.cipher, ...LEGACY.cipher],
    hmac: [...MODERN.hmac, ...LEGACY.hmac],
    serverHostKey: [...MODERN.serverHostKey, ...LEGACY.serverHostKey],
  };
}

type Category = readonly [name: string, offered: readonly string[], ours: readonly string[]];

function missingCategories(offer: ServerOffer, lists: AlgorithmLists): readonly Category[] {
  const categories: Category[] = [
    ["key exchange", offer.kex, lists.kex],
    ["host key", offer.hostKey, lists.serverHostKey],
    ["cipher", offer.cipherToServer, lists.cipher],
    ["cipher", offer.cipherToClient, lists.cipher],
  ];
  if (needsMac(offer.cipherToServer, lists)) {
    categories.push(["mac", offer.macToServer, lists.hmac]);
  }
  if (needsMac(offer.cipherToClient, lists)) {
    categories.push(["mac", offer.macToClient, lists.hmac]);
  }
  const missing = categories.filter(([, offered, ours]) =>
    !ours.some((name) => offered.includes(name))
  );
  // Both directions are nearly always the same list: name it once.
  return missing.filter(([name], index) =>
    missing.findIndex((other) => other[0] === name) === index
  );
}

/** Authenticated ciphers bring their own MAC. */
function needsMac(offered: readonly string[], lists: AlgorithmLists): boolean {
  const cipher = lists.cipher.find((name) => offered.includes(name));
  return cipher === undefined || !/gcm|poly1305/.test(cipher);
}
