import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
// @ts-types="@types/ssh2"
import ssh2 from "ssh2";
import { describePrivateKey } from "@rookery/shared/private_key.ts";
import { readPrivateKey } from "./private_key.ts";
import { DeviceError } from "./ssh_failure.ts";

const PASSPHRASE = "open sesame";

interface Variant {
  readonly name: string;
  readonly pem: string;
  readonly type: string;
  readonly encrypted: boolean;
  readonly publicKey: KeyObject;
}

/** Every PEM form that node:crypto writes of rsa and of the three curves. */
function pemVariants(): readonly Variant[] {
  const pairs = [
    {
      type: "ssh-rsa",
      form: "pkcs1" as const,
      ...generateKeyPairSync("rsa", { modulusLength: 2_048 }),
    },
    ...[256, 384, 521].map((bits) => ({
      type: `ecdsa-sha2-nistp${bits}`,
      form: "sec1" as const,
      ...generateKeyPairSync("ec", { namedCurve: `P-${bits}` }),
    })),
    { type: "ssh-ed25519", form: "pkcs8" as const, ...generateKeyPairSync("ed25519") },
  ];
  return pairs.flatMap(({ type, form, privateKey, publicKey }) =>
    [...new Set([form, "pkcs8" as const])].flatMap((each) => [
      {
        name: `${type} ${each}`,
        pem: privateKey.export({ type: each, format: "pem" }).toString(),
        type,
        encrypted: false,
        publicKey,
      },
      ...(each === "pkcs8"
        ? [{
          name: `${type} ${each} encrypted`,
          pem: privateKey.export({
            type: each,
            format: "pem",
            cipher: "aes-256-cbc",
            passphrase: PASSPHRASE,
          }).toString(),
          type,
          encrypted: true,
          publicKey,
        }]
        : []),
    ])
  );
}

for (const { name, pem, type, encrypted, publicKey } of pemVariants()) {
  Deno.test(`readPrivateKey() reads ${name}`, () => {
    const description = describePrivateKey(pem);
    assert.deepEqual(description, { usable: true, type: encrypted ? "unknown" : type, encrypted });
    const key = readPrivateKey(pem, encrypted ? PASSPHRASE : undefined);
    assert.equal(key.type, type);
    assert.deepEqual(numbersOf(key.getPublicSSH()), numbersOfJwk(publicKey));
  });
}

/** The last two fields of an rsa key, the last one of any other, without the padding of an mpint. */
function numbersOf(blob: Buffer): readonly string[] {
  const fields: Buffer[] = [];
  for (let offset = 0; offset < blob.length;) {
    const end = offset + 4 + blob.readUInt32BE(offset);
    fields.push(blob.subarray(offset + 4, end));
    offset = end;
  }
  const wanted = fields[0]?.toString() === "ssh-rsa" ? fields.slice(1) : fields.slice(-1);
  return wanted.map((field) => field.toString("hex").replace(/^(00)+/, ""));
}

function numbersOfJwk(publicKey: KeyObject): readonly string[] {
  const { kty, n = "", e = "", x = "", y = "" } = publicKey.export({ format: "jwk" });
  const hex = (text: string) => Buffer.from(text, "base64url").toString("hex");
  if (kty === "RSA") return [hex(e), hex(n)];
  return kty === "EC" ? [`04${hex(x)}${hex(y)}`] : [hex(x).replace(/^(00)+/, "")];
}

/** An OpenSSH key as ssh-keygen writes it: the secret as an mpint, with a zero in front or without its own zeros. */
function openSshCurveKey(bits: 256 | 521): { readonly pem: string; readonly secretBytes: number } {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: `P-${bits}` });
  const { x = "", y = "", d = "" } = privateKey.export({ format: "jwk" });
  const point = [4, ...Buffer.from(x, "base64url"), ...Buffer.from(y, "base64url")];
  const number = [...Buffer.from(d, "base64url")];
  while (number[0] === 0) number.shift();
  const secret = (number[0] ?? 0) >= 0x80 ? [0, ...number] : number;
  const names = [field(`ecdsa-sha2-nistp${bits}`), field(`nistp${bits}`), field(point)].flat();
  const inner = [...Array(8).fill(1), ...names, ...field(secret), ...field("comment")];
  for (let pad = 1; inner.length % 8 !== 0; pad++) inner.push(pad);
  const head = [..."openssh-key-v1\0"].map((char) => char.charCodeAt(0));
  const bytes = [
    head,
    field("none"),
    field("none"),
    field(""),
    [0, 0, 0, 1],
    field(names),
    field(inner),
  ];
  const text = Buffer.from(bytes.flat()).toString("base64").replace(/.{70}/g, "$&\n");
  return {
    pem: `-----BEGIN OPENSSH PRIVATE KEY-----\n${text}\n-----END OPENSSH PRIVATE KEY-----\n`,
    secretBytes: secret.length,
  };
}

