/** The agent's way to the control plane: proxies, private CAs, IPv6, and what it says where there is none. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { checkedUrl, openRoute } from "../../agent/http.ts";
import { CaFileError, goesThrough, ProxySettings } from "../../agent/network_settings.ts";
import { ReachError, type ReachReason } from "../../agent/reach_error.ts";
import { AgentSettings } from "../../agent/settings.ts";
import { startConnectProxy } from "../support/connect_proxy.ts";
import { type Certificate, makePrivateCa, testWithOpenssl } from "../support/private_ca.ts";

function serveTls({ cert, key }: Certificate, hostname = "127.0.0.1") {
  const heads: Headers[] = [];
  const server = Deno.serve({ hostname, port: 0, cert, key, onListen: () => {} }, (request) => {
    heads.push(request.headers);
    return new Response("here");
  });
  return { port: server.addr.port, heads, [Symbol.asyncDispose]: () => server.shutdown() };
}

async function makeFolder() {
  const path = await Deno.makeTempDir({ prefix: "rookery-route-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Asks `base` once, as the agent would with these settings; `ca` lies in the state folder. */
async function ask(base: string, { ca, ...more }: { ca?: string; proxy?: unknown } = {}) {
  await using folder = await makeFolder();
  if (ca !== undefined) await Deno.writeTextFile(join(folder.path, "ca.pem"), ca);
  const caFile = ca === undefined ? {} : { caFile: "ca.pem" };
  const settings = AgentSettings.parse({ ...more, ...caFile });
  using route = await openRoute(base, { stateFolder: folder.path, settings });
  const response = await route.send(new Request(base, { signal: AbortSignal.timeout(20_000) }));
  return await response.text();
}

function because(reason: ReachReason, words: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof ReachError, String(error));
    assert.equal(error.reason, reason, error.message);
    assert.match(error.message, words);
    return true;
  };
}

const WORDS = ["DNS:localhost", "IP:127.0.0.1", "IP:::1"];

testWithOpenssl("openRoute() trusts a private CA only where the settings name it", async () => {
  await using ca = await makePrivateCa();
  await using server = serveTls(await ca.issue(WORDS));
  const base = `https://127.0.0.1:${server.port}`;
  await assert.rejects(ask(base), because("unknown_issuer", /caFile in settings\.json/));
  assert.equal(server.heads.length, 0);
  assert.equal(await ask(base, { ca: ca.pem }), "here");
  await using other = await makePrivateCa();
  await assert.rejects(ask(base, { ca: other.pem }), ReachError);
  assert.equal(await ask(base, { ca: `${other.pem}\n${ca.pem}` }), "here");
});

testWithOpenssl(
  "openRoute() refuses a certificate of another name, or one that is over",
  async () => {
    await using ca = await makePrivateCa();
    await using wrong = serveTls(await ca.issue(["DNS:other.test"]));
    await assert.rejects(
      ask(`https://127.0.0.1:${wrong.port}`, { ca: ca.pem }),
      because("wrong_name", /other\.test.*enrol with a name that the certificate carries/),
    );
    await using over = serveTls(await ca.issue(WORDS, 0));
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await assert.rejects(
      ask(`https://127.0.0.1:${over.port}`, { ca: ca.pem }),
      because("expired", /clock/),
    );
    assert.deepEqual([wrong.heads.length, over.heads.length], [0, 0]);
  },
);

testWithOpenssl("openRoute() reaches an IPv6 address, directly and through a proxy", async () => {
  await using ca = await makePrivateCa();
  await using server = serveTls(await ca.issue(WORDS), "::1");
  const base = `https://[::1]:${server.port}`;
  assert.equal(await ask(base, { ca: ca.pem }), "here");
  // Loopback is never asked of a proxy.
  await using proxy = await startConnectProxy();
  assert.equal(await ask(base, { ca: ca.pem, proxy: { url: proxy.url } }), "here");
  assert.deepEqual(proxy.asked, []);
  await using named = serveTls(await ca.issue(["IP:2001:db8::7"]));
  await using far = await startConnectProxy({ to: { hostname: "127.0.0.1", port: named.port } });
  const settings = { ca: ca.pem, proxy: { url: far.url } };
  assert.equal(await ask("https://[2001:db8::7]:8443", settings), "here");
  assert.deepEqual(far.asked, ["[2001:db8::7]:8443"]);
});

