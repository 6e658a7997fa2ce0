import assert from "node:assert/strict";
import { join } from "node:path";
import { listJobs } from "@rookery/shared/api/jobs.ts";
import { createPolicy, listOccurrences } from "@rookery/shared/api/policies.ts";
import type { DeviceId } from "@rookery/shared/ids.ts";
import { connectDatabase, type Sql } from "../../control-plane/database/connect.ts";
import { findEmbeddedPostgres } from "../../control-plane/database/embedded.ts";
import { DEMO_FAULTS, type Row } from "../demo/round.ts";
import type { FarmMember } from "../demo/farm_child.ts";
import { setStage, type Stage } from "../demo/stage.ts";
import { until } from "../support/agent_bench.ts";
import type { Child } from "../support/processes.ts";
import { ProcessGroup } from "../support/processes.ts";

/** Devices that send slowly, so that sessions are open whenever something is killed. */
const SLOW = 10;
const DEVICES = 24;
/** Of the slow ones, those that stand still until their agent is killed. */
const HELD = 4;
/** The children of a stage are read while steps begin and end; the test around them sees to leaks. */
const STEP = { sanitizeOps: false, sanitizeResources: false };

Deno.test("runRound() ends as it should although what it runs on is killed in the middle", async (t) => {
  await using group = await ProcessGroup.create("rookery-restart-");
  const faults = [...DEMO_FAULTS, ...Array<"slow_drip">(SLOW).fill("slow_drip")];
  const stage = await setStage(group, { devices: DEVICES, seed: 7, faults });

  await t.step({
    ...STEP,
    name: "the control plane",
    fn: async () => {
      const rows = await stage.playRound({
        onHalf: async () => {
          await untilSessionsAreOpen(stage);
          await killHard(stage.installation.controlPlane);
          await stage.installation.startControlPlane();
        },
      });
      assertAsExpected(rows);
      await assertHistory(stage, { rounds: 1 });
    },
  });

  await t.step({
    ...STEP,
    name: "both agents",
    fn: async () => {
      const changed = await changeAll(stage, "10.99.1.");
      const held = slowDevices(stage).slice(0, HELD);
      // Their next session stands still, and ends with its agent; the one after it is as it should be.
      for (const { port } of held) {
        await stage.farm.setFault(port, "stall_mid_configuration", { times: 1 });
      }
      const rows = await stage.playRound({
        changed,
        onHalf: async () => {
          await untilLeasesRun(stage);
          for (const agent of stage.agents) await killHard(agent.child());
          for (const agent of stage.agents) await agent.start();
        },
      });
      for (const { port } of held) await stage.farm.setFault(port, "slow_drip");
      assertAsExpected(rows);
      await assertHistory(stage, { rounds: 2 });
      const lost = await query(stage, (sql) =>
        sql<{ epochs: number }[]>`
          select count(*)::int as epochs from attempts where outcome = 'lost'`);
      assert.ok((lost[0]?.epochs ?? 0) > 0, "no lease was lost with the agents");
    },
  });

  await t.step({
    ...STEP,
    name: "PostgreSQL",
    fn: async () => {
      const changed = await changeAll(stage, "10.99.2.");
      const rows = await stage.playRound({
        changed,
        onHalf: async () => {
          await untilSessionsAreOpen(stage);
          Deno.kill(await postmasterOf(stage), "SIGKILL");
        },
      });
      assertAsExpected(rows);
      await assertHistory(stage, { rounds: 3 });
      assert.match(stage.installation.logs, /PostgreSQL restarted/);
    },
  });

  await t.step({
    ...STEP,
    name: "persistence across restart: a policy comes due while the control plane is killed",
    fn: () => playPolicy(stage),
  });
});

/** Once the control plane is back, agents back up what it should have ordered meanwhile. */
async function playPolicy({ installation, devices }: Stage): Promise<void> {
  const { api } = installation;
  const deviceIds = devices.filter(({ member }) => member.fault === null).slice(0, 2)
    .map(({ deviceId }) => deviceId);
  const at = Temporal.Now.instant().add({ seconds: 2 });
  const schedule = { kind: "once", at: at.toString() } as const;
  const policy = { name: "once", kind: "backup_config", schedule } as const;
  const { id: policyId } = await api(createPolicy, {
    body: { ...policy, selection: { deviceIds } },
  });
  await killHard(installation.controlPlane);
  await until(() => Temporal.Instant.compare(Temporal.Now.instant(), at) > 0, "it is due");
  await installation.startControlPlane();
  await until(
    async () => {
      const pages = await Promise.all(
        deviceIds.map((deviceId) => api(listJobs, { query: { deviceId, limit: 1 } })),
      );
      const { items: [run] } = await api(listOccurrences, { params: { policyId } });
      return run?.decision === "ran" && run.jobs === 2 &&
        pages.every(({ items: [job] }) => job?.state === "completed");
    },
    "the run of the policy is made and its devices are backed up",
    60_000,
  );
}

