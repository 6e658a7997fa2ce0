import assert from "node:assert/strict";
import { describePrivateKey } from "./private_key.ts";

function field(content: string | readonly number[]): readonly number[] {
  const bytes = typeof content === "string" ? [...new TextEncoder().encode(content)] : content;
  return [0, 0, bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

interface Envelope {
  readonly cipher?: string;
  readonly type?: string;
  readonly rounds?: number;
}

/** The envelope of an OpenSSH key, with nothing true inside. */
function openSsh({ cipher = "none", type = "ssh-ed25519", rounds = 0 }: Envelope): string {
  const options = rounds ? [...field([1, 2, 3, 4]), 0, 0, rounds >> 8, rounds & 0xff] : [];
  const bytes = [
    ...new TextEncoder().encode("openssh-key-v1\0"),
    ...field(cipher),
    ...field(cipher === "none" ? "none" : "bcrypt"),
    ...field(options),
    ...[0, 0, 0, 1],
    ...field(field(type)),
    ...field([1, 2, 3, 4, 5, 6, 7, 8]),
  ];
  return block("OPENSSH PRIVATE KEY", bytes);
}

function block(label: string, bytes: readonly number[], headers = ""): string {
  const body = btoa(String.fromCharCode(...bytes)).replace(/.{64}/g, "$&\n");
  return `-----BEGIN ${label}-----\n${headers}${body}\n-----END ${label}-----\n`;
}

Deno.test("describePrivateKey() names type and encryption of an OpenSSH key", () => {
  assert.deepEqual(describePrivateKey(openSsh({})), {
    usable: true,
    type: "ssh-ed25519",
    encrypted: false,
  });
  const encrypted = openSsh({ cipher: "aes256-ctr", type: "ecdsa-sha2-nistp521", rounds: 24 });
  assert.deepEqual(describePrivateKey(encrypted), {
    usable: true,
    type: "ecdsa-sha2-nistp521",
    encrypted: true,
  });
});

Deno.test("describePrivateKey() leaves the type open where encryption hides it", () => {
  const encrypted =
    "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n";
  const expected = { usable: true, type: "unknown", encrypted: true };
  assert.deepEqual(describePrivateKey(block("EC PRIVATE KEY", [1, 2, 3], encrypted)), expected);
  assert.deepEqual(describePrivateKey(encryptedPkcs8()), expected);
  assert.deepEqual(describePrivateKey(block("RSA PRIVATE KEY", [1, 2, 3], encrypted)), {
    ...expected,
    type: "ssh-rsa",
  });
});

/** A DER element, of content below 64 KiB. */
function der(tag: number, ...content: readonly (readonly number[])[]): readonly number[] {
  const bytes = content.flat();
  const length = bytes.length < 0x80
    ? [bytes.length]
    : [0x82, bytes.length >> 8, bytes.length & 0xff];
  return [tag, ...length, ...bytes];
}

function sequence(...content: readonly (readonly number[])[]): readonly number[] {
  return der(0x30, ...content);
}

function octets(bytes: readonly number[]): readonly number[] {
  return der(0x04, bytes);
}

function oid(hex: string): readonly number[] {
  return der(0x06, [...Uint8Array.fromHex(hex)]);
}

function integer(value: number): readonly number[] {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return der(0x02, (bytes[0] ?? 0) >= 0x80 ? [0, ...bytes] : bytes);
}

const AES_256_CBC = "60864801650304012a";
const HMAC_SHA256 = "2a864886f70d0209";

function pbkdf2(iterations: number, hash: string | undefined = HMAC_SHA256) {
  const prf = hash === "" ? [] : sequence(oid(hash), [5, 0]);
  const parameters = sequence(octets([1, 2, 3, 4]), integer(iterations), prf);
  return sequence(oid("2a864886f70d01050c"), parameters);
}

function scrypt(cost: number, blockSize: number, parallel: number) {
  const numbers = [cost, blockSize, parallel].map(integer);
  return sequence(oid("2b06010401da47040b"), sequence(octets([1, 2, 3, 4]), ...numbers));
}

/** The envelope of an encrypted PKCS#8 key, with nothing true inside. */
function encryptedPkcs8({ derivation = pbkdf2(2_048), cipher = AES_256_CBC } = {}): string {
  const encryption = sequence(oid(cipher), octets(Array(16).fill(7)));
  const pbes2 = sequence(oid("2a864886f70d01050d"), sequence(derivation, encryption));
  return block("ENCRYPTED PRIVATE KEY", sequence(pbes2, octets([1, 2, 3, 4])));
}

function pkcs1(bits: number): string {
  const modulus = der(0x02, [0, 0x80, ...Array(bits / 8 - 1).fill(1)]);
  return block("RSA PRIVATE KEY", sequence(integer(0), modulus, integer(65_537)));
}

/** OIDs in DER: of ecPublicKey, of secp256k1 (no SSH curve) and of X25519 (cannot sign). */
const EC = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SECP256K1 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
const X25519 = [0x06, 0x03, 0x2b, 0x65, 0x6e];

function pkcs8(algorithm: readonly number[]): string {
  const inner = [0x02, 0x01, 0x00, 0x30, algorithm.length, ...algorithm, 0x04, 0x02, 0x04, 0x00];
  return block("PRIVATE KEY", [0x30, inner.length, ...inner]);
}

const UNUSABLE: readonly (readonly [name: string, text: string, reason: RegExp])[] = [
  ["nothing", "", /no private key in PEM form.*OpenSSH, PEM .PKCS#1, SEC1. and PKCS#8/],
  ["a password", "hunter2", /no private key in PEM form/],
  ["a PuTTY key", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", /puttygen/],
  ["a public key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA netops@example", /public key/],
  ["a PEM public key", block("PUBLIC KEY", [0x30, 0]), /public key/],
  ["an SSH2 public key", "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", /public key/],
  ["a certificate", block("CERTIFICATE", [0x30, 0]), /certificate/],
  ["a DSA key", block("DSA PRIVATE KEY", [0x30, 0]), /DSA/],
  ["an OpenSSH DSA key", openSsh({ type: "ssh-dss" }), /ssh-dss/],
  ["a hardware key", openSsh({ type: "sk-ssh-ed25519@openssh.com" }), /hardware token/],
  [
    "a cipher that Deno lacks",
    openSsh({ cipher: "aes192-cbc", rounds: 16 }),
    /aes192-cbc.*ssh-keygen -p/,
  ],
  ["very many rounds", openSsh({ cipher: "aes256-ctr", rounds: 5_000 }), /ssh-keygen -p -a 16/],
  ["DES", block("RSA PRIVATE KEY", [1], "DEK-Info: DES-CBC,0011223344556677\n\n"), /DES-CBC/],
  ["another curve", pkcs8([...EC, ...SECP256K1]), /unknown curve/],
  ["a key that cannot sign", pkcs8(X25519), /another algorithm/],
  ["an OpenSSH key cut off", block("OPENSSH PRIVATE KEY", [1, 2, 3]), /damaged or cut off/],
  [
    "an RSA key cut off",
    block("RSA PRIVATE KEY", [0x30, 0x82, 0x04, 0x00, 1]),
    /damaged or cut off/,
  ],
  [
    "unequal ends",
    "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
    /PEM form/,
  ],
  [
    "slow PBKDF2",
    encryptedPkcs8({ derivation: pbkdf2(3_000_001) }),
    /3,000,000 iterations.*openssl/,
  ],
  ["endless PBKDF2", encryptedPkcs8({ derivation: pbkdf2(2 ** 80) }), /3,000,000 iterations/],
  ["slow scrypt", encryptedPkcs8({ derivation: scrypt(2 ** 18, 8, 1) }), /scrypt with N above/],
  ["wide scrypt", encryptedPkcs8({ derivation: scrypt(2 ** 14, 2 ** 10, 1) }), /scrypt with N/],
  ["many scrypts", encryptedPkcs8({ derivation: scrypt(2 ** 14, 8, 2 ** 10) }), /scrypt with N/],
  [
    "HMAC-SHA1",
    encryptedPkcs8({ derivation: pbkdf2(2_048, "2a864886f70d0207") }),
    /HMAC-SHA1.*openssl pkcs8 -topk8/,
  ],
  ["an unnamed hash", encryptedPkcs8({ derivation: pbkdf2(2_048, "") }), /HMAC-SHA1/],
  ["DES3", encryptedPkcs8({ cipher: "2a864886f70d0307" }), /with DES3.*openssl pkcs8 -topk8/],
  [
    "another cipher",
    encryptedPkcs8({ cipher: "608648016503040101" }),
    /2\.16\.840\.1\.101\.3\.4\.1\.1,/,
  ],
  [
    "PBES1",
    block(
      "ENCRYPTED PRIVATE KEY",
      sequence(
        sequence(oid("2a864886f70d010c0103"), sequence(octets([1]), integer(1))),
        octets([1]),
      ),
    ),
    /PBE-SHA1-3DES/,
  ],
  ["an encrypted key cut off", block("ENCRYPTED PRIVATE KEY", [1, 2, 3]), /damaged or cut off/],
  ["a long rsa key", pkcs1(8_192), /8192 bits; agents can use 1024 to 4096/],
  ["a short rsa key", pkcs1(512), /512 bits/],
  ["two keys", pkcs1(2_048) + pkcs1(2_048), /several private keys/],
  ["no base64", "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----", /no base64/],
];

for (const [name, text, reason] of UNUSABLE) {
  Deno.test(`describePrivateKey() says why it cannot be used: ${name}`, () => {
    const description = describePrivateKey(text);
    assert.equal(description.usable, false);
    assert.match(description.reason, reason);
  });
}

Deno.test("describePrivateKey() takes the strongest encryption that is bearable", () => {
  const expected = { usable: true, type: "unknown", encrypted: true };
  for (const derivation of [pbkdf2(3_000_000), scrypt(2 ** 17, 8, 1)]) {
    assert.deepEqual(describePrivateKey(encryptedPkcs8({ derivation })), expected);
  }
});

Deno.test("describePrivateKey() finds the key among what tools write around it", () => {
  const key = pkcs1(2_048);
  const around = [
    `Bag Attributes\n    friendlyName: x\nKey Attributes: <No Attributes>\n${key}`,
    `${key}ssh-rsa AAAAB3NzaC1yc2E netops@example\n`,
    `ssh-rsa AAAAB3NzaC1yc2E netops@example\n${key}`,
    `${block("EC PARAMETERS", [6, 1, 1])}${key}${block("CERTIFICATE", [0x30, 0])}`,
    key.replaceAll("\n", "\r\n"),
    key.replaceAll(/^/gm, "    "),
  ];
  for (const text of around) {
    assert.deepEqual(
      describePrivateKey(text),
      { usable: true, type: "ssh-rsa", encrypted: false },
      text,
    );
  }
});

Deno.test("describePrivateKey() withstands every cut and every flipped byte", () => {
  withstandsDamage(openSsh({ cipher: "aes256-ctr", rounds: 16 }));
  withstandsDamage(encryptedPkcs8());
});

function withstandsDamage(whole: string): void {
  for (let at = 0; at < whole.length; at++) {
    for (const text of [whole.slice(0, at), `${whole.slice(0, at)}/${whole.slice(at + 1)}`]) {
      const description = describePrivateKey(text);
      assert.ok(description.usable || description.reason.length < 400);
    }
  }
}
