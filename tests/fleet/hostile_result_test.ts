/** Results that no database could store as they are: an agent must be able to deliver every one of them. */
import assert from "node:assert/strict";
import { putBlob, reportResult } from "@rookery/shared/api/agent_protocol.ts";
import { listHostKeys } from "@rookery/shared/api/host_keys.ts";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { BackupConfigOutcome } from "@rookery/shared/jobs/backup_config.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import type { AttemptReport } from "@rookery/shared/jobs/result.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { parseFacts } from "../../agent/session/facts.ts";
import {
  addDevice,
  backUpNow,
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
  readJob,
  signResult,
} from "../support/agent_bench.ts";
import { frrConfiguration, outcomeOf } from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const plane = testControlPlane(testDatabase({ poolSize: 8 }), {
  publicUrl: "https://rookery.test",
});
const FINGERPRINT = `SHA256:${"b".repeat(43)}`;

/** Runs with one lease of a fresh device. */
async function withLease(run: (lease: Held) => Promise<void>): Promise<void> {
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId);
  await using agent = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, agent);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  const [lease = assert.fail()] = await boot.claim();
  const tell = async (report: AttemptReport, changes = {}) => {
    const result = await signResult(boot, lease, report, changes);
    return await boot.call(reportResult, { params: { leaseId: lease.jti }, body: { result } });
  };
  await run({ boot, lease, tell, deviceId, job: () => readJob(plane, jobId) });
}

interface Held {
  readonly boot: ManualBoot;
  readonly lease: LeaseClaims;
  readonly deviceId: Awaited<ReturnType<typeof addDevice>>;
  tell(report: AttemptReport, changes?: Record<string, unknown>): Promise<{ answer: string }>;
  job(): ReturnType<typeof readJob>;
}

async function upload({ boot, lease }: Held): Promise<BackupConfigOutcome> {
  const body = new TextEncoder().encode(frrConfiguration());
  await boot.call(putBlob, { params: { leaseId: lease.jti, sha256: await sha256(body) }, body });
  return { ...await outcomeOf(body), facts: {} };
}

Deno.test("a completed result with half surrogates and NULs in its texts is delivered", async () => {
  await withLease(async (held) => {
    const outcome = {
      ...await upload(held),
      facts: { hostname: "r\ud800", model: "x\0y", uptime: "\udc00" },
      hostKey: { type: "ssh-\0\ud800", fingerprint: FINGERPRINT },
      algorithms: { kex: "k\0", cipher: "c\ud800", mac: "m\0", hostKey: "\udfff" },
    };
    const { answer } = await held.tell({ status: "completed", outcome });
    assert.equal(answer, "accepted");
    assert.equal((await held.job()).state, "completed");
  });
});

Deno.test("a failed result with half surrogates, a NUL in its host key, and an endless duration is delivered", async () => {
  await withLease(async (held) => {
    const { answer } = await held.tell({
      status: "failed",
      failure: { code: "host_key_changed", detail: "it said \ud83d and \0" },
      hostKey: { type: "ssh-rsa\0\udfff", fingerprint: FINGERPRINT },
    }, { durationMs: Number.MAX_SAFE_INTEGER });
    assert.equal(answer, "accepted");
    const { failureDetail } = await held.job();
    assert.equal(failureDetail, "it said \ufffd and \ufffd");
    const admin = await plane.administrator();
    const { items } = await admin.call(listHostKeys, { query: { deviceId: held.deviceId } });
    assert.equal(items[0]?.keyType, "ssh-rsa\ufffd\ufffd");
  });
});

Deno.test("a boot counter that no database can store is refused by its field", async () => {
  const siteId = await makeSite(plane);
  await using agent = await enrolAgent(plane, [siteId]);
  const counter = `${agent.state.path}/sequence.json`;
  await Deno.writeTextFile(counter, JSON.stringify({ sequence: 2_147_483_647 }), { mode: 0o600 });
  const boot = await bootByHand(plane, agent);
  await assert.rejects(boot.claim(), (error) => {
    assert.ok(error instanceof ProblemError && error.type === "validation", String(error));
    assert.equal(error.errors[0]?.pointer, "#/sequence");
    return true;
  });
});

Deno.test("parseFacts() cuts no character in half", () => {
  const fields = [{ name: "hostname" as const, pattern: "^name (.+)$" }];
  const { hostname } = parseFacts({ command: "x", fields }, `name ${"a".repeat(199)}\u{1f600}\n`);
  assert.equal(hostname, "a".repeat(199));
});
