/** pg-boss, https://pgboss.io, by the `fetch` and `complete` that its own workers use as well. */
import { type JobInsert, PgBoss } from "pg-boss";
import {
  type ConnectedDatabase,
  type DatabaseAddress,
  databaseUrl,
} from "../../../control-plane/database/connect.ts";
import { CONNECTIONS, type Contender, type Filling, type OpenQueue, PAYLOAD } from "./contender.ts";
import { drainBy, serveBy, type Take } from "./pull.ts";

const QUEUE = "bench";
const JOBS_PER_INSERT = 2_000;
const LATER_SECONDS = 86_400;

/** `fenced`: a table of the queue's own, and completions that name the attempt. Otherwise both as they come. */
export function pgBoss({ fenced }: { readonly fenced: boolean }): Contender {
  return {
    name: fenced ? "pg-boss, fenced" : "pg-boss, by default",
    promises: fenced ? "fence, result kept 7 days" : "result kept 7 days",
    takesBatches: true,
    limitsGroups: fenced,
    open: (address, admin) => openBoss(address, { admin, fenced }),
  };
}

async function openBoss(
  address: DatabaseAddress,
  { admin, fenced }: { readonly admin: ConnectedDatabase; readonly fenced: boolean },
): Promise<OpenQueue> {
  const boss = new PgBoss({
    ...partsOf(address),
    max: CONNECTIONS,
    supervise: false,
    schedule: false,
  });
  await boss.start();
  await boss.createQueue(QUEUE, fenced ? { partition: true } : {});
  let limit: number | undefined;
  const take: Take = async (batch) => {
    const limited = limit === undefined ? {} : { groupConcurrency: limit };
    const jobs = await boss.fetch<object>(QUEUE, { batchSize: batch, ...limited });
    if (jobs.length === 0) return undefined;
    const complete = async () => {
      await boss.complete(QUEUE, fenced ? jobs : jobs.map(({ id }) => id));
    };
    const groups = jobs.flatMap(({ groupId }) => groupId ?? []);
    return { ids: jobs.map(({ id }) => id), groups, complete };
  };
  return {
    fill: async (filling) => {
      limit = filling.groups?.limit;
      await fill(boss, filling);
    },
    drain: (drain) => drainBy(take, { ...drain, ...limit !== undefined && { limit } }),
    serve: (options) => Promise.resolve(serveBy(take, { ...options, order: () => send(boss) })),
    countDone: async () => {
      const [row] = await admin.sql<{ count: number }[]>`
        select count(*)::int as count from pgboss.job where state = 'completed'`;
      return row?.count ?? 0;
    },
    [Symbol.asyncDispose]: () => boss.stop({ graceful: false }),
  };
}

/** The jobs of a group were ordered together, as those of a site are. */
async function fill(boss: PgBoss, { jobs, later = 0, groups }: Filling): Promise<void> {
  const perGroup = Math.ceil(jobs / (groups?.count ?? 1));
  for (let from = 0; from < jobs; from += JOBS_PER_INSERT) {
    const count = Math.min(JOBS_PER_INSERT, jobs - from);
    const rows = Array.from({ length: count }, (_, at): JobInsert => ({
      data: PAYLOAD,
      ...from + at < later && { startAfter: LATER_SECONDS },
      ...groups && { group: { id: `group-${Math.floor((from + at) / perGroup)}` } },
    }));
    await boss.insert(QUEUE, rows);
  }
}

async function send(boss: PgBoss): Promise<string> {
  const id = await boss.send(QUEUE, PAYLOAD);
  if (id === null) throw new Error("pg-boss took no job");
  return id;
}

/** For libraries that use `pg`. */
export function partsOf(address: DatabaseAddress) {
  const url = new URL(databaseUrl(address));
  return {
    host: url.searchParams.get("host") ?? url.hostname,
    port: Number(url.port || 5432),
    user: url.username,
    database: url.pathname.slice(1),
  };
}
