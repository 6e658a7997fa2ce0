import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { describeHostKey, whyRefused } from "./host_key.ts";
import { DeviceError } from "./ssh_failure.ts";

/** github.com's ed25519 host key and the fingerprint that its operator publishes. */
const PUBLISHED = {
  blob: "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
  type: "ssh-ed25519",
  fingerprint: "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
} as const;
const { type, fingerprint } = PUBLISHED;
const SEEN = { type, fingerprint };

Deno.test("describeHostKey() gives the fingerprint that OpenSSH prints", () => {
  assert.deepEqual(describeHostKey(Buffer.from(PUBLISHED.blob, "base64")), SEEN);
});

for (
  const blob of [[], [0, 0], [0, 0, 0, 0], [0, 0, 0, 9, 0x73], [0xff, 0xff, 0xff, 0xff, 1], [
    0,
    0,
    0,
    1,
    10,
  ]]
) {
  Deno.test(`describeHostKey() refuses a malformed key: [${blob}]`, () => {
    assert.throws(
      () => describeHostKey(Uint8Array.from(blob)),
      (error) => error instanceof DeviceError && error.code === "handshake_failed",
    );
  });
}

Deno.test("whyRefused() accepts under first_use only what is pinned, once something is", () => {
  const rules = { hostKeyPolicy: "first_use", where: "core-1:22" } as const;
  assert.equal(whyRefused(SEEN, { ...rules, hostKeys: [] }), undefined);
  assert.equal(whyRefused(SEEN, { ...rules, hostKeys: [SEEN] }), undefined);
  for (
    const pin of [
      { type, fingerprint: fingerprint.replace("+", "/") },
      { type: "ssh-rsa", fingerprint },
      { type, fingerprint: "SHA256:short" },
    ]
  ) {
    const refusal = whyRefused(SEEN, { ...rules, hostKeys: [pin] });
    assert.equal(refusal?.code, "host_key_changed");
    assert.deepEqual(refusal.hostKey, SEEN);
  }
});

Deno.test("whyRefused() keeps a message short however many keys are pinned", () => {
  const hostKeys = Array.from({ length: 200 }, () => ({ type: "ssh-rsa", fingerprint }));
  const refusal = whyRefused(SEEN, { hostKeyPolicy: "strict", hostKeys, where: "core-1:22" });
  assert.ok(refusal && refusal.message.length <= 1_500);
});
