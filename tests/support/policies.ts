/** Policies of a test: made by API, run by ticks under a clock that the test sets, and gone when the test ends. */
import { type Kysely, sql } from "kysely";
import { createPolicy, deletePolicy } from "@rookery/shared/api/policies.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { DeviceId, JobId, PolicyId, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { tickPolicies } from "../../control-plane/policies/tick.ts";
import { workShares } from "../../control-plane/policies/work_shares.ts";
import { addDevice, freshName, makeSite } from "./agent_bench.ts";
import type { Person, TestControlPlane } from "./control_plane.ts";

export type PolicyBody = CallInput<typeof createPolicy>["body"];

/** A site with devices, an administrator, and policies that are deleted with the scene. */
export interface Scene extends AsyncDisposable {
  readonly admin: Person;
  readonly siteId: SiteId;
  readonly deviceIds: readonly DeviceId[];
  /** Makes a policy for the whole site; daily at noon UTC unless the body says otherwise. */
  add(body?: Partial<PolicyBody>): Promise<PolicyId>;
}

export async function setScene(plane: TestControlPlane, devices = 1): Promise<Scene> {
  const admin = await plane.administrator();
  const siteId = await makeSite(plane);
  const deviceIds: DeviceId[] = [];
  for (let n = 0; n < devices; n++) deviceIds.push(await addDevice(plane, siteId));
  const made: PolicyId[] = [];
  const add = async (body: Partial<PolicyBody> = {}) => {
    const policy = await admin.call(createPolicy, {
      body: {
        name: freshName("policy"),
        kind: "backup_config",
        schedule: { kind: "daily", time: "12:00" },
        selection: { siteIds: [siteId] },
        ...body,
      },
    });
    made.push(policy.id);
    return policy.id;
  };
  const leave = async () => {
    for (const policyId of made) {
      // A test may have deleted it itself.
      await admin.call(deletePolicy, { params: { policyId } }).catch(() => {});
    }
  };
  return { admin, siteId, deviceIds, add, [Symbol.asyncDispose]: leave };
}

/** Decides and makes what is due as if it were `now`, as the upkeep of one replica does. */
export async function tickAt(db: Kysely<Database>, now: Temporal.Instant | string) {
  const instant = typeof now === "string" ? Temporal.Instant.from(now) : now;
  const [ticked, made] = await Promise.allSettled([
    tickPolicies(db, { clock: () => Promise.resolve(instant) }),
    workShares(db),
  ]);
  // In the upkeep these two go on beside each other, whatever becomes of the other one.
  const steps = await workShares(db);
  if (ticked.status === "rejected") throw ticked.reason;
  if (made.status === "rejected") throw made.reason;
  return { ...ticked.value, steps: made.value + steps };
}

/** Now by the database, which alone decides. */
export async function databaseNow(db: Kysely<Database>): Promise<Temporal.Instant> {
  const { rows: [row] } = await sql<{ now: Temporal.Instant }>`select now()`.execute(db);
  if (!row) throw new Error("The database does not know what time it is");
  return row.now;
}

/** A job with what a policy gave it. */
export interface PolicyJob {
  readonly id: JobId;
  readonly deviceId: DeviceId;
  readonly occurrenceAt: Temporal.Instant;
  readonly dueAt: Temporal.Instant;
  readonly outcome: string | null;
  readonly detail: string | null;
  readonly payload: unknown;
}

/** The jobs that were made for a policy, oldest first. */
export async function jobsOf(db: Kysely<Database>, policyId: PolicyId): Promise<PolicyJob[]> {
  const { rows } = await sql<PolicyJob>`
    select j.id, j.device_id, j.occurrence_at, j.due_at, j.payload, d.outcome,
      d.failure_detail as detail
    from jobs j left join done d on d.site_id = j.site_id and d.job_id = j.id
    where j.policy_id = ${policyId} order by j.occurrence_at, j.id`.execute(db);
  return rows;
}
