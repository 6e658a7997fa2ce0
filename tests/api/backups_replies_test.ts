/** How configurations and their differences leave the control plane: what they are and what they are called. */
import assert from "node:assert/strict";
import {
  downloadExactRevision,
  readRevisionText,
  readUnifiedDiff,
} from "@rookery/shared/api/backups.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import type { RevisionId } from "@rookery/shared/ids.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  type ReportingDevice,
} from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database);

async function makeNamedDevice(name: string): Promise<ReportingDevice> {
  const device = await makeReportingDevice(database.db);
  await database.db.updateTable("devices").set({ name }).where("id", "=", device.deviceId)
    .execute();
  return device;
}

async function backUp(device: ReportingDevice, interfaces: number): Promise<RevisionId> {
  const recorded = await report(plane.services, device, frrConfiguration({ interfaces }));
  assert.ok(recorded.ok && recorded.captures[0]);
  return recorded.captures[0].revisionId;
}

async function ask(endpoint: AnyEndpoint, revisionId: RevisionId, method = endpoint.method) {
  const { cookie } = await plane.administrator();
  const headers = { cookie, origin: new URL(plane.publicUrl).origin };
  const path = endpoint.path.replace(":revisionId", revisionId);
  return await plane.fetch(path, { method, headers });
}

Deno.test("texts, diffs and exact bytes say what they are, are called after the device, and are kept nowhere", async () => {
  const device = await makeNamedDevice("core-1");
  await backUp(device, 10);
  const revisionId = await backUp(device, 11);
  const expected = [
    [
      readRevisionText,
      "text/plain; charset=utf-8",
      'inline; filename="core-1-running-2.masked.cfg"',
    ],
    [readUnifiedDiff, "text/plain; charset=utf-8", 'inline; filename="core-1-running-2.diff"'],
    [
      downloadExactRevision,
      "application/octet-stream",
      'attachment; filename="core-1-running-2.cfg"',
    ],
  ] as const;
  for (const [endpoint, type, disposition] of expected) {
    const reply = await ask(endpoint, revisionId);
    await reply.body?.cancel();
    assert.equal(reply.status, 200);
    assert.equal(reply.headers.get("content-type")?.toLowerCase(), type);
    assert.equal(reply.headers.get("content-disposition"), disposition);
    assert.equal(reply.headers.get("x-content-type-options"), "nosniff");
    assert.equal(reply.headers.get("cache-control"), "no-store");
    assert.equal(reply.headers.get("etag"), null);
  }
});

Deno.test("HEAD of a text has the headers and no body, and exact bytes cannot be had by GET or HEAD", async () => {
  const revisionId = await backUp(await makeNamedDevice("core-2"), 10);
  const head = await ask(readRevisionText, revisionId, "HEAD");
  assert.equal(head.status, 200);
  assert.match(head.headers.get("content-disposition") ?? "", /core-2-running-1/);
  assert.equal(await head.text(), "");
  for (const method of ["GET", "HEAD"] as const) {
    const refused = await ask(downloadExactRevision, revisionId, method);
    await refused.body?.cancel();
    assert.ok(refused.status >= 400);
  }
  const audited = await database.db.selectFrom("auditRows").select("id")
    .where("targetId", "=", revisionId).execute();
  assert.equal(audited.length, 0);
});

Deno.test("a unified diff names the devices of both sides", async () => {
  const first = await backUp(await makeNamedDevice("edge-1"), 10);
  const second = await backUp(await makeNamedDevice("edge-2"), 11);
  const { call } = await plane.administrator();
  const params = { revisionId: second };
  const text = await call(readUnifiedDiff, { params, query: { against: first } });
  assert.match(text, /^--- edge-1\/running revision 1\n\+\+\+ edge-2\/running revision 1\n@@ /);
  const whole = await call(readUnifiedDiff, { params });
  assert.match(whole, /^--- \/dev\/null\n\+\+\+ edge-2\/running revision 1\n@@ /);
});

Deno.test("a device's name puts nothing else into a header, a file name or a diff", async () => {
  const device = await makeNamedDevice('../co"re;\r\nset-cookie: a=b\nZürich €');
  await backUp(device, 10);
  const revisionId = await backUp(device, 11);
  const safe = "_._co_re___set-cookie__a_b_Z_rich__";
  const reply = await ask(downloadExactRevision, revisionId);
  await reply.body?.cancel();
  assert.equal(
    reply.headers.get("content-disposition"),
    `attachment; filename="${safe}-running-2.cfg"`,
  );
  assert.equal(reply.headers.get("set-cookie"), null);
  const diff = await (await ask(readUnifiedDiff, revisionId)).text();
  assert.equal(diff.split("\n")[1], `+++ ${safe}/running revision 2`);
});
