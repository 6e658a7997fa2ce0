/** `doctor`, by use: real servers with the faults that people meet, and what it says of each. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Finding } from "../../agent/doctor/finding.ts";
import { examine, showFindings } from "../../agent/doctor/mod.ts";
import { readTarget } from "../../agent/doctor/device_check.ts";
import { revokeAgent } from "@rookery/shared/api/agents.ts";
import { enroll } from "../../agent/enroll.ts";
import { openRoute } from "../../agent/http.ts";
import { AgentSettings } from "../../agent/settings.ts";
import { type AgentIdentity, StateFolder } from "../../agent/state_folder.ts";
import { makeJoinToken, makeSite } from "../support/agent_bench.ts";
import { startConnectProxy } from "../support/connect_proxy.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { freePort } from "../support/free_port.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { makePrivateCa, testWithOpenssl } from "../support/private_ca.ts";

const database = testDatabase();
const port = freePort();
const plane = testControlPlane(database, { publicUrl: `http://127.0.0.1:${port}` });

/** The control plane on its port; `change` is what a fault makes of a response. */
async function servePlane(change: (response: Response) => Response = (response) => response) {
  const serve = () =>
    Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, async (request) => {
      return change(await plane.app.fetch(request, { remoteAddress: "127.0.0.1" }));
    });
  const server = await whenFree(serve);
  return { [Symbol.asyncDispose]: () => server.shutdown() };
}

/** The server before it on this port lets go of it a moment after it has shut down. */
async function whenFree<Server>(serve: () => Server): Promise<Server> {
  for (let tries = 0;; tries++) {
    try {
      return serve();
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse) || tries === 100) throw error;
    }
    await delay(50);
  }
}

async function makeFolder() {
  const parent = await Deno.makeTempDir({ prefix: "rookery-doctor-" });
  const path = join(parent, "state");
  await Deno.mkdir(path, { mode: 0o700 });
  return {
    path,
    settings: (settings: unknown) =>
      Deno.writeTextFile(join(path, "settings.json"), JSON.stringify(settings)),
    [Symbol.asyncDispose]: () => Deno.remove(parent, { recursive: true }),
  };
}

async function enrolIn(path: string): Promise<AgentIdentity> {
  const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
  const settings = AgentSettings.parse({});
  using route = await openRoute(plane.publicUrl, { stateFolder: path, settings });
  const state = await StateFolder.open(path);
  const signal = AbortSignal.timeout(30_000);
  return await enroll({ controlPlaneUrl: plane.publicUrl, joinToken }, {
    state,
    send: route.send,
    signal,
  });
}

/** The verdict of one check, and what it says. */
async function findingOf(
  check: string,
  stateFolder: string,
  more: { url?: string; device?: string } = {},
): Promise<Finding> {
  const { findings } = await examine({ stateFolder, ...more });
  return findings.find((finding) => finding.check === check) ?? assert.fail(`no check ${check}`);
}

function expectFinding(found: Finding, verdict: string, words: RegExp): void {
  assert.equal(found.verdict, verdict, `${found.check}: ${found.seen}`);
  assert.match(`${found.seen} → ${found.remedy ?? ""}`, words);
}

Deno.test("examine() finds nothing wrong with a sound agent, and opens no session for it", async () => {
  await using folder = await makeFolder();
  await using _server = await servePlane();
  const identity = await enrolIn(folder.path);
  const { verdict, findings } = await examine({ stateFolder: folder.path });
  const text = showFindings({ verdict, findings });
  // As root the folder is root's, which is a warning of its own.
  const bad = findings.filter((finding) =>
    finding.verdict !== "ok" && !/of root/.test(finding.seen)
  );
  assert.deepEqual(bad, [], text);
  for (
    const check of ["disk", "dns", "proxy", "tls", "control plane", "clock", "trust", "session"]
  ) {
    assert.ok(findings.some((finding) => finding.check === check), check);
  }
  const sessions = await database.db.selectFrom("agentSessions").select("agentId")
    .where("agentId", "=", identity.agentId).execute();
  assert.deepEqual(sessions, []);
  for (const secret of [identity.signKey.d, identity.sealKey.d]) assert.ok(!text.includes(secret));
  // It leaves nothing behind.
  const left = await Array.fromAsync(Deno.readDir(folder.path), ({ name }) => name);
  assert.deepEqual(left, ["identity.json"]);
});

Deno.test("examine() tells what became of an agent that is not welcome any more", async () => {
  await using folder = await makeFolder();
  await using _server = await servePlane();
  const { agentId } = await enrolIn(folder.path);
  const admin = await plane.administrator();
  await admin.call(revokeAgent, { params: { agentId } });
  expectFinding(await findingOf("session", folder.path), "failed", /revoked/);
});

