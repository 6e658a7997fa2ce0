/** The health check of the container image, as the image runs it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { readConfig } from "../../control-plane/config.ts";
import { readinessUrl } from "../../control-plane/health_check.ts";
import { runMaintenance } from "../../control-plane/jobs/maintenance.ts";
import { Ticks } from "../../control-plane/jobs/ticks.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { skipUnless } from "../support/skip.ts";

const database = testDatabase();
const plane = testControlPlane(database);
const ROOT = join(import.meta.dirname ?? ".", "../..");

/** The command of the image's HEALTHCHECK, read from the Dockerfile so that the two cannot differ. */
async function healthCheck(env: Record<string, string>): Promise<number> {
  const text = await Deno.readTextFile(join(ROOT, "Dockerfile"));
  const command = /\[[^\]]*health_check\.ts"\]/.exec(text)?.[0].replaceAll("\\\n", "") ?? "[]";
  const [program, ...args]: string[] = JSON.parse(command);
  assert.equal(program, "deno");
  const { code } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env, stdin: "null" })
    .output();
  return code;
}

function serve(options: { cert: string; key: string } | Record<never, never> = {}) {
  return Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {}, ...options },
    (request) => plane.app.fetch(request, { remoteAddress: "127.0.0.1" }),
  );
}

const PUBLIC = { ROOKERY_PUBLIC_URL: "https://rookery.example.com" };

const WHERE: readonly (readonly [listen: string, tls: boolean, url: string])[] = [
  ["127.0.0.1:8080", false, "http://127.0.0.1:8080/readyz"],
  ["0.0.0.0:80", false, "http://127.0.0.1/readyz"],
  ["[::]:9000", false, "http://[::1]:9000/readyz"],
  ["rookery.internal:8443", true, "https://rookery.internal:8443/readyz"],
];

for (const [ROOKERY_LISTEN, tls, url] of WHERE) {
  Deno.test(`readinessUrl() asks ${url} for ${ROOKERY_LISTEN}`, () => {
    const files = tls ? { ROOKERY_TLS_CERT: "cert.pem", ROOKERY_TLS_KEY: "key.pem" } : {};
    assert.equal(readinessUrl(readConfig({ ROOKERY_LISTEN, ...PUBLIC, ...files })).href, url);
  });
}

Deno.test("the health check passes while the control plane is ready, and fails when nobody answers", async () => {
  let port: number;
  {
    await using server = serve();
    port = server.addr.port;
    // The public address is of no interest: it may lead through a proxy, or nowhere from here.
    const env = { ROOKERY_LISTEN: `0.0.0.0:${port}`, ...PUBLIC };
    assert.equal(await healthCheck(env), 0);
  }
  assert.equal(await healthCheck({ ROOKERY_LISTEN: `0.0.0.0:${port}`, ...PUBLIC }), 1);
});

Deno.test("/readyz fails while a part of the upkeep is late, names it, and recovers", async () => {
  const { ticks } = plane.services;
  const ready = () => plane.fetch("/readyz");
  ticks.begin("reaping leases", -1);
  const late = await ready();
  assert.equal(late.status, 503);
  assert.match((await late.json()).detail, /upkeep of this replica is late: reaping leases\.$/);
  ticks.begin("reaping leases", 60_000);
  const inTime = await ready();
  assert.deepEqual([inTime.status, await inTime.json()], [200, { status: "ready" }]);
  ticks.stop("reaping leases");
});

Deno.test("runMaintenance() tells the readiness probe of what it does, and stops", async () => {
  const began: string[] = [];
  const ticks = new Ticks();
  const begin = ticks.begin.bind(ticks);
  ticks.begin = (name, lateMs) => {
    began.push(name);
    begin(name, lateMs > 0 ? -1 : lateMs);
  };
  const upkeep = new AbortController();
  const running = runMaintenance({ ...plane.services, ticks }, { signal: upkeep.signal });
  assert.ok(began.includes("reaping leases") && began.includes("sealing the audit log"));
  assert.deepEqual(ticks.late, began);
  upkeep.abort();
  assert.deepEqual(ticks.late, []);
  await running;
});

Deno.test("the health check fails while the control plane is not ready", async () => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("no database", { status: 503 }),
  );
  assert.equal(await healthCheck({ ROOKERY_LISTEN: `127.0.0.1:${server.addr.port}` }), 1);
});

const withOpenssl = skipUnless(
  await new Deno.Command("openssl", { args: ["version"], stdin: "null" }).output()
    .then(() => true, () => false),
  "openssl is not installed",
);

withOpenssl(
  "the health check passes under own TLS with a certificate for another name",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "rookery-tls-" });
    try {
      const [certFile, keyFile] = [join(folder, "cert.pem"), join(folder, "key.pem")];
      const made = await new Deno.Command("openssl", {
        args:
          "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=rookery.example.com"
            .split(" ").concat("-keyout", keyFile, "-out", certFile),
        stdin: "null",
      }).output();
      assert.ok(made.success, new TextDecoder().decode(made.stderr));
      const [cert, key] = [await Deno.readTextFile(certFile), await Deno.readTextFile(keyFile)];
      await using server = serve({ cert, key });
      const env = {
        ROOKERY_LISTEN: `0.0.0.0:${server.addr.port}`,
        ...PUBLIC,
        ROOKERY_TLS_CERT: certFile,
        ROOKERY_TLS_KEY: keyFile,
      };
      assert.equal(await healthCheck(env), 0);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
