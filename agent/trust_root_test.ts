import assert from "node:assert/strict";
import { join } from "node:path";
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from "jose";
import { KEY_STATEMENT_TYPE } from "@rookery/shared/key_statement.ts";
import type { Clock } from "./clock.ts";
import { StateFolder } from "./state_folder.ts";
import { TrustRoot } from "./trust_root.ts";

const ISSUER = "urn:uuid:00000000-0000-4000-8000-000000000001";

async function makeKey() {
  const { privateKey, publicKey } = await generateKeyPair("Ed25519");
  const { x = "" } = await exportJWK(publicKey);
  const jwk = { kty: "OKP", crv: "Ed25519", x } as const;
  const kid = await calculateJwkThumbprint(jwk);
  const vouchFor = (other: { jwk: typeof jwk }) =>
    new SignJWT({ iss: ISSUER, use: "sig", status: "trusted", sequence: 2, jwk: other.jwk })
      .setProtectedHeader({ alg: "Ed25519", typ: KEY_STATEMENT_TYPE, kid })
      .sign(privateKey);
  return { jwk, kid, listed: { ...jwk, kid }, vouchFor };
}

type Key = Awaited<ReturnType<typeof makeKey>>;

/** A control plane that answers what a test puts there, and an agent that pinned `key`. */
async function makeBench(key: Key) {
  const folder = await Deno.makeTempDir();
  const state = await StateFolder.open(join(folder, "state"));
  const sealingKey = { kty: "OKP", crv: "X25519", x: "A".repeat(43), kid: "enrolled" } as const;
  const bench = {
    now: 0,
    asked: 0,
    answer: { keys: [key.listed], statements: [] as string[], generation: 1 },
    alarms: [] as string[],
    state,
    open: () =>
      TrustRoot.open({
        identity: {
          controlPlaneUrl: "https://rookery.test",
          issuer: ISSUER,
          signingKeys: [key.listed],
          sealingKey,
        },
        state,
        clock: { now: () => bench.now } as Clock,
        log: (level, event) => void (level === "error" && bench.alarms.push(event)),
        send: () => {
          bench.asked++;
          return Promise.resolve(Response.json(bench.answer));
        },
      }),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
  return bench;
}

Deno.test("signingKey() asks for a key that it does not know, keeps it on disk, and not oftener than every 15 s", async () => {
  const [one, two, three] = [await makeKey(), await makeKey(), await makeKey()];
  await using bench = await makeBench(one);
  const trust = await bench.open();
  assert.deepEqual(await trust.signingKey(one.kid), one.listed);
  assert.equal(bench.asked, 0);
  bench.answer = {
    keys: [two.listed, one.listed],
    statements: [await one.vouchFor(two)],
    generation: 2,
  };
  const [found] = await Promise.all([trust.signingKey(two.kid), trust.signingKey(two.kid)]);
  assert.deepEqual(found, two.listed);
  assert.equal(bench.asked, 1);
  for (let i = 0; i < 50; i++) assert.equal(await trust.signingKey(three.kid), undefined);
  assert.equal(bench.asked, 1);
  bench.now += 15_000;
  assert.equal(await trust.signingKey(three.kid), undefined);
  assert.equal(bench.asked, 2);
  const again = await bench.open();
  assert.deepEqual(await again.signingKey(two.kid), two.listed);
  assert.equal(bench.asked, 2, "it was learnt already");
});

Deno.test("note() asks once at the start, and then when the control plane has other keys", async () => {
  const one = await makeKey();
  await using bench = await makeBench(one);
  const trust = await bench.open();
  for (const generation of [1, 1, 1, 2]) {
    await trust.note(generation);
    bench.answer.generation = generation;
    bench.now += 60_000;
  }
  assert.equal(bench.asked, 2);
});

Deno.test("refresh() raises one alarm for a key that nobody vouches for", async () => {
  const [one, rogue] = [await makeKey(), await makeKey()];
  await using bench = await makeBench(one);
  const trust = await bench.open();
  bench.answer = { keys: [rogue.listed], statements: [await rogue.vouchFor(rogue)], generation: 1 };
  for (let i = 0; i < 3; i++) {
    await trust.refresh();
    bench.now += 60_000;
  }
  assert.equal(bench.asked, 3);
  assert.deepEqual(bench.alarms, ["key_not_vouched_for"]);
  assert.deepEqual(trust.signingKeys.map((key) => key.kid), [one.kid]);
});

Deno.test("TrustRoot.open() leaves aside what an earlier enrolment led to", async () => {
  const [one, two] = [await makeKey(), await makeKey()];
  await using bench = await makeBench(one);
  await bench.state.writeTrust({
    version: 1,
    issuer: ISSUER,
    pinnedKid: two.kid,
    signingKeys: [two.listed],
    sealingKey: { kty: "OKP", crv: "X25519", x: "B".repeat(43), kid: "old" },
    sealingSequence: 9,
  });
  const trust = await bench.open();
  assert.deepEqual(trust.signingKeys, [one.listed]);
  assert.equal(trust.sealingKey.kid, "enrolled");
});
