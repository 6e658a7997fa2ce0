import { DER, type Der, derBits, derItems, derOid, readDer } from "./der.ts";
import { encryptionProblem } from "./encrypted_pkcs8.ts";
import { readOpenSshEnvelope, rsaBitsOf } from "./openssh_envelope.ts";
import { pemBlocks, privateKeyBlocks } from "./private_key_block.ts";

/** The kinds of private key that an agent can log in with, by their SSH names. */
export type PrivateKeyType =
  | "ssh-ed25519"
  | "ssh-rsa"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521";

/** What can be said of a private key without its passphrase. */
export type PrivateKeyDescription =
  | {
    readonly usable: true;
    /** `unknown` while encryption hides it. */
    readonly type: PrivateKeyType | "unknown";
    readonly encrypted: boolean;
  }
  | { readonly usable: false; readonly reason: string };

const FORMATS =
  "Formats that work: OpenSSH, PEM (PKCS#1, SEC1) and PKCS#8, each with an ed25519, rsa or ecdsa " +
  "(P-256, P-384, P-521) key.";
const CONVERT =
  "Convert it with `ssh-keygen -p -f <file>`, which rewrites the file in OpenSSH format.";

const KEY_OIDS: Readonly<Record<string, PrivateKeyType | "ec">> = {
  "1.2.840.113549.1.1.1": "ssh-rsa",
  "1.2.840.10045.2.1": "ec",
  "1.3.101.112": "ssh-ed25519",
};
const CURVE_OIDS: Readonly<Record<string, PrivateKeyType>> = {
  "1.2.840.10045.3.1.7": "ecdsa-sha2-nistp256",
  "1.3.132.0.34": "ecdsa-sha2-nistp384",
  "1.3.132.0.35": "ecdsa-sha2-nistp521",
};
const TYPES: readonly string[] = ["ssh-rsa", "ssh-ed25519", ...Object.values(CURVE_OIDS)];

/** The agent's runtime signs with no shorter key (SHA-512 needs the room) and reads no longer public one to prove it. */
const RSA_BITS = { least: 1_024, most: 4_096 };

/** Ciphers inside an OpenSSH key that the agent's runtime can undo; aes192-cbc and chacha20 are not among them. */
const OPENSSH_CIPHERS: readonly string[] = [
  "none",
  "aes128-ctr",
  "aes192-ctr",
  "aes256-ctr",
  "aes128-cbc",
  "aes256-cbc",
  "3des-cbc",
  "aes128-gcm@openssh.com",
  "aes256-gcm@openssh.com",
];

/** Passphrase hashing rounds above this would hold up the agent for seconds at every login (the default is 16 to 24). */
const MAX_BCRYPT_ROUNDS = 64;

/**
 * Looks at the envelope of a private key and says whether agents can use it, or why not and how to convert it. The
 * passphrase is not needed and no secret appears in a reason. Sources: OpenSSH PROTOCOL.key, RFC 8017, 5915, 5958, 7468.
 */
export function describePrivateKey(pem: string): PrivateKeyDescription {
  const text = pem.trim();
  if (text.startsWith("PuTTY-User-Key-File-")) {
    return no(
      "PuTTY's own format is not read. Convert it with `puttygen <file> -O private-openssh`.",
    );
  }
  const isPem = privateKeyBlocks(text).length > 0;
  if (!isPem && /^(ssh-|ecdsa-|sk-)\S+ AAAA/.test(text) || /^---- ?BEGIN SSH2 PUBLIC/.test(text)) {
    return no("This is a public key; the private key is wanted.");
  }
  const [block, ...more] = privateKeyBlocks(text);
  if (more.length > 0) return no("There are several private keys in this text; one is wanted.");
  const only = block ?? pemBlocks(text)[0];
  if (!only) return no(`This is no private key in PEM form. ${FORMATS}`);
  return describeBlock(only.label, only.body);
}

/** Why an rsa key of this size cannot be used; undefined when it can. */
export function rsaSizeProblem(bits: number): string | undefined {
  const { least, most } = RSA_BITS;
  if (bits >= least && bits <= most) return undefined;
  return `The key is an rsa key of ${bits} bits; agents can use ${least} to ${most}. ` +
    "Make another with `ssh-keygen -t ed25519`, or `-t rsa -b 4096`.";
}

