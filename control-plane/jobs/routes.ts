import type { Kysely } from "kysely";
import { followJobs, jobStatistics, listJobLog } from "@rookery/shared/api/job_history.ts";
import {
  cancelJob as cancelJobEndpoint,
  createJobs,
  getJob,
  listJobs,
  requeueJob,
} from "@rookery/shared/api/jobs.ts";
import { cancelJobs, requeueJobs } from "@rookery/shared/api/many_jobs.ts";
import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import { JobId } from "@rookery/shared/ids.ts";
import { failureSentence } from "@rookery/shared/jobs/failure.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { reachOf } from "../http/caller.ts";
import { route } from "../http/route.ts";
import { openStream, type StreamServices } from "../outbox/open_stream.ts";
import type { Scope } from "../permissions/scope.ts";
import { cancelJob } from "./cancel.ts";
import { enqueueJobs } from "./enqueue.ts";
import { viewOfJobs } from "./follow.ts";
import { lineOf, LogPlace, selectLog } from "./job_log.ts";
import { type JobRow, selectAttempts, selectJobs, selectReport } from "./job_queries.ts";
import { cancelNamed, requeueNamed } from "./many_jobs.ts";
import { orderJobs } from "./order_jobs.ts";
import { readStatistics } from "./statistics.ts";
import type { Wakeups } from "./wakeups.ts";

export interface JobServices extends StreamServices {
  readonly wakeups: Wakeups;
  readonly drivers: DriverSet;
}

/** Jobs, as people order, watch and cancel them. */
export function mountJobs(app: App, services: JobServices): void {
  // Before what is mounted at :jobId.
  mountJobHistory(app, services);
  mountManyJobs(app, services);
  mountSingleJobs(app, services);
}

function mountJobHistory(app: App, services: JobServices): void {
  const { db } = services;

  route(app, followJobs, ({ query }, { caller, request, signal }) =>
    openStream(services, {
      ...{ caller, signal, view: viewOfJobs(query) },
      lastEventId: request.headers.get("last-event-id"),
      scopeOf: (now) => reachOf(now, followJobs.access),
    }));

  route(app, jobStatistics, ({ query }, { scope }) => readStatistics(db, { ...query, scope }));

  route(app, listJobLog, async ({ params: { jobId }, query: { limit, cursor } }, { scope }) => {
    const { siteId } = await readJob(services, scope, jobId);
    const after = readCursor(cursor, LogPlace);
    const rows = await selectLog(db, { siteId, jobId, after, limit: limit + 1 });
    return pageOf(rows, limit, {
      item: lineOf,
      position: ({ at, order, id }) => ({ at: at.toString(), order, id }),
    });
  });
}

function mountManyJobs(app: App, { db, wakeups }: JobServices): void {
  route(app, cancelJobs, async ({ body: order }, context) => {
    const done = await cancelNamed(db, { order, scope: context.scope });
    const entry = { actor: actorOf(context), action: "job.cancel_many" };
    const detail = { ...order, ...done };
    if (!order.dryRun) await inTransaction(db, (tx) => writeAudit(tx, { ...entry, detail }));
    return done;
  });

  route(app, requeueJobs, async ({ body: order }, context) => {
    const requestedBy = context.caller.userId;
    const done = await requeueNamed(db, { order, scope: context.scope, requestedBy });
    const entry = { actor: actorOf(context), action: "job.requeue_many" };
    const detail = { ...order, ...done };
    if (!order.dryRun) await inTransaction(db, (tx) => writeAudit(tx, { ...entry, detail }));
    wakeups.notifyAll();
    return done;
  });
}

function mountSingleJobs(app: App, { db, wakeups, drivers }: JobServices): void {
  route(app, createJobs, async ({ body: order }, context) => {
    const requestedBy = context.caller.userId;
    const jobs = await inTransaction(db, async (tx) => {
      const ordered = await orderJobs(tx, { order, scope: context.scope, requestedBy });
      const detail = { ...order, jobs: ordered.length };
      await writeAudit(tx, { actor: actorOf(context), action: "job.create", detail });
      return ordered;
    });
    wakeups.notifyAll();
    return { jobs };
  });

  route(app, listJobs, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const before = readCursor(cursor, JobId);
    const rows = await selectJobs(db, { ...filter, drivers, scope, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: jobOf, position: (row) => row.id });
  });

  route(app, getJob, async ({ params: { jobId } }, { scope }) => {
    const job = await readJob({ db, drivers }, scope, jobId);
    const attempts = await selectAttempts(db, { siteId: job.siteId, jobId });
    const history = attempts.map((attempt) => ({
      ...attempt,
      grantedAt: attempt.grantedAt.toString(),
      startedAt: attempt.startedAt?.toString() ?? null,
      endedAt: attempt.endedAt.toString(),
    }));
    const report = await selectReport(db, { siteId: job.siteId, jobId });
    return { ...jobOf(job), payload: job.payload, report, history };
  });

  route(app, cancelJobEndpoint, async ({ params: { jobId } }, context) => {
    const { siteId } = await readJob({ db, drivers }, context.scope, jobId);
    const result = await cancelJob(db, { siteId, jobId });
    if (result === "ended" || result === "unknown") {
      const { state } = await readJob({ db, drivers }, context.scope, jobId);
      throw new ProblemError("conflict", `The job has ended already: ${state}.`);
    }
    const target = { kind: "job", id: jobId };
    await inTransaction(
      db,
      (tx) => writeAudit(tx, { actor: actorOf(context), action: "job.cancel", target, siteId }),
    );
    return { state: result };
  });

  route(app, requeueJob, async ({ params: { jobId } }, context) => {
    const job = await readJob({ db, drivers }, context.scope, jobId);
    if (job.endedAt === null) throw new ProblemError("conflict", "The job has not ended yet.");
    const { siteId, deviceId, kind, payload, priority, timeoutSeconds } = job;
    const again = await inTransaction(db, async (tx) => {
      const [enqueued] = await enqueueJobs(tx, {
        ...{ siteId, kind, payload, priority },
        ...(timeoutSeconds === null ? {} : { totalSeconds: timeoutSeconds }),
        deviceIds: [deviceId],
        urgency: "interactive",
        requestedBy: context.caller.userId,
        parentId: jobId,
      });
      const target = { kind: "job", id: jobId };
      await writeAudit(tx, { actor: actorOf(context), action: "job.requeue", target, siteId });
      return enqueued;
    });
    if (!again) throw new Error("Cannot requeue: the order was answered with no job");
    wakeups.notify(siteId);
    return again;
  });
}

async function readJob(
  { db, drivers }: { readonly db: Kysely<Database>; readonly drivers: DriverSet },
  scope: Scope,
  jobId: JobId,
): Promise<JobRow> {
  const [row] = await selectJobs(db, { drivers, scope, jobId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such job.");
  return row;
}

function jobOf(row: JobRow) {
  return {
    ...row,
    dueAt: row.dueAt.toString(),
    expiresAt: row.expiresAt?.toString() ?? null,
    startedAt: row.startedAt?.toString() ?? null,
    durationMs: row.durationMs === null ? null : Number(row.durationMs),
    createdAt: row.createdAt.toString(),
    endedAt: row.endedAt?.toString() ?? null,
    reason: row.failureCode && failureSentence(row.failureCode),
  };
}
