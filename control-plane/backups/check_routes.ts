import { orderConfigurationCheck } from "@rookery/shared/api/backups.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import { insertTask, selectTasks } from "../tasks/store.ts";
import { taskOf } from "../tasks/replies.ts";
import type { BackupsContext } from "./routes.ts";

/** Orders the check of everything that is stored. It is about all sites, so whoever sees some only may not order it. */
export function mountChecks(app: App, { db }: BackupsContext): void {
  route(app, orderConfigurationCheck, async (_input, context) => {
    refusePart(context.scope, "The check is of all sites: it needs a role for all.");
    const actor = actorOf(context);
    const taskId = await inTransaction(db, async (tx) => {
      const kind = "check_configurations" as const;
      const open = { kind: [kind], state: ["waiting", "running"] as const, limit: 1 };
      const [running] = await selectTasks(tx, open);
      if (running) {
        throw new ProblemError("conflict", `A check is under way already: task ${running.id}.`);
      }
      const id = await insertTask(tx, { kind, requestedBy: actor.name });
      const target = { kind: "task", id };
      await writeAudit(tx, { actor, action: "configurations.check", target });
      return id;
    });
    const [task] = await selectTasks(db, { taskId, limit: 1 });
    if (!task) throw new Error("Cannot find the task that was ordered");
    return taskOf(task);
  });
}
