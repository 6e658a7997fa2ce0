import assert from "node:assert/strict";
import {
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  type JWTHeaderParameters,
  SignJWT,
} from "jose";
import type { ControlPlaneJwk, SealJwk, SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import { KEY_STATEMENT_TYPE, type KeyStatement } from "@rookery/shared/key_statement.ts";
import { learnKeys, type TrustedKeys } from "./key_chain.ts";

const ISSUER = "urn:uuid:00000000-0000-4000-8000-000000000001";

interface Key {
  readonly privateKey: CryptoKey;
  readonly jwk: SignJwk;
  readonly listed: ControlPlaneJwk;
}

async function makeKey(): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair("Ed25519");
  const { x = "" } = await exportJWK(publicKey);
  const jwk = { kty: "OKP", crv: "Ed25519", x } as const;
  return { privateKey, jwk, listed: { ...jwk, kid: await calculateJwkThumbprint(jwk) } };
}

async function makeSealingKey(): Promise<SealJwk & { kid: string }> {
  const { publicKey } = await generateKeyPair("ECDH-ES", { crv: "X25519" });
  const { x = "" } = await exportJWK(publicKey);
  const jwk = { kty: "OKP", crv: "X25519", x } as const;
  return { ...jwk, kid: await calculateJwkThumbprint(jwk) };
}

/** What `by` says; `header` is put over the right one. */
function say(
  by: Key,
  said: Record<string, unknown>,
  header: Partial<JWTHeaderParameters> = {},
): Promise<string> {
  return new SignJWT({ iss: ISSUER, ...said })
    .setProtectedHeader({
      alg: "Ed25519",
      typ: KEY_STATEMENT_TYPE,
      kid: by.listed.kid,
      ...header,
    })
    .sign(by.privateKey);
}

type Status = Extract<KeyStatement, { use: "sig" }>["status"];

function about(key: Key, status: Status, sequence = 2) {
  return { use: "sig", status, sequence, jwk: key.jwk };
}

async function pinned(...keys: Key[]): Promise<TrustedKeys> {
  return {
    signingKeys: keys.map((key) => key.listed),
    sealingKey: await makeSealingKey(),
    sealingSequence: 0,
  };
}

function kidsOf({ signingKeys }: TrustedKeys): readonly string[] {
  return signingKeys.map((key) => key.kid);
}

Deno.test("learnKeys() follows a chain over keys that are long retired, in whatever order it comes", async () => {
  const [one, two, three] = [await makeKey(), await makeKey(), await makeKey()];
  const statements = [
    await say(three, about(one, "retired", 1)),
    await say(three, about(two, "retired", 2)),
    await say(two, about(three, "trusted", 3)),
    await say(one, about(two, "trusted", 2)),
  ];
  const before = await pinned(one);
  const { trusted, unvouched } = await learnKeys(
    before,
    { keys: [three.listed], statements },
    { issuer: ISSUER },
  );
  assert.deepEqual(kidsOf(trusted), [three.listed.kid]);
  assert.deepEqual(unvouched, []);
  assert.deepEqual(trusted.sealingKey, before.sealingKey);
});

Deno.test("learnKeys() names an offered key that no trusted key vouches for, and does not take it", async () => {
  const [one, rogue] = [await makeKey(), await makeKey()];
  const statements = [
    await say(rogue, about(rogue, "trusted")),
    await say(rogue, about(one, "retired")),
    // Signed by the rogue and said to be by the pinned key.
    await say(rogue, about(rogue, "trusted"), { kid: one.listed.kid }),
  ];
  const offered = { keys: [one.listed, rogue.listed], statements };
  const { trusted, unvouched } = await learnKeys(await pinned(one), offered, { issuer: ISSUER });
  assert.deepEqual(kidsOf(trusted), [one.listed.kid]);
  assert.deepEqual(unvouched, [rogue.listed.kid]);
});

