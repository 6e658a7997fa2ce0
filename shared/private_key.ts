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

/** Lower-case OIDs in DER, and what they mean. */
const KEY_OIDS: Readonly<Record<string, PrivateKeyType | "ec">> = {
  "2a864886f70d010101": "ssh-rsa",
  "2a8648ce3d0201": "ec",
  "2b6570": "ssh-ed25519",
};
const CURVE_OIDS: Readonly<Record<string, PrivateKeyType>> = {
  "2a8648ce3d030107": "ecdsa-sha2-nistp256",
  "2b81040022": "ecdsa-sha2-nistp384",
  "2b81040023": "ecdsa-sha2-nistp521",
};
const TYPES: readonly string[] = ["ssh-rsa", "ssh-ed25519", ...Object.values(CURVE_OIDS)];

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
  if (/^(ssh-|ecdsa-|sk-)\S+ AAAA/.test(text) || /^---- ?BEGIN SSH2 PUBLIC/.test(text)) {
    return no("This is a public key; the private key is wanted.");
  }
  const match = /^-----BEGIN ([A-Z0-9 ]+)-----\r?\n([\s\S]+?)\r?\n-----END ([A-Z0-9 ]+)-----$/.exec(
    text,
  );
  if (!match || match[1] !== match[3]) return no(`This is no private key in PEM form. ${FORMATS}`);
  return describeBlock(match[1] ?? "", match[2] ?? "");
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
      return { usable: true, type: "unknown", encrypted: true };
    case "DSA PRIVATE KEY":
      return no(`DSA keys are not used any more. ${FORMATS}`);
    default:
      return no(`A block named ${label} is not read. ${FORMATS}`);
  }
}

function describeOpenSsh(bytes: Uint8Array): PrivateKeyDescription {
  const damaged = no("The OpenSSH key is damaged or cut off.");
  const magic = new TextEncoder().encode("openssh-key-v1\0");
  if (!magic.every((byte, index) => bytes[index] === byte)) return damaged;
  const cipher = readField(bytes, magic.length);
  const kdf = cipher && readField(bytes, cipher.end);
  const kdfOptions = kdf && readField(bytes, kdf.end);
  const publicKey = kdfOptions && readField(bytes, kdfOptions.end + 4);
  const type = publicKey && readField(publicKey.bytes, 0);
  const secret = publicKey && readField(bytes, publicKey.end);
  if (!cipher || !kdfOptions || !type || !secret) return damaged;
  const cipherName = latin1(cipher.bytes);
  if (!OPENSSH_CIPHERS.includes(cipherName)) {
    return no(
      `The key is encrypted with ${printable(cipherName)}, which agents cannot undo. ${CONVERT}`,
    );
  }
  if (bcryptRounds(kdfOptions.bytes) > MAX_BCRYPT_ROUNDS) {
    return no(
      `The key's passphrase takes more than ${MAX_BCRYPT_ROUNDS} rounds to check, at every login. ` +
        "Rewrite it with `ssh-keygen -p -a 16 -f <file>`.",
    );
  }
  return describeType(latin1(type.bytes), cipherName !== "none");
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
  if (outer?.tag !== 0x30) return no("The key is damaged or cut off.");
  if (key.type) return { usable: true, type: key.type, encrypted: false };
  return describeCurve(outer.bytes);
}

/** SEC1: SEQUENCE { version, OCTET STRING key, [0] { OID curve }, … } (RFC 5915). */
function describeCurve(sequence: Uint8Array): PrivateKeyDescription {
  const version = readDer(sequence, 0);
  const secret = version && readDer(sequence, version.end);
  const parameters = secret && readDer(sequence, secret.end);
  const oid = parameters?.tag === 0xa0 ? readDer(parameters.bytes, 0) : undefined;
  return describeType(CURVE_OIDS[hex(oid?.bytes)] ?? "an ecdsa key on an unnamed curve", false);
}

/** PKCS#8: SEQUENCE { version, SEQUENCE { OID algorithm, OID curve? }, … } (RFC 5958). */
function describePkcs8(bytes: Uint8Array): PrivateKeyDescription {
  const outer = readDer(bytes, 0);
  const version = outer && readDer(outer.bytes, 0);
  const algorithm = outer && version && readDer(outer.bytes, version.end);
  const oid = algorithm && readDer(algorithm.bytes, 0);
  if (!algorithm || !oid) return no("The PKCS#8 key is damaged or cut off.");
  const kind = KEY_OIDS[hex(oid.bytes)];
  if (kind !== "ec") return describeType(kind ?? "a key of another algorithm", false);
  const curve = readDer(algorithm.bytes, oid.end);
  return describeType(CURVE_OIDS[hex(curve?.bytes)] ?? "an ecdsa key on an unknown curve", false);
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

interface Piece {
  readonly bytes: Uint8Array;
  /** Where the next piece starts. */
  readonly end: number;
}

/** A `string` of RFC 4251: a 32-bit length and that many bytes. */
function readField(bytes: Uint8Array, offset: number): Piece | undefined {
  if (offset + 4 > bytes.length) return undefined;
  const start = offset + 4;
  const end = start + new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset);
  return end <= bytes.length ? { bytes: bytes.subarray(start, end), end } : undefined;
}

/** One DER element: its tag, its content and where the next one starts. */
function readDer(bytes: Uint8Array, offset: number): Piece & { readonly tag: number } | undefined {
  const tag = bytes[offset];
  let length = bytes[offset + 1];
  if (tag === undefined || length === undefined) return undefined;
  let start = offset + 2;
  if (length >= 0x80) {
    const count = length & 0x7f;
    if (count === 0 || count > 4) return undefined;
    length = 0;
    for (const byte of bytes.subarray(start, start + count)) length = length * 256 + byte;
    start += count;
  }
  const end = start + length;
  return end <= bytes.length ? { tag, bytes: bytes.subarray(start, end), end } : undefined;
}

/** The options of `bcrypt`: string salt, uint32 rounds. */
function bcryptRounds(options: Uint8Array): number {
  const salt = readField(options, 0);
  if (!salt || salt.end + 4 > options.length) return 0;
  return new DataView(options.buffer, options.byteOffset).getUint32(salt.end);
}

function decodeBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text.replace(/\s+/g, "")), (char) => char.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 100));
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}

function hex(bytes: Uint8Array | undefined): string {
  return Array.from(bytes ?? [], (byte) => byte.toString(16).padStart(2, "0")).join("");
}
