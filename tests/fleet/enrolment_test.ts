import assert from "node:assert/strict";
import { join } from "node:path";
import { SignJWT } from "jose";
import { sql } from "kysely";
import { revokeAgent } from "@rookery/shared/api/agents.ts";
import type { ProofKey } from "../../agent/dpop.ts";
import { enroll, EnrolmentError } from "../../agent/enroll.ts";
import { AddressError } from "../../agent/http.ts";
import { StateFolder } from "../../agent/state_folder.ts";
import { makeJoinToken, makeSite, makeStateFolder } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { Wire } from "../support/wire.ts";
import { enrolAs as enrolAt, joinWith as joinAt, makeKey, refusedAs } from "../support/joining.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const { signal } = new AbortController();

function enrolAs(joinToken: string, prover: ProofKey, claimed = prover.publicJwk) {
  return enrolAt(plane, joinToken, { prover, claimed });
}

function joinWith(joinToken: string, state: StateFolder, wire = new Wire(plane)) {
  return joinAt(plane, joinToken, { state, wire });
}

async function countAgents(): Promise<number> {
  const { rows } = await sql<{ n: number }>`select count(*)::int as n from agents`
    .execute(database.db);
  return rows[0]?.n ?? -1;
}

Deno.test("enroll() makes keys here, keeps them at 0600 in a folder of 0700, and pins one key", async () => {
  const siteId = await makeSite(plane);
  const { joinToken, agentName } = await makeJoinToken(plane, [siteId]);
  await using folder = await makeStateFolder();
  const identity = await joinWith(joinToken, folder.state);
  assert.equal(identity.name, agentName);
  assert.deepEqual(identity.siteIds, [siteId]);
  assert.deepEqual(await folder.state.readIdentity(), identity);
  assert.deepEqual(
    identity.signingKeys.map((key) => key.kid),
    [plane.services.keyRing.signing.kid],
  );
  const files = (await Array.fromAsync(Deno.readDir(folder.state.path))).map(({ name }) => name);
  assert.deepEqual(files, ["identity.json"]);
  assert.equal(modeOf(join(folder.state.path, "identity.json")), 0o600);
  assert.equal(modeOf(folder.state.path), 0o700);
  const { rows: [agent] } = await sql<{ all: string }>`
    select to_jsonb(a)::text as all from agents a where id = ${identity.agentId}`
    .execute(database.db);
  for (const secret of [identity.signKey.d, identity.sealKey.d, joinToken.split(".")[0] ?? ""]) {
    assert.ok(!agent?.all.includes(secret));
  }
});

function isEnrolled(request: Request, response: Response): boolean {
  return request.url.endsWith("/enroll") && response.status === 200;
}

function modeOf(path: string): number {
  return (Deno.statSync(path).mode ?? 0) & 0o777;
}

Deno.test("enroll() again after a lost reply is the same agent with the same keys", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  await using folder = await makeStateFolder();
  const lossy = new Wire(plane);
  const before = await countAgents();
  let agentId = "";
  lossy.carrier = async (request, pass) => {
    const response = await pass(request);
    if (!isEnrolled(request, response)) return response;
    agentId = (await response.json()).agentId;
    throw new TypeError("the connection broke");
  };
  await assert.rejects(joinWith(joinToken, folder.state, lossy), TypeError);
  assert.equal(modeOf(join(folder.state.path, "pending_keys.json")), 0o600);
  const identity = await joinWith(joinToken, folder.state);
  assert.equal(identity.agentId, agentId);
  assert.equal(await countAgents(), before + 1);
});

Deno.test("enroll() of one token by five agents at once makes one agent", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  const before = await countAgents();
  const keys = await Promise.all(Array.from({ length: 5 }, makeKey));
  const ended = await Promise.allSettled(keys.map((key) => enrolAs(joinToken, key)));
  assert.equal(ended.filter(({ status }) => status === "fulfilled").length, 1);
  assert.equal(await countAgents(), before + 1);
});