testWithOpenssl("openRoute() goes through a proxy with and without a login", async () => {
  await using ca = await makePrivateCa();
  await using server = serveTls(await ca.issue(["DNS:rookery.test"]));
  const to = { hostname: "127.0.0.1", port: server.port };
  const base = "https://rookery.test";
  await using open = await startConnectProxy({ to });
  assert.equal(await ask(base, { ca: ca.pem, proxy: { url: open.url } }), "here");
  assert.deepEqual(open.asked, ["rookery.test:443"]);
  await using guarded = await startConnectProxy({ to, login: "site:pa:ss" });
  const login = { user: "site", password: "pa:ss" };
  assert.equal(await ask(base, { ca: ca.pem, proxy: { url: guarded.url, ...login } }), "here");
  // What the proxy is told goes no further.
  for (const head of server.heads) assert.equal(head.get("proxy-authorization"), null);
  for (const wrong of [{}, { user: "site", password: "wrong" }]) {
    await assert.rejects(
      ask(base, { ca: ca.pem, proxy: { url: guarded.url, ...wrong } }),
      (error: unknown) =>
        because("proxy_authentication", /proxy\.user and proxy\.password/)(error) &&
        !String(error).includes("wrong"),
    );
  }
  assert.equal(server.heads.length, 2);
});

testWithOpenssl(
  "openRoute() checks the control plane's certificate behind a proxy, too",
  async () => {
    await using ca = await makePrivateCa();
    await using server = serveTls(await ca.issue(["DNS:other.test"]));
    await using proxy = await startConnectProxy({
      to: { hostname: "127.0.0.1", port: server.port },
    });
    const settings = { ca: ca.pem, proxy: { url: proxy.url } };
    await assert.rejects(
      ask("https://rookery.test", settings),
      because("wrong_name", /through the/),
    );
    assert.equal(server.heads.length, 0);
  },
);

testWithOpenssl("openRoute() goes around the proxy where noProxy says so", async () => {
  await using ca = await makePrivateCa();
  // The whole of 127.0.0.0/8 is this machine, so another address has to stand for the control plane.
  const own = Deno.networkInterfaces().find(({ family, address }) =>
    family === "IPv4" && !address.startsWith("127.")
  )?.address ?? "127.0.0.1";
  await using server = serveTls(await ca.issue([`IP:${own}`]), own);
  await using proxy = await startConnectProxy({ refuses: true });
  const { url } = proxy;
  const at = `https://${own}:${server.port}`;
  const around = { url, noProxy: [`${own}/24`] };
  assert.equal(await ask(at, { ca: ca.pem, proxy: around }), "here");
  assert.deepEqual(proxy.asked, []);
});

Deno.test("goesThrough() leaves out what noProxy names, and this machine always", () => {
  const through = (hostname: string, noProxy: string[]) =>
    goesThrough(ProxySettings.parse({ url: "http://proxy.test", noProxy }), hostname);
  const list = ["Internal.test", ".example.com", "10.0.0.0/8", "2001:db8::/32", "192.0.2.7"];
  for (
    const host of [
      "internal.test",
      "a.internal.test",
      "example.com",
      "x.y.example.com",
      "10.9.8.7",
      "[2001:db8::1]",
      "192.0.2.7",
      "localhost",
      "127.0.0.1",
      "[::1]",
    ]
  ) assert.equal(through(host, list), false, host);
  for (const host of ["notinternal.test", "example.com.test", "11.0.0.1", "[2001:db9::1]"]) {
    assert.equal(through(host, list), true, host);
  }
  assert.equal(through("rookery.test", ["*"]), false);
});

