import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { nothingInCommon } from "./algorithms.ts";
import { parseServerOffer, type ServerOffer } from "./kexinit.ts";

const OFFER: ServerOffer = {
  kex: ["diffie-hellman-group14-sha256", "kex-strict-s-v00@openssh.com"],
  hostKey: ["rsa-sha2-256"],
  cipherToServer: ["aes128-ctr"],
  cipherToClient: ["aes256-ctr", "aes128-ctr"],
  macToServer: ["hmac-sha1"],
  macToClient: ["hmac-sha2-256"],
};

function packet(payload: Buffer): Buffer {
  const padding = 4;
  const head = Buffer.alloc(5);
  head.writeUInt32BE(1 + payload.length + padding);
  head[4] = padding;
  return Buffer.concat([head, payload, Buffer.alloc(padding)]);
}

function kexinit(offer: ServerOffer): Buffer {
  const lists = [...Object.values(offer), ["none"], ["none"], [], []].map((names: string[]) => {
    const text = Buffer.from(names.join(","));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.length);
    return Buffer.concat([length, text]);
  });
  return packet(Buffer.concat([Buffer.from([20]), Buffer.alloc(16, 7), ...lists, Buffer.alloc(5)]));
}

Deno.test("parseServerOffer() finds the offer behind a greeting and another packet, and only when all is there", () => {
  const ignore = packet(Buffer.from([2, 0, 0, 0, 0]));
  const bytes = Buffer.concat([
    Buffer.from("Welcome to core-1\r\nSSH-2.0-Cisco-1.25\r\n"),
    ignore,
    kexinit(OFFER),
  ]);
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(parseServerOffer(bytes.subarray(0, length)), undefined);
  }
  assert.deepEqual(parseServerOffer(bytes), OFFER);
});

Deno.test("parseServerOffer() finds nothing in lists that are longer than their packet", () => {
  const bytes = kexinit(OFFER);
  bytes.writeUInt32BE(0x7fffffff, 22);
  assert.equal(parseServerOffer(Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), bytes])), undefined);
});

const LEGACY = { legacyAlgorithms: false, where: "core-1:22" } as const;

Deno.test("nothingInCommon() has no objection where every category has something", () => {
  assert.equal(nothingInCommon(OFFER, LEGACY), undefined);
});

Deno.test("nothingInCommon() names only the category that is missing", () => {
  const error = nothingInCommon({ ...OFFER, hostKey: ["ssh-rsa", "ssh-dss"] }, LEGACY);
  assert.equal(error?.code, "legacy_algorithms_only");
  assert.match(error.message, /offers only host key: ssh-rsa, ssh-dss\. .*legacyAlgorithms/);
  assert.equal(
    nothingInCommon({ ...OFFER, hostKey: ["ssh-rsa"] }, { ...LEGACY, legacyAlgorithms: true }),
    undefined,
  );
});

Deno.test("nothingInCommon() asks for no MAC where the cipher brings its own", () => {
  const offer = {
    ...OFFER,
    cipherToServer: ["aes128-gcm@openssh.com"],
    cipherToClient: ["aes128-gcm@openssh.com"],
    macToServer: ["hmac-md5"],
    macToClient: [],
  };
  assert.equal(nothingInCommon(offer, LEGACY), undefined);
  const error = nothingInCommon({ ...OFFER, macToClient: ["hmac-md5"] }, LEGACY);
  assert.match(error?.message ?? "", /mac: hmac-md5/);
});

Deno.test("nothingInCommon() keeps a hostile offer short and printable", () => {
  const flood = ["\x1b[2J\r\nFORGED", ...Array.from({ length: 5_000 }, (_, i) => `cipher-${i}`)];
  const error = nothingInCommon(
    { ...OFFER, kex: flood, hostKey: flood, cipherToServer: flood, macToServer: flood },
    LEGACY,
  );
  assert.ok(error && error.message.length < 2_000);
  assert.match(error.message, /^[\x20-\x7e…]+$/);
});
