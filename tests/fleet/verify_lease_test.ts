import assert from "node:assert/strict";
import { generateKeyPair, SignJWT } from "jose";
import { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { LeaseRefusedError, verifyLease } from "../../agent/verify_lease.ts";
import { type LeaseBench, makeLeaseBench } from "../support/signed_lease.ts";

type Path = readonly string[];

/** Every leaf of a lease, so that no field that is added later can be forgotten here. */
function leavesOf(value: unknown, path: Path = []): Path[] {
  if (value === null || typeof value !== "object") return [path];
  const entries = Object.entries(value);
  if (entries.length === 0) return [path];
  return entries.flatMap(([name, inner]) => leavesOf(inner, [...path, name]));
}

function altered(value: unknown): unknown {
  if (typeof value === "number") return value + 1;
  if (typeof value === "boolean") return !value;
  if (typeof value === "string") {
    return value.replace(/[0-9a-zA-Z]/, (c) => (c === "0" ? "1" : "0"));
  }
  return ["another"];
}

/** A copy of the lease in which one leaf is another value. */
function alter(claims: LeaseClaims, path: Path): Record<string, unknown> {
  const copy = structuredClone(claims) as Record<string, unknown>;
  let holder = copy;
  for (const name of path.slice(0, -1)) holder = holder[name] as Record<string, unknown>;
  const last = path.at(-1) ?? "";
  holder[last] = altered(holder[last]);
  return copy;
}

async function refusalOf(bench: LeaseBench, lease: string, credential = bench.credential) {
  try {
    await verifyLease({ lease, credential }, bench.expectation());
  } catch (error) {
    assert.ok(error instanceof LeaseRefusedError, String(error));
    return error;
  }
  return assert.fail("the lease was accepted");
}

/** Puts other claims under the signature of the good lease. */
function forge(signed: string, claims: unknown): string {
  const [header, , signature] = signed.split(".");
  const payload = new TextEncoder().encode(JSON.stringify(claims))
    .toBase64({ alphabet: "base64url", omitPadding: true });
  return `${header}.${payload}.${signature}`;
}

Deno.test("verifyLease() accepts a good lease, once", async () => {
  const bench = await makeLeaseBench();
  const lease = await bench.sign(bench.claims);
  const expected = bench.expectation();
  const verified = await verifyLease({ lease, credential: bench.credential }, expected);
  assert.deepEqual(verified.claims, bench.claims);
  assert.ok("password" in verified.credential);
  assert.equal(verified.credential.password, "not-in-any-log");
  await assert.rejects(
    verifyLease({ lease, credential: bench.credential }, expected),
    (error) => error instanceof LeaseRefusedError && /epoch/.test(error.message),
  );
});

Deno.test("verifyLease() refuses a lease in which any single field was altered", async (t) => {
  const bench = await makeLeaseBench();
  const signed = await bench.sign(bench.claims);
  for (const path of leavesOf(bench.claims)) {
    await t.step(path.join("."), async () => {
      const refusal = await refusalOf(bench, forge(signed, alter(bench.claims, path)));
      // Nothing of a lease whose signature failed is believed, so nothing of it is answered either.
      assert.equal(refusal.claims, undefined);
    });
  }
});

Deno.test("verifyLease() refuses a removed and an added field, also when signed", async () => {
  const bench = await makeLeaseBench();
  for (const name of Object.keys(bench.claims)) {
    const { [name as keyof LeaseClaims]: _, ...rest } = bench.claims;
    await refusalOf(bench, await bench.sign(rest));
  }
  await refusalOf(bench, await bench.sign({ ...bench.claims, command: "reload" }));
});

Deno.test("verifyLease() compares what it knows by itself, even under a good signature", async (t) => {
  const bench = await makeLeaseBench();
  // What an agent cannot know (how a device is treated, what was stored last) rests on the signature alone.
  const known = [
    "iss",
    "aud",
    "jti",
    "epoch",
    "bootId",
    "claimId",
    "siteId",
    "incarnation",
    "kind",
    "payload.captures",
    "device.id",
    "device.host",
    "device.port",
    "device.platform",
    "device.driverSha256",
    "commandsSha256",
    "credentialSha256",
    "normaliserVersion",
  ];
  for (const name of known) {
    await t.step(name, async () => {
      const claims = alter(bench.claims, name.split("."));
      await refusalOf(bench, await bench.sign(claims));
    });
  }
});

Deno.test("verifyLease() refuses limits beyond what it allows by itself", async () => {
  const bench = await makeLeaseBench();
  const { limits } = bench.claims;
  for (
    const claims of [
      { ...bench.claims, deadlineSeconds: 100_000 },
      { ...bench.claims, ttlSeconds: 100_000 },
      { ...bench.claims, limits: { ...limits, maxBytes: 1e12 } },
      { ...bench.claims, limits: { ...limits, totalSeconds: 3_000 } },
    ]
  ) {
    const refusal = await refusalOf(bench, await bench.sign(claims));
    assert.equal(refusal.code, "lease_invalid");
  }
});

Deno.test("verifyLease() refuses another key, another algorithm, another type and no signature", async () => {
  const bench = await makeLeaseBench();
  const stranger = await generateKeyPair("Ed25519");
  const rsa = await generateKeyPair("RS256");
  await refusalOf(bench, await bench.sign(bench.claims, { key: stranger.privateKey }));
  await refusalOf(
    bench,
    await bench.sign(bench.claims, { key: stranger.privateKey, kid: "other" }),
  );
  await refusalOf(bench, await bench.sign(bench.claims, { key: rsa.privateKey, alg: "RS256" }));
  await refusalOf(bench, await bench.sign(bench.claims, { typ: "rookery-access+jwt" }));
  const secret = new TextEncoder().encode("pinned-pinned-pinned-pinned-1234");
  const hmac = await new SignJWT({ ...bench.claims }).setProtectedHeader({ alg: "HS256" }).sign(
    secret,
  );
  await refusalOf(bench, hmac);
  const [, payload] = hmac.split(".");
  const none = btoa('{"alg":"none"}').replace(/=+$/, "");
  await refusalOf(bench, `${none}.${payload}.`);
  await refusalOf(bench, "not a token");
});

Deno.test("verifyLease() opens no credential that was sealed for another lease or target", async () => {
  const bench = await makeLeaseBench();
  for (
    const change of [
      { leaseId: crypto.randomUUID() as typeof bench.claims.jti },
      { epoch: 4 },
      { deviceId: crypto.randomUUID() as typeof bench.claims.device.id },
      { host: "192.0.2.8" },
      { port: 2222 },
    ]
  ) {
    const { credential, claims } = await bench.reseal(change);
    await refusalOf(bench, await bench.sign(claims), credential);
  }
});

Deno.test("verifyLease() says nothing of the credential when it cannot be opened", async () => {
  const bench = await makeLeaseBench();
  const other = await makeLeaseBench();
  const refusal = await refusalOf(
    bench,
    await bench.sign({ ...bench.claims, credentialSha256: other.claims.credentialSha256 }),
    other.credential,
  );
  assert.equal(refusal.cause, undefined);
  assert.doesNotMatch(refusal.message, /not-in-any-log/);
});