testWithOpenssl(
  "openRoute() tells what a proxy refuses, and one that cannot be reached to log in",
  async () => {
    await using ca = await makePrivateCa();
    await using refusing = await startConnectProxy({ refuses: true });
    const login = { user: "site", password: "secret-of-the-proxy" };
    for (const more of [{}, login]) {
      await assert.rejects(
        ask("https://rookery.test", { ca: ca.pem, proxy: { url: refusing.url, ...more } }),
        because("proxy_refused", /have CONNECT to the control plane allowed/),
      );
      await assert.rejects(
        ask("https://rookery.test", { ca: ca.pem, proxy: { url: "http://127.0.0.1:2", ...more } }),
        (error: unknown) =>
          because("proxy_unreachable", /proxy\.url/)(error) && !String(error).includes("secret"),
      );
    }
  },
);

testWithOpenssl("openRoute() logs in at a proxy that speaks TLS itself", async () => {
  await using ca = await makePrivateCa();
  await using server = serveTls(await ca.issue(["DNS:rookery.test"]));
  const to = { hostname: "127.0.0.1", port: server.port };
  const tls = await ca.issue(["IP:127.0.0.1"]);
  await using proxy = await startConnectProxy({ to, tls, login: "site:p" });
  const settings = { url: proxy.url, user: "site", password: "p" };
  assert.equal(await ask("https://rookery.test", { ca: ca.pem, proxy: settings }), "here");
  assert.deepEqual(server.heads.map((head) => head.get("proxy-authorization")), [null]);
});

Deno.test("openRoute() tells a proxy that is not there from a control plane that is not", async () => {
  const proxy = { url: "http://127.0.0.1:2" };
  await assert.rejects(
    ask("https://rookery.test", { proxy }),
    because("proxy_unreachable", /through the proxy http:\/\/127\.0\.0\.1:2.*proxy\.url/),
  );
  await assert.rejects(
    ask("https://rookery.test", { proxy: { url: "http://proxy.invalid:3128" } }),
    because("proxy_unresolved", /proxy\.url/),
  );
  await assert.rejects(ask("http://127.0.0.1:2"), because("unreachable", /firewalls/));
  await using plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    return new Response("not TLS");
  });
  await assert.rejects(ask(`https://127.0.0.1:${plain.addr.port}`), because("not_tls", /TLS/));
});

Deno.test("openRoute() refuses a caFile that it cannot read or that holds no certificate", async () => {
  const settings = AgentSettings.parse({ caFile: "ca.pem" });
  await using folder = await makeFolder();
  const open = () => openRoute("https://rookery.test", { stateFolder: folder.path, settings });
  await assert.rejects(open(), (error: unknown) => {
    return error instanceof CaFileError && error.message.includes(join(folder.path, "ca.pem"));
  });
  const empty = "-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";
  for (const text of ["", "nothing", empty, empty.replaceAll("CERTIFICATE", "PRIVATE KEY")]) {
    await Deno.writeTextFile(join(folder.path, "ca.pem"), text);
    await assert.rejects(open(), (error: unknown) => {
      return error instanceof CaFileError && /must hold certificates in PEM/.test(error.message);
    });
  }
});

Deno.test("checkedUrl() takes https, and plain http only to this very machine", () => {
  const good: readonly (readonly [string, string])[] = [
    ["https://rookery.example.com/x", "https://rookery.example.com"],
    ["https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"],
    ["http://127.0.0.1:8080", "http://127.0.0.1:8080"],
    ["http://127.1:8080", "http://127.0.0.1:8080"],
    ["http://[::1]:8080", "http://[::1]:8080"],
    ["http://localhost", "http://localhost"],
  ];
  for (const [address, origin] of good) assert.equal(checkedUrl(address), origin);
  const bad = [
    "http://rookery.example.com",
    "http://10.0.0.1",
    "http://[2001:db8::1]",
    "http://localhost.example.com",
    "http://127.0.0.1.example.com",
    "http://[::ffff:10.0.0.1]",
    "ftp://127.0.0.1",
    "rookery",
    "",
  ];
  for (const address of bad) assert.throws(() => checkedUrl(address), /^AddressError: Cannot use /);
});
