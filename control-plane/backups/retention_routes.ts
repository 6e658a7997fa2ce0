import type { Transaction } from "kysely";
import { applyRetention, previewRetention } from "@rookery/shared/api/retention.ts";
import type { TaskId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { type Actor, actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { EVERYTHING } from "../http/caller.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import { readSettings } from "../settings/store.ts";
import { taskOf } from "../tasks/replies.ts";
import { insertTask, selectTasks } from "../tasks/store.ts";
import { startOfRetention } from "./apply_retention.ts";
import { countOld, type RetentionLimits } from "./old_revisions.ts";
import type { BackupsContext } from "./routes.ts";

/** What retention would take, and the order to take it. It is about all sites, as its settings are. */
export function mountRetention(app: App, { db }: Pick<BackupsContext, "db">): void {
  route(app, previewRetention, async ({ query }, { scope }) => {
    const inForce = await readLimits(db);
    const { last = inForce.last, days = inForce.days } = query;
    return await countOld(db, { last, days, scope });
  });

  route(app, applyRetention, async ({ body: { mostRevisions } }, context) => {
    refusePart(context.scope, "Retention is of all sites: it needs a role for all.");
    const limits = await readLimits(db);
    if (mostRevisions !== undefined) {
      const { revisions } = await countOld(db, { ...limits, scope: EVERYTHING });
      if (revisions > mostRevisions) throw tooMany(revisions);
    }
    const taskId = await inTransaction(
      db,
      (tx) => orderRun(tx, { limits, actor: actorOf(context) }),
    );
    const [task] = await selectTasks(db, { taskId, limit: 1 });
    if (!task) throw new Error("Cannot find the task that was ordered");
    return taskOf(task);
  });
}

async function orderRun(
  tx: Transaction<Database>,
  { limits, actor }: { readonly limits: RetentionLimits; readonly actor: Actor },
): Promise<TaskId> {
  const kind = "apply_retention" as const;
  const open = { kind: [kind], state: ["waiting", "running"] as const, limit: 1 };
  const [running] = await selectTasks(tx, open);
  if (running) {
    throw new ProblemError("conflict", `Retention is under way already: task ${running.id}.`);
  }
  const cursor = startOfRetention({ ...limits, orderedBy: actor.name });
  const id = await insertTask(tx, { kind, requestedBy: actor.name, cursor });
  const target = { kind: "task", id };
  await writeAudit(tx, { actor, action: "retention.apply", target, detail: { ...limits } });
  return id;
}

async function readLimits(db: BackupsContext["db"]): Promise<RetentionLimits> {
  const { values } = await readSettings(db);
  return { last: values["retention.revisions_last"], days: values["retention.revisions_days"] };
}

function tooMany(revisions: number): ProblemError {
  return new ProblemError(
    "conflict",
    `${revisions} revisions would go, which is more than mostRevisions: look at the preview again.`,
  );
}