Deno.test("enroll() takes no malformed token, and sends nothing for it", async () => {
  await using folder = await makeStateFolder();
  const wire = new Wire(plane);
  const good = (await makeJoinToken(plane, [await makeSite(plane)])).joinToken;
  for (const joinToken of ["", "rkj_", good.slice(0, -1), `${good}x`, good.replace(".", "")]) {
    await assert.rejects(joinWith(joinToken, folder.state, wire), EnrolmentError);
  }
  assert.deepEqual(wire.sent, []);
  await joinWith(` ${good}\n`, folder.state, wire);
});

Deno.test("enroll() under another name of the control plane is told the one to use", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  await using folder = await makeStateFolder();
  const wire = new Wire(plane);
  const options = { controlPlaneUrl: "http://localhost:8080", joinToken };
  await assert.rejects(
    enroll(options, { state: folder.state, send: wire.send, signal }),
    (error: Error) =>
      refusedAs("invalid-proof")(error) &&
      error.message.endsWith(": enrol with --url https://rookery.test."),
  );
});

Deno.test("a proof by another key than the one that is enrolled is refused", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  const [mine, stolen] = [await makeKey(), await makeKey()];
  await assert.rejects(enrolAs(joinToken, mine, stolen.publicJwk), refusedAs("invalid-proof"));
  assert.ok((await enrolAs(joinToken, mine)).agentId, "the token was burnt");
});

Deno.test("a key that is enrolled joins no second time", async () => {
  const siteId = await makeSite(plane);
  const key = await makeKey();
  await enrolAs((await makeJoinToken(plane, [siteId])).joinToken, key);
  await assert.rejects(
    enrolAs((await makeJoinToken(plane, [siteId])).joinToken, key),
    refusedAs("conflict"),
  );
});

Deno.test("a revoked agent does not come back with its old token", async () => {
  const admin = await plane.administrator();
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  const key = await makeKey();
  const { agentId } = await enrolAs(joinToken, key);
  await admin.call(revokeAgent, { params: { agentId } });
  await assert.rejects(enrolAs(joinToken, key), refusedAs("agent-revoked"));
});

Deno.test("enroll() sends no token to a control plane whose key the token does not name", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  const [secret = ""] = joinToken.split(".");
  await using folder = await makeStateFolder();
  const wire = new Wire(plane);
  await assert.rejects(
    joinWith(`${secret}.${"A".repeat(43)}`, folder.state, wire),
    (error) =>
      error instanceof EnrolmentError && /was not sent and is still good/.test(error.message),
  );
  assert.deepEqual(wire.sent, ["GET /agent/v1/jwks"]);
  assert.equal(await folder.state.readIdentity(), undefined);
  assert.ok((await enrolAs(joinToken, await makeKey())).agentId, "the token was burnt");
});

Deno.test("enroll() believes an impostor nothing that shows the right public key and signs with another", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  await using folder = await makeStateFolder();
  const rogue = { ...(await makeKey()).publicJwk, kid: "rogue" };
  const wire = new Wire(plane);
  wire.carrier = async (request, pass) => {
    const response = await pass(request);
    if (!isEnrolled(request, response)) return response;
    return Response.json({ ...await response.json(), signingKeys: [rogue] });
  };
  await assert.rejects(
    joinWith(joinToken, folder.state, wire),
    (error) => error instanceof EnrolmentError && /make a new join token/.test(error.message),
  );
  assert.equal(await folder.state.readIdentity(), undefined);
});

Deno.test("enroll() trusts no key that stands beside the one the token names", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  await using folder = await makeStateFolder();
  const rogue = { ...(await makeKey()).publicJwk, kid: "rogue" };
  const wire = new Wire(plane);
  wire.carrier = async (request, pass) => {
    const response = await pass(request);
    if (!isEnrolled(request, response)) return response;
    const reply = await response.json();
    return Response.json({ ...reply, signingKeys: [rogue, ...reply.signingKeys, rogue] });
  };
  const identity = await joinWith(joinToken, folder.state, wire);
  assert.deepEqual(
    identity.signingKeys.map((key) => key.kid),
    [plane.services.keyRing.signing.kid],
  );
});

