/** Rookery's own queue: the engine that serves agents, called in process, with all that it promises. */
import { type Kysely, sql } from "kysely";
import type { ClaimId, DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import {
  connectDatabase,
  type ConnectedDatabase,
  type DatabaseAddress,
} from "../../../control-plane/database/connect.ts";
import { migrate } from "../../../control-plane/database/migrate.ts";
import { newId } from "../../../control-plane/database/new_id.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { inTransaction, withRetry } from "../../../control-plane/database/transaction.ts";
import { acceptEnded } from "../../../control-plane/jobs/accept_ended.ts";
import { claimJobs, type GrantedLease } from "../../../control-plane/jobs/claim.ts";
import { ClaimFloors } from "../../../control-plane/jobs/claim_floor.ts";
import { enqueueJobs } from "../../../control-plane/jobs/enqueue.ts";
import { CONNECTIONS, type Contender, type OpenQueue, PAYLOAD } from "./contender.ts";
import { drainBy, serveBy, type Taken } from "./pull.ts";
import { type BenchAgent, type BenchFleet, populate } from "./rookery_fleet.ts";

const SHA256 = "a".repeat(64);

export const rookery: Contender = {
  name: "Rookery",
  promises: "fence, limits of site, agent and device, result, attempt and grant kept",
  takesBatches: true,
  limitsGroups: true,
  open: openRookery,
};

async function openRookery(address: DatabaseAddress, admin: ConnectedDatabase): Promise<OpenQueue> {
  await migrate(admin.sql);
  const { db, close } = connectDatabase(address, { poolSize: CONNECTIONS });
  const floors = new ClaimFloors();
  let fleet: BenchFleet | undefined;
  const whole = () => {
    if (!fleet) throw new Error("Nothing was filled in");
    return fleet;
  };
  const take = async (batch: number) => {
    const agent = whole().next();
    const leases = await claim(db, { agent, batch, floors });
    whole().giveBack(agent, leases.length > 0);
    return leases.length === 0 ? undefined : takenOf(db, agent, leases);
  };
  return {
    fill: async (filling) => {
      fleet = await populate(db, filling);
    },
    drain: (drain) => drainBy(take, { ...drain, limit: whole().limit }),
    serve: (options) => {
      const order = () => orderOne(db, whole().nextDevice());
      return Promise.resolve(serveBy(take, { ...options, order }));
    },
    countDone: async () => {
      const [row] = await admin.sql<{ count: number }[]>`
        select count(*)::int as count from done where outcome = 'completed'`;
      return row?.count ?? 0;
    },
    [Symbol.asyncDispose]: close,
  };
}

/** With what it is to do, as every queue gives it. */
async function claim(
  db: Kysely<Database>,
  { agent, batch, floors }: {
    readonly agent: BenchAgent;
    readonly batch: number;
    readonly floors: ClaimFloors;
  },
): Promise<readonly GrantedLease[]> {
  const order = {
    ...agent,
    claimId: newId<ClaimId>(),
    wanted: batch,
    platforms: ["frr"],
    kinds: ["run_commands"],
  };
  const leases = await claimJobs(db, order, floors);
  if (leases.length === 0) return leases;
  const { rows } = await sql<{ payload: unknown }>`
    select j.payload from jobs j join leases l on l.site_id = j.site_id and l.job_id = j.id
    where l.agent_id = ${agent.agentId} and l.claim_id = ${order.claimId}`.execute(db);
  if (rows.length !== leases.length) throw new Error("A granted job has no payload");
  return leases;
}

function takenOf(
  db: Kysely<Database>,
  { agentId }: BenchAgent,
  leases: readonly GrantedLease[],
): Taken {
  return {
    ids: leases.map(({ jobId }) => jobId),
    groups: leases.map(({ siteId }) => siteId),
    complete: async () => {
      const endings = leases.map((lease) => ({
        attempt: { ...lease, agentId },
        verdict: { status: "completed", report: { ok: true } },
        envelope: { sha256: SHA256, durationMs: 1_000 },
      } as const));
      const settled = await withRetry(() => acceptEnded(db, endings));
      if (settled.size !== leases.length) {
        throw new Error(`${settled.size} of ${leases.length} results were accepted`);
      }
    },
  };
}

async function orderOne(
  db: Kysely<Database>,
  { siteId, deviceId }: { readonly siteId: SiteId; readonly deviceId: DeviceId },
): Promise<JobId> {
  const [job] = await inTransaction(db, (tx) =>
    enqueueJobs(tx, {
      siteId,
      deviceIds: [deviceId],
      kind: "run_commands",
      payload: PAYLOAD,
      urgency: "normal",
      priority: 0,
    }));
  if (!job || job.coalesced) throw new Error("The job was not taken");
  return job.jobId;
}
