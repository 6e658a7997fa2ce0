/** Rookery's own backup: what is lost since, what agents make of it, and what is refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { reportResult } from "@rookery/shared/api/agent_protocol.ts";
import { listAgents } from "@rookery/shared/api/agents.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import { createJobs, getJob } from "@rookery/shared/api/jobs.ts";
import { call } from "@rookery/shared/client.ts";
import type { AnyEndpoint, CallInput } from "@rookery/shared/endpoint.ts";
import type { DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import type { AttemptReport } from "@rookery/shared/jobs/result.ts";
import { createApp } from "../../control-plane/app.ts";
import { sealAuditRows } from "../../control-plane/audit/seal_rows.ts";
import { verify } from "../../control-plane/audit/verify_audit.ts";
import { readTrustedProxies } from "../../control-plane/http/address.ts";
import { ArchiveError } from "../../control-plane/installation/archive.ts";
import { restoreBackup } from "../../control-plane/installation/restore_backup.ts";
import { openKeys, sealKeys } from "../../control-plane/installation/sealed_keys.ts";
import { writeBackup } from "../../control-plane/installation/write_backup.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { startServices } from "../../control-plane/services.ts";
import { readTables } from "../faults/evidence.ts";
import { judge } from "../faults/check.ts";
import { evidence } from "../faults/forged.ts";
import { exportTables } from "../faults/tables.ts";
import {
  addDevice,
  addFarmDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
  signResult,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { sharedPasswords } from "../support/passwords.ts";

const PUBLIC_URL = "https://rookery.test";
const DEVICES = 26;
const keyFile = await makeKeys();
const keyRing = await openKeyRing(keyFile);
const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, {
  publicUrl: PUBLIC_URL,
  makeKeyRing: () => Promise.resolve(keyRing),
});
/** Where the backup is restored. */
const target = testDatabase({ poolSize: 6, empty: true });
sharedPasswords();

const REACHED: AttemptReport = {
  status: "completed",
  outcome: { reachable: true, stages: [{ stage: "tcp", milliseconds: 1 }] },
};

async function report(boot: ManualBoot, lease: LeaseClaims): Promise<string> {
  const result = await signResult(boot, lease, REACHED);
  const params = { leaseId: lease.jti };
  return await boot.call(reportResult, { params, body: { result } }).then(
    ({ answer }) => answer,
    (error: { type: string }) => error.type,
  );
}

/** Takes and ends all jobs there are for a boot. */
async function workAll(boot: ManualBoot): Promise<number> {
  let done = 0;
  for (let leases = await boot.claim(); leases.length > 0; leases = await boot.claim()) {
    for (const lease of leases) assert.equal(await report(boot, lease), "accepted");
    done += leases.length;
  }
  return done;
}

/** A control plane on the restored database, with the old keys and the old address. */
async function startRestored(secret: string) {
  const log: unknown[] = [];
  const services = await startServices({
    database: target,
    keyRing,
    passwords: sharedPasswords(),
    config: { publicUrl: PUBLIC_URL, trustedProxies: readTrustedProxies("") },
    log: (line) => log.push(line),
  });
  const app = createApp(services);
  const fetch = async (request: Request) =>
    await app.fetch(request, { remoteAddress: "192.0.2.20" });
  const headers = { authorization: `Bearer ${secret}` };
  return {
    services,
    fetch,
    api: <E extends AnyEndpoint>(endpoint: E, input: CallInput<E>) =>
      call(fetch, PUBLIC_URL, endpoint, input, { headers }),
    [Symbol.asyncDispose]: () => services[Symbol.asyncDispose](),
  };
}

