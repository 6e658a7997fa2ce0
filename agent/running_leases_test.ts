import assert from "node:assert/strict";
import type { LeaseId } from "@rookery/shared/ids.ts";
import { RunningLeases } from "./running_leases.ts";

Deno.test("RunningLeases.takeProgress() tells the newest step of each lease, once", async () => {
  const leases = new RunningLeases();
  const id = crypto.randomUUID() as LeaseId;
  const [begun, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  leases.start(id, async (lease) => {
    lease.progress("connecting", 5);
    lease.progress("logging in", 15);
    begun.resolve();
    await done.promise;
    lease.progress("logging out", 95);
  });
  assert.deepEqual(leases.takeProgress(), []);
  await begun.promise;
  assert.deepEqual(leases.takeProgress(), [{ leaseId: id, step: "logging in", percent: 15 }]);
  assert.deepEqual(leases.takeProgress(), []);
  done.resolve();
  await leases.idle();
  assert.deepEqual(leases.takeProgress(), []);
});