Deno.test("enroll() seals to no key that the pinned one does not vouch for", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  const { privateKey, publicJwk: { x } } = await makeKey();
  const rogue = { kty: "OKP", crv: "X25519", x } as const;
  const forged = await new SignJWT({
    iss: plane.services.issuer,
    use: "enc",
    status: "trusted",
    sequence: 99,
    jwk: rogue,
  }).setProtectedHeader({
    alg: "Ed25519",
    typ: "rookery-key+jwt",
    kid: plane.services.keyRing.signing.kid,
  }).sign(privateKey);
  const wireWith = (change: (statements: string[]) => string[]) => {
    const wire = new Wire(plane);
    wire.carrier = async (request, pass) => {
      const response = await pass(request);
      if (response.status !== 200) return response;
      const reply = await response.json();
      if (isEnrolled(request, response)) reply.sealingKey = { ...rogue, kid: "rogue" };
      else reply.statements = change(reply.statements);
      return Response.json(reply, { headers: response.headers });
    };
    return wire;
  };
  await using folder = await makeStateFolder();
  await assert.rejects(
    joinWith(joinToken, folder.state, wireWith(() => [forged])),
    (error) => error instanceof EnrolmentError && /has seen the token/.test(error.message),
  );
  const wire = wireWith((statements) => [forged, ...statements]);
  const identity = await joinWith(joinToken, folder.state, wire);
  assert.equal(identity.sealingKey.kid, plane.services.keyRing.sealing.kid);
});

Deno.test("enroll() goes over https, or to this very machine", async () => {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  await using folder = await makeStateFolder();
  const wire = new Wire(plane);
  const refused = [
    "http://rookery.test",
    "http://192.0.2.1:8080",
    "http://127.0.0.1.example.com",
    "http://localhost.example.com",
    "http://127.0.0.1@192.0.2.1/",
    "ftp://127.0.0.1",
    "file:///etc/passwd",
    "rookery.test",
    "",
  ];
  for (const controlPlaneUrl of refused) {
    await assert.rejects(
      enroll({ controlPlaneUrl, joinToken }, { state: folder.state, send: wire.send, signal }),
      AddressError,
      controlPlaneUrl,
    );
  }
  assert.deepEqual(wire.sent, []);
});

Deno.test("enroll() refuses a folder that belongs to an enrolled agent", async () => {
  const siteId = await makeSite(plane);
  await using folder = await makeStateFolder();
  await joinWith((await makeJoinToken(plane, [siteId])).joinToken, folder.state);
  const before = await folder.state.readIdentity();
  await assert.rejects(
    joinWith((await makeJoinToken(plane, [siteId])).joinToken, folder.state),
    EnrolmentError,
  );
  assert.deepEqual(await folder.state.readIdentity(), before);
});

Deno.test("a damaged identity names its field and the remedy, and quotes no key", async () => {
  await using folder = await makeStateFolder();
  const identity = await joinWith(
    (await makeJoinToken(plane, [await makeSite(plane)])).joinToken,
    folder.state,
  );
  const path = join(folder.state.path, "identity.json");
  const whole = await Deno.readTextFile(path);
  const damaged = [
    ["", "its root"],
    [whole.slice(0, -20), "its root"],
    [JSON.stringify({ ...identity, agentId: identity.signKey.d }), "agentId"],
    [JSON.stringify({ ...identity, signKey: { d: identity.signKey.d } }), "signKey.kty"],
  ] as const;
  for (const [text, field] of damaged) {
    await Deno.writeTextFile(path, text);
    await assert.rejects(folder.state.readIdentity(), (error: Error) => {
      assert.ok(error.message.includes(field) && /enrol again/.test(error.message), error.message);
      assert.ok(!`${error.stack}${error.cause}`.includes(identity.signKey.d.slice(0, 12)));
      return true;
    });
  }
});
