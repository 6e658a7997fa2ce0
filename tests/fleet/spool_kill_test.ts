/** A real agent process, killed at the worst moments of a delivery; the next boot has what was on disk, and nothing counts twice. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { listRevisions } from "@rookery/shared/api/backups.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { freePort } from "../support/free_port.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { type Child, ProcessGroup } from "../support/processes.ts";
import { spooledEntries } from "../support/spool.ts";

const database = testDatabase({ poolSize: 8 });
const port = freePort();
const plane = testControlPlane(database, { publicUrl: `http://127.0.0.1:${port}` });
const CHILD = join(import.meta.dirname ?? ".", "../support/spool_child.ts");
const PATIENCE_MS = 90_000;

interface Moment {
  readonly name: string;
  /** Where the agent stands still: an operation on its disk, … */
  readonly standAt?: string;
  /** … or the request that is the last one of its life, heard or not. */
  readonly lastRequest?: { readonly path: RegExp; readonly heard: boolean };
  /** What the next boot finds. */
  readonly entries: number;
}

const MOMENTS: readonly Moment[] = [
  { name: "before the result is written", standAt: "write 1", entries: 0 },
  { name: "before the result is synced", standAt: "sync 1", entries: 0 },
  { name: "before the result has its name", standAt: "rename 1", entries: 0 },
  { name: "before its name is synced", standAt: "sync 2", entries: 1 },
  { name: "before its first upload", lastRequest: { path: /\/blobs\//, heard: false }, entries: 1 },
  {
    name: "between upload and result",
    lastRequest: { path: /\/result$/, heard: false },
    entries: 1,
  },
  {
    name: "when the result was accepted and the agent not told",
    lastRequest: { path: /\/result$/, heard: true },
    entries: 1,
  },
  { name: "before an accepted result is removed", standAt: "remove 1", entries: 1 },
];

for (const moment of MOMENTS) {
  Deno.test(`an agent that is killed ${moment.name} delivers at its next boot, and nothing counts twice`, async () => {
    await using group = await ProcessGroup.create("rookery-spool-kill-");
    await using device = await startDevice(makeRecording("frr", 1));
    const siteId = await makeSite(plane);
    const deviceId = await addFarmDevice(plane, siteId, device);
    await using enrolled = await enrolAgent(plane, [siteId]);
    const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
    const dead = Promise.withResolvers<void>();
    {
      const agent = { child: undefined as Child | undefined };
      const kill = () => {
        agent.child?.kill("SIGKILL");
        dead.resolve();
      };
      await using _server = serve(moment, kill);
      const args = ["run", "-A", "--cached-only", CHILD, enrolled.state.path];
      agent.child = await group.start({
        command: Deno.execPath(),
        args: [...args, moment.standAt ?? ""],
        onLine: (line) => line === "STANDS" && kill(),
      });
      await within(dead.promise, agent.child);
      await agent.child.status;
    }
    assert.equal((await spooledEntries(enrolled)).length, moment.entries);
    await using again = await startAgent(plane, enrolled);
    const job = await untilJob(plane, jobId, "completed", "failed", "dead");
    assert.equal(job.state, "completed", JSON.stringify([job, again.log]));
    await until(async () => (await spooledEntries(enrolled)).length === 0, "the spool is empty");
    const admin = await plane.administrator();
    const { items } = await admin.call(listRevisions, { params: { deviceId }, query: {} });
    assert.equal(items.length, 1);
    const { length: completed } = job.history.filter(({ outcome }) => outcome === "completed");
    assert.equal(completed, 1, JSON.stringify(job.history));
  });
}

/** Serves the control plane, until the request that the agent does not survive. */
function serve({ lastRequest }: Moment, kill: () => void) {
  return Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, async (request) => {
    const answer = () => plane.app.fetch(request, { remoteAddress: "127.0.0.1" });
    const isLast = lastRequest?.path.test(new URL(request.url).pathname) ?? false;
    if (!isLast) return await answer();
    if (lastRequest?.heard) await answer();
    kill();
    await request.body?.cancel().catch(() => {});
    return new Response(null, { status: 503 });
  });
}

async function within(promise: Promise<void>, child: Child): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`It never stood still:\n${child.tail()}`)),
    PATIENCE_MS,
  );
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