Deno.test("restoreBackup() takes agents back to the time of the backup: they go on, nothing is locked, and the invariants hold", async () => {
  const admin = await plane.administrator();
  const { secret } = await admin.call(createApiToken, { body: { name: "kept", expiresInDays: 1 } });
  await using folder = await temporaryFolder();
  const device = await startDevice(makeRecording("frr", 1));
  await using _device = { [Symbol.asyncDispose]: () => device.stop() };
  const north = await makeSite(plane);
  const real = await addFarmDevice(plane, north, device);
  await using enrolled = await enrolAgent(plane, [north]);
  await using running = await startAgent(plane, enrolled);
  const [first = assert.fail()] = await backUpNow(plane, [real]);
  await untilJob(plane, first, "completed");

  const south = await makeSite(plane, { maxLive: 50 });
  const devices: DeviceId[] = [];
  for (let n = 0; n < DEVICES; n++) {
    devices.push(await addDevice(plane, south, { credentialId: null }));
  }
  await using byHand = await enrolAgent(plane, [south]);
  const boot = await bootByHand(plane, byHand);
  const order = async (deviceIds: DeviceId[]) => {
    const { jobs } = await admin.call(createJobs, {
      body: { deviceIds, kind: "check_reachability" },
    });
    return jobs.map(({ jobId }) => jobId);
  };
  assert.equal((await order(devices)).length, DEVICES);
  assert.equal(await workAll(boot), DEVICES);
  const waiting = await order(devices.slice(0, 10));
  const held = await boot.claim({ wanted: 5 });
  assert.equal(held.length, 5);

  const path = join(folder.path, "rookery.backup");
  const head = await writeBackup(database.sql, path);
  assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o077, 0);
  await assert.rejects(writeBackup(database.sql, path), /there is such a file/);
  const other = `${path}.other`;
  await Deno.writeTextFile(`${other}.part`, "of a backup that is under way");
  await assert.rejects(
    writeBackup(database.sql, other),
    /\.part: there is such a file.* remove it/,
  );
  assert.equal(await Deno.readTextFile(`${other}.part`), "of a backup that is under way");

  // What is lost: the five that are held and the five that wait are done, and a hundred more.
  const [lost = assert.fail(), ...rest] = held;
  for (const lease of rest) assert.equal(await report(boot, lease), "accepted");
  assert.equal(await workAll(boot), 5);
  for (let round = 0; round < 4; round++) {
    await order(devices);
    // One device is in the hands of the lease that is reported to the restored database.
    assert.equal(await workAll(boot), DEVICES - 1);
  }
  const [again = assert.fail()] = await backUpNow(plane, [real]);
  await untilJob(plane, again, "completed");

  await refuseDamaged(path);
  const { incarnation } = await restoreBackup(target, path);
  assert.ok(incarnation > head.incarnation);
  await assert.rejects(
    restoreBackup(target, path),
    /^Error: Cannot restore: this database has \d+ tables/,
  );

  await using restored = await startRestored(secret);
  for (const wire of [running.wire, boot.wire]) wire.carrier = (request) => restored.fetch(request);
  // A result of the life before is filed, and settles nothing: the job waits, or runs, as it did.
  assert.equal(await report(boot, lost), "lease-superseded");
  const states = async (jobIds: readonly JobId[]) => {
    const jobs = await Promise.all(
      jobIds.map((jobId) => restored.api(getJob, { params: { jobId } })),
    );
    return new Set(jobs.map(({ state }) => state));
  };
  assert.deepEqual(await states(waiting), new Set(["available"]));
  await restored.api(createJobs, {
    body: { deviceIds: devices.slice(10), kind: "check_reachability" },
  });
  assert.equal(await workAll(boot), DEVICES);
  assert.deepEqual(await states(waiting), new Set(["completed"]));
  const { jobs: [next = assert.fail()] } = await restored.api(createJobs, {
    body: { deviceIds: [real] },
  });
  await until(
    async () => (await states([next.jobId])).has("completed"),
    "the agent has backed the device up",
    90_000,
  );
  const { items: revisions } = await restored.api(listRevisions, {
    params: { deviceId: real },
    query: {},
  });
  assert.equal(revisions.length, 1);
  const { items: agents } = await restored.api(listAgents, { query: {} });
  assert.deepEqual(agents.map(({ status }) => status), ["active", "active"]);
  await checkInvariants(folder.path, { siteIds: [north, south], agents });
  await checkAudit(restored);
});

/** A copy that was cut off, or in which a bit is another one, leaves the database as empty as it was. */
async function refuseDamaged(path: string): Promise<void> {
  const whole = await Deno.readFile(path);
  const flipped = whole.slice();
  flipped[Math.floor(flipped.length / 2)] = (flipped[Math.floor(flipped.length / 2)] ?? 0) ^ 1;
  const empty = new Blob(["nothing"]).stream().pipeThrough(new CompressionStream("gzip"));
  const damaged = [
    whole.slice(0, -1_000),
    whole.slice(0, -1),
    flipped,
    new Uint8Array(await new Response(empty).arrayBuffer()),
  ];
  for (const bytes of damaged) {
    await Deno.writeFile(`${path}.damaged`, bytes);
    await assert.rejects(restoreBackup(target, `${path}.damaged`), ArchiveError);
  }
  const tables = await target.sql`select 1 from pg_tables where schemaname = 'public'`;
  assert.equal(tables.length, 0);
}

async function checkInvariants(
  folder: string,
  { siteIds, agents }: {
    readonly siteIds: readonly SiteId[];
    readonly agents: readonly { readonly id: string; readonly name: string }[];
  },
): Promise<void> {
  await exportTables(target.address, folder);
  const facts = {
    ...evidence().facts,
    agents: agents.map(({ id, name }) => ({
      ...{ agentId: id, name, kind: "protocol" as const, capacity: 50 },
    })),
    sites: siteIds.map((siteId) => ({ siteId, name: siteId, maxLive: 50 })),
  };
  const { lines, violations } = judge(evidence({
    ...{ facts, client: [], wire: [], farm: [], monitor: [], agents: new Map() },
    tables: await readTables(folder),
  }));
  assert.equal(violations, 0, lines.join("\n"));
  for (const name of ["I1", "I2", "I3", "I4", "I6", "I14", "I16"]) {
    const line = lines.find((text) => text.startsWith(`${name} `)) ?? "";
    assert.ok(Number(/(\d+) checked/.exec(line)?.[1]) > 30, line);
  }
}

/** The history goes on behind that of the life before, although transactions may be counted anew. */
async function checkAudit(restored: Awaited<ReturnType<typeof startRestored>>): Promise<void> {
  const { services, api } = restored;
  const { items: [row] } = await api(listAuditRows, { query: { action: "installation.restore" } });
  assert.equal(row?.actorName, "restore");
  const lines: string[] = [];
  await until(async () => {
    lines.length = 0;
    await sealAuditRows(services, { waitSeconds: 0 });
    const say = (line: string) => void lines.push(line);
    return await verify(services, { head: null, say }) === 0 &&
      lines.some((line) => line === "there is no row that is not sealed");
  }, "all is sealed");
}

async function temporaryFolder() {
  const path = await Deno.makeTempDir({ prefix: "rookery-backup-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("sealKeys() seals the key file under a passphrase, and openKeys() opens it with that one alone", async () => {
  const sealed = await sealKeys(keyFile, "correct horse battery");
  assert.deepEqual(await openKeys(sealed, "correct horse battery"), keyFile);
  assert.ok(!sealed.includes(keyFile.derivation.key));
  await assert.rejects(openKeys(sealed, "correct horse batterY"), /another passphrase/);
  await assert.rejects(sealKeys(keyFile, "short"), /at least 12 characters/);
});
