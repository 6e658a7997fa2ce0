import assert from "node:assert/strict";
import { join } from "node:path";
import { exists } from "./cluster_process.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const ROOT = join(import.meta.dirname ?? ".", "..", "..");

/** Runs a program of the control plane that cannot start, and gives what it said. */
async function refusalOf(program: string, env: Readonly<Record<string, string>>): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--cached-only", join(ROOT, "control-plane", program), "admin"],
    env,
    stdin: "null",
    signal: AbortSignal.timeout(30_000),
  }).output();
  assert.equal(code, 1);
  const text = new TextDecoder().decode(stderr) + new TextDecoder().decode(stdout);
  assert.doesNotMatch(text, /"stack"|hidden/, "neither a stack nor a password");
  return text;
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "rookery-start-" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a start that fails names the variable and its value", async () => {
  await inFolder(async (folder) => {
    await using taken = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response(),
    );
    const good = { ROOKERY_DATA: folder, DATABASE_URL: database.url };
    const listen = `127.0.0.1:${taken.addr.port}`;
    assert.match(
      await refusalOf("main.ts", { ...good, ROOKERY_LISTEN: listen }),
      new RegExp(`Cannot listen on ROOKERY_LISTEN="${listen}"`),
    );
    const tls = { ROOKERY_TLS_CERT: join(folder, "none.pem"), ROOKERY_TLS_KEY: "key.pem" };
    assert.match(
      await refusalOf("main.ts", { ...good, ...tls }),
      /Cannot read ROOKERY_TLS_CERT=".*none.pem"/,
    );
    const away = "postgres://someone:hidden@127.0.0.1:1/none";
    assert.match(
      await refusalOf("main.ts", { ...good, DATABASE_URL: away }),
      /Cannot use DATABASE_URL \(127.0.0.1:1\/none\): .*ECONNREFUSED/,
    );
    await Deno.remove(join(folder, "keys.json"));
    assert.match(await refusalOf("main.ts", good), /Cannot find the key file .*ROOKERY_KEYS/);
    assert.equal(await exists(join(folder, "keys.json")), false, "no key is made");
  });
});

Deno.test("a data folder that others may enter is refused with the remedy", async () => {
  await inFolder(async (folder) => {
    await Deno.chmod(folder, 0o755);
    const env = { ROOKERY_DATA: folder, DATABASE_URL: "" };
    assert.match(await refusalOf("main.ts", env), /Run: chmod 700/);
  });
});

Deno.test("admin:recover says where no installation is, and leaves nothing", async () => {
  await inFolder(async (folder) => {
    const dataDir = join(folder, "data");
    const text = await refusalOf("admin_recover.ts", { ROOKERY_DATA: dataDir, DATABASE_URL: "" });
    assert.match(text, /there is no installation in ROOKERY_DATA/);
    assert.equal(await exists(dataDir), false);
  });
});