function assertAsExpected(rows: readonly Row[]): void {
  assert.equal(rows.length, DEVICES);
  assert.deepEqual(rows.filter((row) => !row.asExpected), []);
}

async function untilSessionsAreOpen({ installation, sites }: Stage): Promise<void> {
  await until(async () => {
    const pages = await Promise.all(
      sites.map(({ siteId }) => installation.api(listJobs, { query: { siteId, state: "leased" } })),
    );
    return pages.some(({ items }) => items.length > 0);
  }, "something runs that can be disturbed");
}

/** What was only offered is given back by the next boot; what runs is lost with its agent. */
async function untilLeasesRun(stage: Stage): Promise<void> {
  await query(stage, (sql) =>
    until(async () => {
      const running = await sql`select 1 from leases where running`;
      return running.length >= HELD;
    }, "leases run"));
}

function slowDevices({ devices }: Stage): FarmMember[] {
  return devices.map(({ member }) => member).filter(({ fault }) => fault === "slow_drip");
}

async function killHard(child: Child): Promise<void> {
  child.kill("SIGKILL");
  await child.status;
}

async function postmasterOf({ installation }: Stage): Promise<number> {
  const path = join(installation.dataFolder, "postgres", "postmaster.pid");
  return Number((await Deno.readTextFile(path)).split("\n")[0]);
}

/** Gives every device that can be read another configuration. */
async function changeAll(
  { farm, devices }: Stage,
  network: string,
): Promise<ReadonlySet<DeviceId>> {
  for (const { member: { port, text } } of devices) {
    assert.match(text, /10\.0\.0\./);
    await farm.setConfiguration(port, text.replaceAll("10.0.0.", network));
  }
  return new Set(devices.map(({ deviceId }) => deviceId));
}

async function query<T>(stage: Stage, run: (sql: Sql) => PromiseLike<T>): Promise<T> {
  const address = await findEmbeddedPostgres(stage.installation.dataFolder);
  assert.ok(address);
  await using database = connectDatabase(address, { poolSize: 1 });
  return await run(database.sql);
}

/** What must hold of jobs, leases and revisions whatever was killed. */
async function assertHistory(stage: Stage, { rounds }: { rounds: number }): Promise<void> {
  const sound = stage.devices.filter(({ member: { fault } }) =>
    fault === null || fault === "slow_drip"
  );
  await query(stage, async (sql) => {
    const misplaced = await sql`
      select id from jobs j where 1 <> (select count(*) from (
        select 1 from ready r where r.job_id = j.id union all
        select 1 from leases l where l.job_id = j.id union all
        select 1 from done d where d.job_id = j.id) place)`;
    assert.deepEqual([...misplaced], [], "each job is in exactly one place");

    const fallen = await sql`
      select job_id from (select job_id, epoch,
        row_number() over (partition by job_id order by granted_at, epoch) as place from grants) g
      where epoch <> place`;
    assert.deepEqual([...fallen], [], "epochs rise by one with every grant");

    const settled = await sql`
      select d.job_id from done d where d.outcome <> 'cancelled' and (
        (select array_agg(a.epoch) from attempts a where a.job_id = d.job_id
          and a.answer in ('accepted', 'accepted_late') and a.outcome = d.outcome)
        is distinct from array[d.epoch])
        and d.outcome = 'completed'`;
    assert.deepEqual(
      [...settled],
      [],
      "a completed job has one accepted result, of its last epoch",
    );

    const twice = await sql`
      select job_id, epoch from attempts where answer in ('accepted', 'accepted_late')
      group by job_id, epoch having count(*) > 1`;
    assert.deepEqual([...twice], [], "no epoch has two accepted results");

    const revisions = await sql<{ deviceId: string; numbers: number[]; digests: number }[]>`
      select device_id as "deviceId", array_agg(number order by number) as numbers,
        count(distinct normalised_sha256)::int as digests
      from revisions group by device_id order by device_id`;
    const numbers = Array.from({ length: rounds }, (_, index) => index + 1);
    assert.deepEqual(
      [...revisions],
      sound.map(({ deviceId }) => ({ deviceId, numbers, digests: rounds }))
        .toSorted((left, right) => left.deviceId < right.deviceId ? -1 : 1),
      "each configuration is stored once",
    );

    const completed = await sql<{ devices: number; jobs: number }[]>`
      select count(distinct device_id)::int as devices, count(*)::int as jobs
      from done where outcome = 'completed'`;
    assert.deepEqual([...completed], [{ devices: sound.length, jobs: sound.length * rounds }]);
  });
}
