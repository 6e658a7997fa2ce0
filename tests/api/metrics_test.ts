import assert from "node:assert/strict";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import { getMetrics } from "@rookery/shared/api/metrics.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

/** `name{label="value",…} number`, without the lines that explain. */
function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const at = line.lastIndexOf(" ");
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
}

Deno.test("getMetrics() counts devices, backups and jobs by site, and what the replica answered", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "oslo" } });
  const [verified, failed, fresh] = await addDevices(siteId);
  await database.sql`
    update device_status set last_outcome = given.outcome, last_verified_at = now() - given.age
    from (values (${verified}::uuid, 'verified', interval '1 hour'),
      (${failed}::uuid, 'failed', interval '42 days')) as given(id, outcome, age)
    where device_id = given.id`;
  await admin.call(createJobs, { body: { deviceIds: [fresh] } });

  const samples = samplesOf(await admin.call(getMetrics, {}));
  const of = (name: string, labels = "") =>
    samples.get(`${name}{tenant="Default",site="oslo"${labels}}`);
  assert.equal(of("rookery_devices", ',status="verified"'), 1);
  assert.equal(of("rookery_devices", ',status="failed"'), 1);
  assert.equal(of("rookery_devices", ',status="never"'), 1);
  assert.equal(of("rookery_jobs_open", ',state="available"'), 1);
  // The one that quietly stopped six weeks ago.
  const age = of("rookery_verified_backup_age_seconds") ?? assert.fail("no age");
  assert.ok(Math.abs(age - 42 * 86_400) < 60, `${age}`);
  const answered = samples.get('rookery_http_request_seconds_count{method="POST",status="2xx"}');
  assert.ok((answered ?? 0) >= 2, `${answered}`);
  assert.ok((samples.get("rookery_process_resident_bytes") ?? 0) > 10_000_000);
  assert.ok([...samples.values()].every(Number.isFinite));
});

Deno.test("getMetrics() tells a token of one site of that site alone, and names no device and no address", async () => {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "bergen" } });
  await addDevices(siteId);
  const { secret } = await admin.call(createApiToken, {
    body: {
      name: "prometheus",
      expiresInDays: 1,
      permissions: ["metrics:read"],
      siteIds: [siteId],
    },
  });
  const reply = await plane.fetch(getMetrics.path, {
    headers: { authorization: `Bearer ${secret}` },
  });
  assert.equal(reply.status, 200);
  assert.match(reply.headers.get("content-type") ?? "", /^text\/plain/);
  const text = await reply.text();
  assert.match(text, /^rookery_devices\{tenant="Default",site="bergen",status="never"\} 3$/m);
  assert.ok(!text.includes("oslo"));
  // What all sites together make the replica do is not for them.
  assert.ok(!text.includes("rookery_http"));
  assert.doesNotMatch(text, /192\.0\.2\.|metric-device/);
});

async function addDevices(siteId: SiteId): Promise<[DeviceId, DeviceId, DeviceId]> {
  const rows = await database.sql<{ id: DeviceId }[]>`
    insert into devices (id, site_id, name, host, platform)
    select gen_random_uuid(), ${siteId}, 'metric-device-' || n, '192.0.2.' || n, 'frr'
    from generate_series(1, 3) n returning id`;
  return rows.map(({ id }) => id) as [DeviceId, DeviceId, DeviceId];
}