Deno.test("learnKeys() believes no statement of another type, algorithm, installation or form", async () => {
  const [one, two] = [await makeKey(), await makeKey()];
  const good = about(two, "trusted");
  const token = await say(one, good);
  const [header = "", payload = "", signature = ""] = token.split(".");
  const unsigned = btoa('{"alg":"none"}').replaceAll("=", "");
  const bad = [
    await say(one, good, { typ: "rookery-lease+jwt" }),
    await say(one, good, { typ: "JWT" }),
    await say(one, { ...good, iss: "urn:uuid:00000000-0000-4000-8000-000000000002" }),
    await say(one, { ...good, sequence: 0 }),
    await say(one, { ...good, more: true }),
    await say(one, { ...good, status: "active" }),
    await say(one, { ...good, use: "enc" }),
    await say(one, { ...good, jwk: { ...two.jwk, kty: "oct" } }),
    `${unsigned}.${payload}.`,
    `${header}.${payload}.${signature.split("").reverse().join("")}`,
    "",
    "a.b.c",
    "e30.e30.",
  ];
  for (const statement of bad) {
    const offered = { keys: [two.listed], statements: [statement] };
    const { trusted } = await learnKeys(await pinned(one), offered, { issuer: ISSUER });
    assert.deepEqual(kidsOf(trusted), [one.listed.kid], statement);
  }
  const offered = { keys: [two.listed], statements: [...bad, token] };
  const { trusted } = await learnKeys(await pinned(one), offered, { issuer: ISSUER });
  assert.deepEqual(kidsOf(trusted), [one.listed.kid, two.listed.kid]);
});

Deno.test("learnKeys() lets no old key drop a newer one, and never drops the last", async () => {
  const [one, two] = [await makeKey(), await makeKey()];
  const statements = [
    await say(one, about(two, "trusted")),
    await say(one, about(two, "retired")),
    await say(one, about(one, "retired", 1)),
    await say(two, about(two, "retired")),
  ];
  const offered = { keys: [two.listed], statements };
  const { trusted } = await learnKeys(await pinned(one), offered, { issuer: ISSUER });
  assert.deepEqual(kidsOf(trusted), [one.listed.kid, two.listed.kid]);
});

Deno.test("learnKeys() is not alarmed by older keys that the trusted one knows, and trusts them no more for it", async () => {
  const [old, mine] = [await makeKey(), await makeKey()];
  const statements = [
    await say(old, about(mine, "trusted")),
    await say(mine, about(old, "replaced", 1)),
  ];
  const offered = { keys: [mine.listed, old.listed], statements };
  const { trusted, unvouched } = await learnKeys(await pinned(mine), offered, { issuer: ISSUER });
  assert.deepEqual(kidsOf(trusted), [mine.listed.kid]);
  assert.deepEqual(unvouched, []);
});

Deno.test("learnKeys() takes a newer sealing key, and no older one again", async () => {
  const [one, rogue] = [await makeKey(), await makeKey()];
  const [first, second, forged] = [
    await makeSealingKey(),
    await makeSealingKey(),
    await makeSealingKey(),
  ];
  const of = (by: Key, { kid: _, ...jwk }: typeof first, sequence: number) =>
    say(by, { use: "enc", status: "trusted", sequence, jwk });
  const learn = async (before: TrustedKeys, ...statements: string[]) =>
    (await learnKeys(before, { keys: [one.listed], statements }, { issuer: ISSUER })).trusted;
  const atFirst = await learn(
    await pinned(one),
    await of(one, first, 1),
    await of(rogue, forged, 9),
  );
  assert.deepEqual([atFirst.sealingKey, atFirst.sealingSequence], [first, 1]);
  const later = await learn(atFirst, await of(one, second, 2), await of(one, first, 1));
  assert.deepEqual([later.sealingKey, later.sealingSequence], [second, 2]);
  const replayed = await learn(later, await of(one, first, 1));
  assert.deepEqual(replayed, later);
});