Deno.test("examine() finds a control plane that is away, ill, or none at all", async () => {
  await using folder = await makeFolder();
  {
    await using _server = await servePlane();
    await enrolIn(folder.path);
  }
  expectFinding(await findingOf("control plane", folder.path), "failed", /refused.*firewalls/);
  expectFinding(await findingOf("session", folder.path), "skipped", /not reached/);
  {
    await using _server = await servePlane(() => new Response("upstream", { status: 502 }));
    expectFinding(await findingOf("control plane", folder.path), "failed", /502.*its own log/i);
  }
  await using _server = await servePlane(() => Response.json({ hello: "world" }));
  expectFinding(await findingOf("trust", folder.path), "failed", /no control plane/);
});

Deno.test("examine() finds keys that the agent has no reason to trust", async () => {
  await using folder = await makeFolder();
  await using _server = await servePlane();
  await enrolIn(folder.path);
  const path = join(folder.path, "identity.json");
  const identity = JSON.parse(await Deno.readTextFile(path));
  identity.signingKeys = [{ ...identity.signingKeys[0], x: "A".repeat(43), kid: "other" }];
  await Deno.writeTextFile(path, JSON.stringify(identity));
  expectFinding(await findingOf("trust", folder.path), "failed", /no reason to trust.*set up anew/);
});

Deno.test("examine() finds a clock that is wrong, here or there", async () => {
  await using folder = await makeFolder();
  const skewed = (seconds: number) => (response: Response) => {
    const headers = new Headers(response.headers);
    headers.set("date", new Date(Date.now() + seconds * 1_000).toUTCString());
    return new Response(response.body, { status: response.status, headers });
  };
  const url = plane.publicUrl;
  for (
    const [seconds, verdict, words] of [
      [0, "ok", /control plane's/],
      [120, "warning", /1(19|20|21) s behind.*NTP/],
      [-7_200, "failed", /ahead of.*certificates.*NTP/],
    ] as const
  ) {
    await using _server = await servePlane(skewed(seconds));
    expectFinding(await findingOf("clock", folder.path, { url }), verdict, words);
  }
});

Deno.test("examine() finds a folder that is missing or open, and settings that are wrong", async () => {
  await using folder = await makeFolder();
  const missing = join(folder.path, "..", "missing");
  expectFinding(await findingOf("state folder", missing), "failed", /install -d -m 700/);
  expectFinding(await findingOf("disk", missing), "failed", /file system writable/);
  expectFinding(await findingOf("enrolment", folder.path), "failed", /join token/);
  await Deno.writeTextFile(join(folder.path, "identity.json"), "{}", { mode: 0o644 });
  expectFinding(
    await findingOf("state folder", folder.path),
    "failed",
    /identity\.json.*chmod 600/,
  );
  expectFinding(await findingOf("enrolment", folder.path), "failed", /wrong at.*enrol again/);
  await Deno.chmod(folder.path, 0o755);
  expectFinding(
    await findingOf("state folder", folder.path),
    "failed",
    /others can enter.*chmod 700/,
  );
  await folder.settings({ caFile: "ca.pem" });
  expectFinding(await findingOf("settings", folder.path), "failed", /ca\.pem/);
  await folder.settings({ capacity: 0 });
  expectFinding(await findingOf("settings", folder.path), "failed", /capacity must be/);
});

testWithOpenssl(
  "examine() finds what is wrong with a certificate, and tells how long it lasts",
  async () => {
    await using folder = await makeFolder();
    await using ca = await makePrivateCa();
    await Deno.writeTextFile(join(folder.path, "ca.pem"), ca.pem);
    const tlsOf = async (names: readonly string[], days?: number) => {
      const server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, ...await ca.issue(names, days), onListen: () => {} },
        () => Response.json({ status: "ok" }),
      );
      if (days === 0) await new Promise((resolve) => setTimeout(resolve, 1_500));
      const url = `https://127.0.0.1:${server.addr.port}`;
      const found = await findingOf("tls", folder.path, { url });
      await server.shutdown();
      return found;
    };
    expectFinding(
      await tlsOf(["IP:127.0.0.1"]),
      "failed",
      /UnknownIssuer.*A CA of this test.*caFile/,
    );
    await folder.settings({ caFile: "ca.pem" });
    expectFinding(
      await tlsOf(["IP:127.0.0.1"]),
      "ok",
      /29 days left.*127\.0\.0\.1.*A CA of this test/,
    );
    expectFinding(await tlsOf(["IP:127.0.0.1"], 5), "warning", /4 days left.*Renew/);
    expectFinding(await tlsOf(["DNS:other.test"]), "failed", /other\.test.*enrol with a name/);
    expectFinding(await tlsOf(["IP:127.0.0.1"], 0), "failed", /clock/);
  },
);