function field(content: string | readonly number[]): readonly number[] {
  const bytes = typeof content === "string" ? [...Buffer.from(content)] : content;
  return [0, 0, bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

for (const [bits, lengths] of [[256, [32, 33]], [521, [65, 66]]] as const) {
  Deno.test(`readPrivateKey() reads OpenSSH P-${bits} keys with secrets of ${lengths} bytes`, () => {
    // ssh2 alone fails on each key whose secret is not as long as the field.
    const seen = new Set<number>();
    for (let tries = 0; !lengths.every((length) => seen.has(length)); tries++) {
      assert.ok(tries < 100, `only secrets of ${[...seen]} bytes`);
      const { pem, secretBytes } = openSshCurveKey(bits);
      seen.add(secretBytes);
      assert.equal(readPrivateKey(pem).type, `ecdsa-sha2-nistp${bits}`);
    }
  });
}

Deno.test("readPrivateKey() reads a key that ssh2 made and cannot sign with", () => {
  const { private: pem } = ssh2.utils.generateKeyPairSync("ecdsa", { bits: 256 });
  assert.equal(readPrivateKey(pem).type, "ecdsa-sha2-nistp256");
});

for (const cipher of ["aes256-ctr", "aes128-cbc", "aes256-gcm@openssh.com"]) {
  Deno.test(`readPrivateKey() opens an OpenSSH key encrypted with ${cipher}`, () => {
    const made = ssh2.utils.generateKeyPairSync("ecdsa", {
      bits: 384,
      passphrase: PASSPHRASE,
      cipher,
      rounds: 1,
    });
    const expected = { usable: true, type: "ecdsa-sha2-nistp384", encrypted: true };
    assert.deepEqual(describePrivateKey(made.private), expected);
    assert.equal(readPrivateKey(made.private, PASSPHRASE).type, "ecdsa-sha2-nistp384");
    assert.throws(
      () => readPrivateKey(made.private, "wrong"),
      unusable(/passphrase does not open/),
    );
    assert.throws(() => readPrivateKey(made.private), unusable(/has no passphrase/));
  });
}

Deno.test("readPrivateKey() takes Windows line ends and blanks around the key", () => {
  const { private: pem } = ssh2.utils.generateKeyPairSync("ecdsa", { bits: 256 });
  assert.equal(
    readPrivateKey(`\r\n ${pem.replaceAll("\n", "\r\n")}\r\n`).type,
    "ecdsa-sha2-nistp256",
  );
});

Deno.test("readPrivateKey() says credential_unusable for every damaged key, and shows none of it", () => {
  const { private: pem } = ssh2.utils.generateKeyPairSync("ecdsa", { bits: 256 });
  const lines = pem.trim().split("\n");
  // Behind the public half, which is repeated in the secret one.
  const secretLine = lines[5] ?? "";
  assert.ok(secretLine.length > 20);
  const damaged = [
    lines.filter((line) => line !== secretLine).join("\n"),
    pem.replace(secretLine, [...secretLine].reverse().join("")),
    pem.slice(0, 200),
    "",
  ];
  for (const text of damaged) {
    assert.throws(() => readPrivateKey(text), (error) => {
      assert.ok(error instanceof DeviceError);
      assert.equal(error.code, "credential_unusable");
      return !error.message.includes(secretLine.slice(0, 12));
    });
  }
});

function unusable(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof DeviceError && error.code === "credential_unusable" &&
    message.test(error.message);
}
