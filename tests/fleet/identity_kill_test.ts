/** The real program, killed while it enrols and while it changes its keys: no token is burnt, and no agent is lost. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { calculateJwkThumbprint } from "jose";
import { getAgent, listAgents } from "@rookery/shared/api/agents.ts";
import { requestKeyRotation } from "@rookery/shared/api/agent_identity.ts";
import type { StateFolder } from "../../agent/state_folder.ts";
import {
  enrolAgent,
  makeJoinToken,
  makeSite,
  makeStateFolder,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { freePort } from "../support/free_port.ts";
import { type Child, ProcessGroup } from "../support/processes.ts";
import { publicOf } from "../support/rotation.ts";

const database = testDatabase({ poolSize: 8 });
const port = freePort();
const plane = testControlPlane(database, { publicUrl: `http://127.0.0.1:${port}` });
const PROGRAM = join(import.meta.dirname ?? ".", "../../agent/main.ts");
const PATIENCE_MS = 60_000;

/** When the process dies: its request unheard, heard and not answered, or answered so many milliseconds ago. */
const MOMENTS = {
  "before it is heard": { isHeard: false },
  "when it was heard and not answered": { isHeard: true },
  "with the answer": { isHeard: true, answeredMs: 0 },
  "just after the answer": { isHeard: true, answeredMs: 3 },
  "a moment after the answer": { isHeard: true, answeredMs: 12 },
} as const;
type Moment = { readonly isHeard: boolean; readonly answeredMs?: number };

/** Serves the control plane; the first request to `path` that is more than a question for a nonce is the last of a life. */
function serve({ path, moment, kill }: { path: string; moment: Moment; kill: () => void }) {
  let isKilled = false;
  return Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, async (request) => {
    const answer = () => plane.app.fetch(request, { remoteAddress: "127.0.0.1" });
    if (isKilled || new URL(request.url).pathname !== path) return await answer();
    if (!moment.isHeard) return await end(request);
    const response = await answer();
    if (response.status >= 400) return response;
    if (moment.answeredMs === undefined) return await end(request);
    isKilled = true;
    delay(moment.answeredMs).then(kill);
    return response;
  });

  async function end(request: Request): Promise<Response> {
    isKilled = true;
    kill();
    await request.body?.cancel().catch(() => {});
    return new Response(null, { status: 503 });
  }
}

/** Runs the program until it is killed or ends. */
async function live(
  state: StateFolder,
  args: readonly string[],
  killed?: { path: string; moment: Moment },
): Promise<Child & AsyncDisposable> {
  const group = await ProcessGroup.create("rookery-identity-kill-");
  const started = Promise.withResolvers<Child>();
  const dead = Promise.withResolvers<void>();
  const kill = async () => {
    (await started.promise).kill("SIGKILL");
    dead.resolve();
  };
  const server = killed && serve({ ...killed, kill });
  await Deno.writeTextFile(
    join(state.path, "settings.json"),
    JSON.stringify({ policy: { networks: ["127.0.0.0/8"] } }),
  );
  const child = await group.start({
    command: Deno.execPath(),
    args: ["run", "-A", "--cached-only", PROGRAM, ...args, "--state", state.path, "--allow-root"],
  });
  started.resolve(child);
  if (killed) {
    await dead.promise;
    await child.ended;
    await server?.shutdown();
  }
  return Object.assign(child, { [Symbol.asyncDispose]: () => group[Symbol.asyncDispose]() });
}

for (const [name, moment] of Object.entries(MOMENTS)) {
  Deno.test(`an agent that is killed in its enrolment, ${name}, enrols with the same token, as the same agent`, async () => {
    const siteId = await makeSite(plane);
    const { joinToken } = await makeJoinToken(plane, [siteId]);
    await using folder = await makeStateFolder();
    const enrolling = ["enroll", "--url", plane.publicUrl, "--token", joinToken];
    {
      const killed = { path: "/agent/v1/enroll", moment };
      await using _dead = await live(folder.state, enrolling, killed);
    }
    await using _server = plainly();
    if (!await folder.state.readIdentity()) {
      await using again = await live(folder.state, enrolling);
      assert.equal((await again.status).code, 0, again.tail());
    }
    const identity = await folder.state.readIdentity() ?? assert.fail("it is not enrolled");
    const admin = await plane.administrator();
    const { items } = await admin.call(listAgents, { query: { limit: 500 } });
    const ofSite = items.filter(({ siteIds }) => siteIds.includes(siteId));
    assert.deepEqual(ofSite.map(({ id }) => id), [identity.agentId]);
    await using _running = await live(folder.state, ["run"]);
    const params = { agentId: identity.agentId };
    await until(
      async () => (await admin.call(getAgent, { params })).online,
      "its session is open",
      PATIENCE_MS,
    );
  });

  Deno.test(`an agent that is killed in a key rotation, ${name}, comes back with keys that both sides know`, async () => {
    await using agent = await enrolAgent(plane, [await makeSite(plane)]);
    const { agentId } = agent.identity;
    const admin = await plane.administrator();
    const params = { agentId };
    await admin.call(requestKeyRotation, { params });
    {
      const killed = { path: "/agent/v1/keys/rotate", moment };
      await using _dead = await live(agent.state, ["run"], killed);
    }
    await using _server = plainly();
    await using _again = await live(agent.state, ["run"]);
    const old = await thumbprintOf(agent.identity);
    await until(
      async () => {
        const { thumbprint } = await admin.call(getAgent, { params });
        const own = await agent.state.readIdentity();
        return thumbprint !== old && own !== undefined && thumbprint === await thumbprintOf(own);
      },
      "both sides have the new keys",
      PATIENCE_MS,
    );
    assert.equal((await admin.call(getAgent, { params })).status, "active");
  });
}

function plainly() {
  return Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    async (request) => await plane.app.fetch(request, { remoteAddress: "127.0.0.1" }),
  );
}

function thumbprintOf({ signKey }: { signKey: Record<string, string> }): Promise<string> {
  return calculateJwkThumbprint(publicOf(signKey));
}
