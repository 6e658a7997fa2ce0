import { type Der, derItems, derNumber, derOid } from "./der.ts";

/** More than this takes over a second of an agent that can do nothing else meanwhile (the default is 2,048). */
const MAX_ITERATIONS = 3_000_000;
/** N × r × p. At r = 8 and p = 1 this is N = 2^17: half a second and 128 MiB. */
const MAX_SCRYPT_COST = 2 ** 20;

const PBES2 = "1.2.840.113549.1.5.13";
const PBKDF2 = "1.2.840.113549.1.5.12";
const SCRYPT = "1.3.6.1.4.1.11591.4.11";

/** What the agent's runtime can undo. */
const CIPHERS: readonly string[] = [
  "2.16.840.1.101.3.4.1.2",
  "2.16.840.1.101.3.4.1.22",
  "2.16.840.1.101.3.4.1.42",
];
const HASHES: readonly string[] = [
  "1.2.840.113549.2.8",
  "1.2.840.113549.2.9",
  "1.2.840.113549.2.10",
  "1.2.840.113549.2.11",
];

/** What it cannot, by the names that openssl gives them; HMAC-SHA1 is also what is meant when nothing is named. */
const HMAC_SHA1 = "1.2.840.113549.2.7";
const NAMES: Readonly<Record<string, string>> = {
  [HMAC_SHA1]: "HMAC-SHA1",
  "1.2.840.113549.3.2": "RC2",
  "1.2.840.113549.3.7": "DES3",
  "1.3.14.3.2.7": "DES",
  "1.2.840.113549.1.5.3": "PBE-MD5-DES",
  "1.2.840.113549.1.5.10": "PBE-SHA1-DES",
  "1.2.840.113549.1.12.1.1": "PBE-SHA1-RC4-128",
  "1.2.840.113549.1.12.1.2": "PBE-SHA1-RC4-40",
  "1.2.840.113549.1.12.1.3": "PBE-SHA1-3DES",
  "1.2.840.113549.1.12.1.4": "PBE-SHA1-2DES",
  "1.2.840.113549.1.12.1.5": "PBE-SHA1-RC2-128",
  "1.2.840.113549.1.12.1.6": "PBE-SHA1-RC2-40",
};

const CONVERT = "Rewrite it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 " +
  "-in <file> -out <new file>`.";
const DAMAGED = "The encrypted PKCS#8 key is damaged or cut off.";

/**
 * Why an encrypted PKCS#8 key cannot be opened by an agent, whatever its passphrase; undefined when it can. Sources:
 * RFC 5958 (EncryptedPrivateKeyInfo), 8018 (PBES2, PBKDF2), 7914 (scrypt).
 */
export function encryptionProblem(outer: Der | undefined): string | undefined {
  const [algorithm, secret] = derItems(outer);
  const [scheme, parameters] = derItems(algorithm);
  if (derOid(scheme) === "" || !parameters || !secret) return DAMAGED;
  if (derOid(scheme) !== PBES2) return cannotUndo(scheme);
  const [derivation, encryption] = derItems(parameters);
  const [cipher] = derItems(encryption);
  if (derOid(cipher) === "") return DAMAGED;
  if (!CIPHERS.includes(derOid(cipher))) return cannotUndo(cipher);
  return derivationProblem(derivation);
}

function derivationProblem(derivation: Der | undefined): string | undefined {
  const [kind, parameters] = derItems(derivation);
  if (derOid(kind) === "" || !parameters) return DAMAGED;
  if (derOid(kind) === PBKDF2) return pbkdf2Problem(derItems(parameters));
  return derOid(kind) === SCRYPT ? scryptProblem(derItems(parameters)) : cannotUndo(kind);
}

/** SEQUENCE { salt, iterations, key length OPTIONAL, hash DEFAULT HMAC-SHA1 } */
function pbkdf2Problem([_salt, iterations, ...more]: readonly Der[]): string | undefined {
  const count = derNumber(iterations);
  if (!(count >= 1)) return DAMAGED;
  const [hash] = derItems(more.at(-1));
  const oid = derOid(hash) || HMAC_SHA1;
  if (!HASHES.includes(oid)) {
    return `The key's passphrase is hashed with ${named(oid)}, which agents cannot do. ${CONVERT}`;
  }
  return count > MAX_ITERATIONS
    ? tooSlow(`more than ${MAX_ITERATIONS.toLocaleString("en")} iterations`)
    : undefined;
}

/** SEQUENCE { salt, N, r, p, key length OPTIONAL } */
function scryptProblem([_salt, ...numbers]: readonly Der[]): string | undefined {
  const cost = numbers.slice(0, 3).reduce((product, each) => product * derNumber(each), 1);
  if (numbers.length < 3 || !(cost >= 1)) return DAMAGED;
  return cost > MAX_SCRYPT_COST ? tooSlow("scrypt with N above 131072 (r = 8, p = 1)") : undefined;
}

function tooSlow(what: string): string {
  return `The key's passphrase takes ${what} to check, at every login. ${CONVERT}`;
}

function cannotUndo(algorithm: Der | undefined): string {
  return `The key is encrypted with ${
    named(derOid(algorithm))
  }, which agents cannot undo. ${CONVERT}`;
}

function named(oid: string): string {
  return NAMES[oid] ?? `the algorithm ${oid}`;
}