testWithOpenssl(
  "examine() finds what is wrong with a proxy, and looks at the certificate behind it",
  async () => {
    await using folder = await makeFolder();
    await using ca = await makePrivateCa();
    await Deno.writeTextFile(join(folder.path, "ca.pem"), ca.pem);
    await using server = Deno.serve(
      {
        hostname: "127.0.0.1",
        port: 0,
        ...await ca.issue(["DNS:rookery.test"]),
        onListen: () => {},
      },
      () => Response.json({ status: "ok" }),
    );
    const to = { hostname: "127.0.0.1", port: server.addr.port };
    const url = "https://rookery.test";
    await using proxy = await startConnectProxy({ to, login: "site:secret-of-proxy" });
    await folder.settings({ caFile: "ca.pem", proxy: { url: proxy.url } });
    expectFinding(
      await findingOf("proxy", folder.path, { url }),
      "failed",
      /authentication.*proxy\.user/,
    );
    const login = { user: "site", password: "secret-of-proxy" };
    await folder.settings({ caFile: "ca.pem", proxy: { url: proxy.url, ...login } });
    const all = await examine({ stateFolder: folder.path, url });
    const text = showFindings(all);
    assert.match(text, /ok +proxy +http:\/\/127\.0\.0\.1:\d+ lets the agent through/);
    assert.match(text, /ok +tls +trusted, 29 days left: for rookery\.test/);
    assert.ok(!text.includes("secret-of-proxy"), text);
    await using refusing = await startConnectProxy({ refuses: true });
    await folder.settings({ proxy: { url: refusing.url } });
    expectFinding(await findingOf("proxy", folder.path, { url }), "failed", /CONNECT.*allowed/);
    await folder.settings({ proxy: { url: "http://127.0.0.1:2" } });
    expectFinding(await findingOf("proxy", folder.path, { url }), "failed", /refused.*proxy\.url/);
    await folder.settings({ proxy: { url: "http://proxy.invalid:1" } });
    expectFinding(
      await findingOf("dns", folder.path, { url }),
      "failed",
      /proxy\.invalid.*name servers/,
    );
  },
);

Deno.test("examine() goes as far as a device's banner, where the local policy lets it", async () => {
  await using folder = await makeFolder();
  await using device = await startDevice(makeRecording("frr", 1));
  const at = `127.0.0.1:${device.port}`;
  const look = (target: string) => findingOf("device", folder.path, { device: target });
  expectFinding(await look(at), "failed", /refused_by_agent_policy.*policy\.networks/);
  assert.equal(device.log.connections, 0);
  await folder.settings({ policy: { networks: ["127.0.0.0/8"] } });
  expectFinding(await look(at), "ok", /127\.0\.0\.1 port \d+, allowed by .*TCP \d+ ms.*SSH-2\.0-/);
  expectFinding(await look("127.0.0.1:2"), "failed", /connection_refused.*access list/);
  expectFinding(await look("nowhere.invalid"), "failed", /address_unresolved.*name servers/);
  expectFinding(await look("a:b:c"), "failed", /--device host/);
  const talker = createServer((socket) =>
    socket.on("error", () => {}).end("HTTP/1.1 400 Bad\r\n\r\n")
  );
  await new Promise<void>((resolve) => talker.listen(0, "127.0.0.1", resolve));
  const address = talker.address() as { port: number };
  expectFinding(await look(`127.0.0.1:${address.port}`), "failed", /not_ssh|connection_lost/);
  await new Promise((resolve) => talker.close(resolve));
});

Deno.test("readTarget() reads every way to write a device", () => {
  const cases: readonly (readonly [string, string | undefined, number?])[] = [
    ["core-1", "core-1", 22],
    ["core-1.test:2222", "core-1.test", 2222],
    ["192.0.2.1:22", "192.0.2.1", 22],
    ["2001:db8::1", "2001:db8::1", 22],
    ["[2001:db8::1]", "2001:db8::1", 22],
    ["[2001:db8::1]:830", "2001:db8::1", 830],
    ["core-1:0", undefined],
    ["core-1:99999", undefined],
    ["", undefined],
  ];
  for (const [text, host, port = 22] of cases) {
    assert.deepEqual(readTarget(text), host === undefined ? undefined : { host, port }, text);
  }
});
