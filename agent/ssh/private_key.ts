import { rsaBitsOf } from "@rookery/shared/openssh_envelope.ts";
import { describePrivateKey, rsaSizeProblem } from "@rookery/shared/private_key.ts";
import { privateKeyBlocks } from "@rookery/shared/private_key_block.ts";
import { Buffer } from "node:buffer";
import { createPrivateKey } from "node:crypto";
// @ts-types="@types/ssh2"
import ssh2 from "ssh2";
import { type CurveKey, curveKeyToOpenSsh, jwkToOpenSsh } from "./openssh_key.ts";
import { DeviceError, plainText } from "./ssh_failure.ts";
import { unlockedKeys } from "./unlocked_keys.ts";

type ParsedKey = ssh2.ParsedKey;

/**
 * Reads a private key in any format that `describePrivateKey` calls usable and gives it in a form that ssh2 can sign
 * with under Deno. Throws a `DeviceError` `credential_unusable` that says why and which formats work.
 */
export function readPrivateKey(pem: string, passphrase?: string): ParsedKey {
  const description = describePrivateKey(pem);
  if (!description.usable) throw unusable(description.reason);
  if (description.encrypted && !passphrase) {
    throw unusable("The private key is encrypted and the credential has no passphrase.");
  }
  const text = privateKeyBlocks(pem)[0]?.text ?? "";
  try {
    if (!description.encrypted) return open(text, undefined);
    return unlockedKeys.get(text, passphrase ?? "", () => open(text, passphrase));
  } catch (error) {
    if (error instanceof DeviceError) throw error;
    const why = description.encrypted
      ? "The passphrase does not open the private key, or the key is damaged."
      : "The private key is damaged.";
    throw unusable(why, error);
  }
}

function open(text: string, passphrase: string | undefined): ParsedKey {
  const key = text.startsWith("-----BEGIN OPENSSH")
    ? readOpenSsh(text, passphrase)
    : readPem(text, passphrase);
  refuseOddSize(key);
  proveItSigns(key);
  return key;
}

/** PKCS#1, SEC1 and PKCS#8, encrypted or not: node:crypto reads them all, ssh2 only some. */
function readPem(text: string, passphrase: string | undefined): ParsedKey {
  const options = { key: text, format: "pem" } as const;
  const key = createPrivateKey(passphrase === undefined ? options : { ...options, passphrase });
  const openSsh = jwkToOpenSsh(key.export({ format: "jwk" }));
  if (!openSsh) throw unusable("The private key is of a kind that agents cannot use.");
  return parse(openSsh);
}

function readOpenSsh(text: string, passphrase: string | undefined): ParsedKey {
  const key = parse(text.trim(), passphrase);
  const curve = /^ecdsa-sha2-(nistp256|nistp384|nistp521)$/.exec(key.type)?.[1];
  if (!curve) return key;
  return parse(curveKeyToOpenSsh(curveKeyOf(key, curve as CurveKey["curve"])));
}

/**
 * ssh2 1.17 turns the mpint of an OpenSSH ecdsa key into SEC1 with a leading zero, in every second key, and Deno refuses to
 * sign with that; so the number is taken out again and written at its right length.
 */
function curveKeyOf(key: ParsedKey, curve: CurveKey["curve"]): CurveKey {
  const der = Buffer.from(key.getPrivatePEM().replace(/-----[^-]+-----|\s+/g, ""), "base64");
  const outer = (der[1] ?? 0) < 0x80 ? 2 : 2 + ((der[1] ?? 0) & 0x7f);
  // SEQUENCE { INTEGER 1 (3 bytes), OCTET STRING secret, … }; no curve's secret needs a long-form length.
  const length = der[outer + 4] ?? 0;
  const secret = der.subarray(outer + 5, outer + 5 + length);
  const blob = key.getPublicSSH();
  // string type, string curve, string point: the point is all after the third length.
  const point = blob.subarray(4 + key.type.length + 4 + curve.length + 4);
  return { curve, point, secret };
}

function parse(text: string, passphrase?: string): ParsedKey {
  const parsed: ParsedKey | ParsedKey[] | Error = ssh2.utils.parseKey(text, passphrase);
  if (parsed instanceof Error) throw parsed;
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (!key) throw new Error("The file holds no key");
  return key;
}

/** The size of an encrypted key shows only now. */
function refuseOddSize(key: ParsedKey): void {
  if (key.type !== "ssh-rsa") return;
  const problem = rsaSizeProblem(rsaBitsOf(key.getPublicSSH()));
  if (problem !== undefined) throw unusable(problem);
}

/** A key that cannot sign would fail only at the device, as if the device had refused it. */
function proveItSigns(key: ParsedKey): void {
  const probe = Buffer.from("rookery");
  const hash = key.type === "ssh-rsa" ? "sha512" : undefined;
  const signature: Buffer | Error = key.sign(probe, hash);
  if (signature instanceof Error) throw signature;
  if (key.verify(probe, signature, hash) !== true) throw new Error("The key's two halves differ");
}

function unusable(reason: string, cause?: unknown): DeviceError {
  const message = `Cannot use the private key: ${plainText(reason, 600)}`;
  return new DeviceError("credential_unusable", message, cause === undefined ? {} : { cause });
}