function describeBlock(label: string, body: string): PrivateKeyDescription {
  if (/PUBLIC KEY|CERTIFICATE/.test(label)) {
    return no("This is a public key or a certificate; the private key is wanted.");
  }
  const headers = /^(?:[\w-]+: .*\r?\n)+\s*/.exec(body)?.[0] ?? "";
  const bytes = decodeBase64(body.slice(headers.length));
  if (!bytes) {
    return no("The text between the PEM lines is no base64; the key was damaged on its way.");
  }
  switch (label) {
    case "OPENSSH PRIVATE KEY":
      return describeOpenSsh(bytes);
    case "RSA PRIVATE KEY":
      return describeTraditional({ bytes, headers, type: "ssh-rsa" });
    case "EC PRIVATE KEY":
      return describeTraditional({ bytes, headers, type: undefined });
    case "PRIVATE KEY":
      return describePkcs8(bytes);
    case "ENCRYPTED PRIVATE KEY":
      return describeEncrypted(bytes);
    case "DSA PRIVATE KEY":
      return no(`DSA keys are not used any more. ${FORMATS}`);
    default:
      return no(`A block named ${label} is not read. ${FORMATS}`);
  }
}

function describeOpenSsh(bytes: Uint8Array): PrivateKeyDescription {
  const envelope = readOpenSshEnvelope(bytes);
  if (!envelope) return no("The OpenSSH key is damaged or cut off.");
  const { cipher, rounds, type, publicKey } = envelope;
  if (!OPENSSH_CIPHERS.includes(cipher)) {
    return no(
      `The key is encrypted with ${printable(cipher)}, which agents cannot undo. ${CONVERT}`,
    );
  }
  if (rounds > MAX_BCRYPT_ROUNDS) {
    return no(
      `The key's passphrase takes more than ${MAX_BCRYPT_ROUNDS} rounds to check, at every login. ` +
        "Rewrite it with `ssh-keygen -p -a 16 -f <file>`.",
    );
  }
  const encrypted = cipher !== "none";
  if (type !== "ssh-rsa") return describeType(type, encrypted);
  return describeRsa(rsaBitsOf(publicKey), encrypted);
}

function describeTraditional(
  key: {
    readonly bytes: Uint8Array;
    readonly headers: string;
    readonly type: PrivateKeyType | undefined;
  },
): PrivateKeyDescription {
  const cipher = /DEK-Info: ([\w-]+),/i.exec(key.headers)?.[1];
  if (cipher) {
    return /^(AES-(128|192|256)-CBC|DES-EDE3-CBC)$/i.test(cipher)
      ? { usable: true, type: key.type ?? "unknown", encrypted: true }
      : no(`The key is encrypted with ${printable(cipher)}, which agents cannot undo. ${CONVERT}`);
  }
  const outer = readDer(key.bytes, 0);
  if (outer?.tag !== DER.sequence) return no("The key is damaged or cut off.");
  return key.type ? describeRsa(derBits(derItems(outer)[1]), false) : describeCurve(outer);
}

/** SEC1: SEQUENCE { version, OCTET STRING key, [0] { OID curve }, … } (RFC 5915). */
function describeCurve(outer: Der): PrivateKeyDescription {
  const [_version, _secret, parameters] = derItems(outer);
  const oid = parameters?.tag === 0xa0 ? readDer(parameters.bytes, 0) : undefined;
  return describeType(CURVE_OIDS[derOid(oid)] ?? "an ecdsa key on an unnamed curve", false);
}

/** PKCS#8: SEQUENCE { version, SEQUENCE { OID algorithm, OID curve? }, OCTET STRING key, … } (RFC 5958). */
function describePkcs8(bytes: Uint8Array): PrivateKeyDescription {
  const [_version, algorithm, key] = derItems(readDer(bytes, 0));
  const [oid, curve] = derItems(algorithm);
  if (!oid || !key) return no("The PKCS#8 key is damaged or cut off.");
  const kind = KEY_OIDS[derOid(oid)];
  if (kind === "ssh-rsa") return describeRsa(derBits(derItems(readDer(key.bytes, 0))[1]), false);
  if (kind !== "ec") return describeType(kind ?? "a key of another algorithm", false);
  return describeType(CURVE_OIDS[derOid(curve)] ?? "an ecdsa key on an unknown curve", false);
}

function describeEncrypted(bytes: Uint8Array): PrivateKeyDescription {
  const problem = encryptionProblem(readDer(bytes, 0));
  return problem === undefined ? { usable: true, type: "unknown", encrypted: true } : no(problem);
}

function describeRsa(bits: number, encrypted: boolean): PrivateKeyDescription {
  const problem = bits === 0 ? "The rsa key is damaged or cut off." : rsaSizeProblem(bits);
  return problem === undefined ? { usable: true, type: "ssh-rsa", encrypted } : no(problem);
}

function describeType(type: string, encrypted: boolean): PrivateKeyDescription {
  if (isUsableType(type)) return { usable: true, type, encrypted };
  if (type.startsWith("sk-")) {
    return no("The key lives on a hardware token, which an agent does not have.");
  }
  return no(`A key of this kind (${printable(type)}) cannot be used. ${FORMATS}`);
}

function isUsableType(type: string): type is PrivateKeyType {
  return TYPES.includes(type);
}

function no(reason: string): PrivateKeyDescription {
  return { usable: false, reason };
}

function decodeBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text.replace(/\s+/g, "")), (char) => char.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}
