import assert from "node:assert/strict";
import { sql } from "kysely";
import {
  createJoinToken,
  deleteJoinToken,
  getAgent,
  listAgents,
  revokeAgent,
} from "@rookery/shared/api/agents.ts";
import { createTenant, deleteTenant } from "@rookery/shared/api/tenants.ts";
import { createSite, deleteSite } from "@rookery/shared/api/sites.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { ProofKey } from "../../agent/dpop.ts";
import { StateFolder } from "../../agent/state_folder.ts";
import {
  bootByHand,
  enrolAgent,
  freshName,
  makeJoinToken,
  makeSite,
  makeStateFolder,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { Wire } from "../support/wire.ts";
import { enrolAs as enrolAt, joinWith as joinAt, makeKey, refusedAs } from "../support/joining.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

function enrolAs(joinToken: string, prover: ProofKey, claimed = prover.publicJwk) {
  return enrolAt(plane, joinToken, { prover, claimed });
}

function joinWith(joinToken: string, state: StateFolder, wire = new Wire(plane)) {
  return joinAt(plane, joinToken, { state, wire });
}

function conflictAt(pointer: string, detail: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof ProblemError && error.type === "conflict", String(error));
    assert.equal(error.errors[0]?.pointer, pointer);
    assert.match(error.message, detail);
    return true;
  };
}

async function audited(action: string, targetId: string) {
  const { rows } = await sql<{ detail: { thumbprint: string } }>`
    select detail from audit_rows where action = ${action} and target_id = ${targetId}`
    .execute(database.db);
  return rows;
}

async function countAgents(): Promise<number> {
  const { rows } = await sql<{ n: number }>`select count(*)::int as n from agents`
    .execute(database.db);
  return rows[0]?.n ?? -1;
}

Deno.test("a used join token in the hands of another key is refused and audited", async () => {
  const token = await makeJoinToken(plane, [await makeSite(plane)]);
  await using folder = await makeStateFolder();
  await using stranger = await makeStateFolder();
  await joinWith(token.joinToken, folder.state);
  await assert.rejects(
    joinWith(token.joinToken, stranger.state),
    refusedAs("join-token-invalid"),
  );
  assert.equal(await stranger.state.readIdentity(), undefined);
  const rows = await audited("join_token.reuse", token.id);
  assert.equal(rows.length, 1);
  assert.ok(!JSON.stringify(rows).includes(token.joinToken.split(".")[0] ?? ""));
});

Deno.test("an expired join token is refused, and its agent may still ask again", async () => {
  const siteId = await makeSite(plane);
  const expired = await makeJoinToken(plane, [siteId]);
  const used = await makeJoinToken(plane, [siteId]);
  const key = await makeKey();
  const first = await enrolAs(used.joinToken, key);
  await sql`update join_tokens set expires_at = clock_timestamp() - interval '1 second'`
    .execute(database.db);
  await assert.rejects(
    enrolAs(expired.joinToken, await makeKey()),
    refusedAs("join-token-invalid"),
  );
  assert.equal((await enrolAs(used.joinToken, key)).agentId, first.agentId);
});

Deno.test("a withdrawn, an unknown and a site-less join token are refused", async () => {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  const withdrawn = await makeJoinToken(plane, [siteId]);
  await admin.call(deleteJoinToken, { params: { joinTokenId: withdrawn.id } });
  const [, thumbprint] = withdrawn.joinToken.split(".");
  const unknown = `rkj_${"A".repeat(43)}.${thumbprint}`;
  const siteless = await makeJoinToken(plane, [siteId]);
  await sql`delete from sites where id = ${siteId}`.execute(database.db);
  const before = await countAgents();
  for (const joinToken of [withdrawn.joinToken, unknown, siteless.joinToken]) {
    await assert.rejects(enrolAs(joinToken, await makeKey()), refusedAs("join-token-invalid"));
  }
  assert.equal(await countAgents(), before);
});

Deno.test("deleteJoinToken() leaves a used token and its agent alone", async () => {
  const admin = await plane.administrator();
  const token = await makeJoinToken(plane, [await makeSite(plane)]);
  await enrolAs(token.joinToken, await makeKey());
  await assert.rejects(
    admin.call(deleteJoinToken, { params: { joinTokenId: token.id } }),
    refusedAs("not-found"),
  );
});

Deno.test("deleteSite() names the agents that serve the site, and takes it once they are revoked", async () => {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  const token = await makeJoinToken(plane, [siteId]);
  const { agentId } = await enrolAs(token.joinToken, await makeKey());
  await assert.rejects(
    admin.call(deleteSite, { params: { siteId } }),
    (error: Error) => refusedAs("in-use")(error) && error.message.includes(token.agentName),
  );
  await admin.call(revokeAgent, { params: { agentId } });
  await admin.call(deleteSite, { params: { siteId } });
  const left = await admin.call(getAgent, { params: { agentId } });
  assert.deepEqual([left.status, left.siteIds], ["revoked", []]);
});

