import { type Kysely, sql, type Transaction } from "kysely";
import {
  DEFAULTS,
  SETTING_KEYS,
  type SettingChange,
  type SettingKey,
  SETTINGS,
  type SettingValues,
} from "@rookery/shared/settings/mod.ts";
import type { Database, InstallationTable } from "../database/schema.ts";

/** Settings that are columns of the one row of `installation`, where the statements of the queue read them. */
const COLUMNS: Partial<Record<SettingKey, keyof InstallationTable>> = {
  "queue.maintenance": "maintenance",
  "queue.max_queued": "maxQueued",
};

/** Everything that is in force, and since when what differs from its default does. */
export interface StoredSettings {
  readonly values: SettingValues;
  readonly updatedAt: ReadonlyMap<string, Temporal.Instant>;
}

interface StoredRow {
  readonly name: string;
  readonly value: unknown;
  readonly updatedAt: Temporal.Instant | null;
}

/** Reads what is stored, in one statement. */
export async function readSettings(db: Kysely<Database>): Promise<StoredSettings> {
  const { rows } = await sql<StoredRow>`
    select name, value, updated_at from settings
    union all select 'queue.maintenance', to_jsonb(maintenance), null from installation
    union all select 'queue.max_queued', to_jsonb(max_queued), null from installation`.execute(db);
  const stored = new Map(rows.map((row) => [row.name, row]));
  const values = SETTING_KEYS.map((key) => [key, valueOf(key, stored.get(key))]);
  return {
    values: Object.fromEntries(values),
    updatedAt: new Map(
      rows.flatMap(({ name, updatedAt }) => updatedAt ? [[name, updatedAt] as const] : []),
    ),
  };
}

/** A row that another release wrote, and that is no value here, must not stop this one: the default holds. */
function valueOf(key: SettingKey, row: StoredRow | undefined): unknown {
  const parsed = SETTINGS[key].schema.safeParse(row?.value);
  return parsed.success ? parsed.data : DEFAULTS[key];
}

/** Keeps other changes away until the end of the transaction, and nobody who reads. */
export async function lockSettings(tx: Transaction<Database>): Promise<void> {
  await sql`lock table settings in share row exclusive mode`.execute(tx);
}

/** Stores new values. A default is stored by storing nothing, so that a later release may have a better one. */
export async function writeSettings(
  tx: Transaction<Database>,
  change: SettingChange,
): Promise<void> {
  for (const key of SETTING_KEYS) {
    const value = change[key];
    if (value === undefined) continue;
    const column = COLUMNS[key];
    if (column !== undefined) {
      await tx.updateTable("installation").set({ [column]: value }).execute();
    } else if (value === DEFAULTS[key]) {
      await tx.deleteFrom("settings").where("name", "=", key).execute();
    } else {
      await upsert(tx, key, JSON.stringify(value));
    }
  }
}

async function upsert(tx: Transaction<Database>, key: SettingKey, json: string): Promise<void> {
  await sql`
    insert into settings (name, value) values (${key}, ${json}::text::jsonb)
    on conflict (name) do update set value = excluded.value, updated_at = now()`.execute(tx);
}
