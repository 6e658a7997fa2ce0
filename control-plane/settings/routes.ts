import type { Kysely, Transaction } from "kysely";
import { z } from "zod";
import {
  getSetting,
  listSettings,
  resetSetting,
  type Setting,
  updateSettings,
} from "@rookery/shared/api/settings.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  categoryOf,
  DEFAULTS,
  isSettingKey,
  SETTING_KEYS,
  type SettingChange,
  type SettingKey,
  SETTINGS,
} from "@rookery/shared/settings/mod.ts";
import { changedFields } from "../audit/changed_fields.ts";
import { type Actor, actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import type { Wakeups } from "../jobs/wakeups.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import type { LiveSettings } from "./live_settings.ts";
import { lockSettings, readSettings, type StoredSettings, writeSettings } from "./store.ts";

const NOT_ALL = "The settings belong to who sees all sites.";

export interface SettingServices {
  readonly db: Kysely<Database>;
  readonly settings: LiveSettings;
  readonly wakeups: Wakeups;
}

/** The settings of the installation. None of them is a secret, so all may be shown and audited. */
export function mountSettings(app: App, services: SettingServices): void {
  const { db } = services;
  route(app, listSettings, async ({ query: { category } }) => {
    const stored = await readSettings(db);
    const keys = SETTING_KEYS.filter((key) =>
      category === undefined || categoryOf(key) === category
    );
    return { items: keys.map((key) => settingOf(key, stored)) };
  });
  route(app, getSetting, async ({ params }) => {
    return settingOf(known(params.key), await readSettings(db));
  });
  mountChanges(app, services);
}

function mountChanges(app: App, services: SettingServices): void {
  route(app, updateSettings, async ({ body }, context) => {
    refusePart(context.scope, NOT_ALL);
    const stored = await change(services, body, { actor: actorOf(context), verb: "update" });
    return { items: SETTING_KEYS.map((key) => settingOf(key, stored)) };
  });
  route(app, resetSetting, async ({ params }, context) => {
    refusePart(context.scope, NOT_ALL);
    const key = known(params.key);
    const by = { actor: actorOf(context), verb: "reset" } as const;
    return settingOf(key, await change(services, { [key]: DEFAULTS[key] }, by));
  });
}

interface ChangedBy {
  readonly actor: Actor;
  readonly verb: "update" | "reset";
}

async function change(
  { db, settings, wakeups }: SettingServices,
  wanted: SettingChange,
  by: ChangedBy,
): Promise<StoredSettings> {
  await inTransaction(db, async (tx) => {
    await lockSettings(tx);
    const { values } = await readSettings(tx);
    await writeSettings(tx, wanted);
    await audit(tx, changedFields(values, wanted), by);
  });
  await settings.refresh();
  wakeups.notifyAll();
  return await readSettings(db);
}

/** A row for each setting that really changed, so that the history of one is found by its key. */
async function audit(
  tx: Transaction<Database>,
  { before, after }: ReturnType<typeof changedFields>,
  { actor, verb }: ChangedBy,
): Promise<void> {
  for (const [key, value] of Object.entries(after)) {
    await writeAudit(tx, {
      actor,
      action: `setting.${verb}`,
      target: { kind: "setting", id: key },
      detail: { before: before[key], after: value },
    });
  }
}

function known(key: string): SettingKey {
  if (isSettingKey(key)) return key;
  throw new ProblemError("not-found", "There is no such setting; GET /api/v1/settings lists them.");
}

function settingOf(key: SettingKey, { values, updatedAt }: StoredSettings): Setting {
  const { description, unit, schema } = SETTINGS[key];
  const { $schema: _dialect, ...limits } = z.toJSONSchema(schema);
  return {
    ...{ key, category: categoryOf(key), description, unit, schema: limits },
    ...{ default: DEFAULTS[key], value: values[key], isChanged: values[key] !== DEFAULTS[key] },
    updatedAt: updatedAt.get(key)?.toString() ?? null,
  };
}