Deno.test("deleteTenant() takes used join tokens and revoked agents along, and no working agent", async () => {
  const admin = await plane.administrator();
  await makeSite(plane);
  const { id: tenantId } = await admin.call(createTenant, { body: { name: freshName("tenant") } });
  const site = { name: freshName("site"), tenantId };
  const { id: siteId } = await admin.call(createSite, { body: site });
  const token = await makeJoinToken(plane, [siteId]);
  const { agentId } = await enrolAs(token.joinToken, await makeKey());
  await makeJoinToken(plane, [siteId]);
  await sql`delete from sites where id = ${siteId}`.execute(database.db);
  const deletion = () => admin.call(deleteTenant, { params: { tenantId } });
  await assert.rejects(deletion(), refusedAs("in-use"));
  await admin.call(revokeAgent, { params: { agentId } });
  await deletion();
  await assert.rejects(admin.call(getAgent, { params: { agentId } }), refusedAs("not-found"));
});

Deno.test("an agent without a site is seen, may open its session, and can be revoked", async () => {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  await using agent = await enrolAgent(plane, [siteId]);
  await sql`delete from sites where id = ${siteId}`.execute(database.db);
  const { agentId } = agent.identity;
  const boot = await bootByHand(plane, agent);
  assert.deepEqual(await boot.claim(), []);
  const { items } = await admin.call(listAgents, { query: { limit: 500 } });
  assert.ok(items.some(({ id, siteIds }) => id === agentId && siteIds.length === 0));
  const revoked = await admin.call(revokeAgent, { params: { agentId } });
  assert.equal(revoked.status, "revoked");
});

Deno.test("createJoinToken() refuses the name of an agent, or of another unused token, with the remedy", async () => {
  const admin = await plane.administrator();
  const siteIds = [await makeSite(plane)];
  const token = await makeJoinToken(plane, siteIds);
  const again = () =>
    admin.call(createJoinToken, { body: { agentName: token.agentName.toUpperCase(), siteIds } });
  await assert.rejects(again(), conflictAt("#/agentName", /withdraw it, or choose another name/));
  const { agentId } = await enrolAs(token.joinToken, await makeKey());
  await assert.rejects(again(), conflictAt("#/agentName", /revoke the old agent/));
  await admin.call(revokeAgent, { params: { agentId } });
  const { joinToken } = await again();
  assert.notEqual((await enrolAs(joinToken, await makeKey())).agentId, agentId);
});

Deno.test("enrolment under a name that was taken meanwhile is a conflict, and burns no token", async () => {
  const admin = await plane.administrator();
  const siteIds = [await makeSite(plane)];
  const first = await makeJoinToken(plane, siteIds);
  await sql`update join_tokens set expires_at = clock_timestamp() - interval '1 second'
    where id = ${first.id}`.execute(database.db);
  const body = { agentName: first.agentName, siteIds };
  const second = await admin.call(createJoinToken, { body });
  await sql`update join_tokens set expires_at = clock_timestamp() + interval '1 hour'
    where id = ${first.id}`.execute(database.db);
  const { agentId } = await enrolAs(first.joinToken, await makeKey());
  const key = await makeKey();
  await assert.rejects(
    enrolAs(second.joinToken, key),
    conflictAt("#/joinToken", /revoke the old agent, or make a join token with another name/),
  );
  await admin.call(revokeAgent, { params: { agentId } });
  assert.ok((await enrolAs(second.joinToken, key)).agentId);
});

Deno.test("two join tokens used at once by one key make one agent, and nothing is unforeseen", async () => {
  const siteId = await makeSite(plane);
  const tokens = await Promise.all([1, 2, 3, 4].map(() => makeJoinToken(plane, [siteId])));
  const key = await makeKey();
  const ended = await Promise.allSettled(tokens.map(({ joinToken }) => enrolAs(joinToken, key)));
  assert.equal(ended.filter(({ status }) => status === "fulfilled").length, 1);
  for (const end of ended) {
    if (end.status === "rejected") assert.ok(refusedAs("conflict")(end.reason), end.reason);
  }
});

Deno.test("createJoinToken() takes no site that does not exist", async () => {
  const admin = await plane.administrator();
  const siteIds = [await makeSite(plane), crypto.randomUUID() as never];
  await assert.rejects(
    admin.call(createJoinToken, { body: { agentName: freshName("agent"), siteIds } }),
    (error) => error instanceof ProblemError && error.errors[0]?.pointer === "#/siteIds/1",
  );
});
