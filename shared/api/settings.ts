import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant } from "../ids.ts";
import {
  CATEGORIES,
  SETTING_KEYS,
  type SettingChange,
  type SettingKey,
  SETTINGS,
} from "../settings/mod.ts";
import { UNITS } from "../settings/setting.ts";

const SettingValue = z.union([z.boolean(), z.int(), z.string()]);
/** A key as it may be asked for; whether there is such a setting is another question. */
const Key = z.string().max(100).regex(/^[a-z0-9_]+\.[a-z0-9_]+$/, "is no key of a setting")
  .meta({ example: "security.session_hours" });

/** A setting, what it is and what it may be. */
export const Setting = z.object({
  key: z.enum(SETTING_KEYS),
  category: z.enum(CATEGORIES),
  description: z.string(),
  /** What its number counts; null: it counts nothing. */
  unit: z.enum(UNITS).nullable(),
  default: SettingValue,
  value: SettingValue,
  /** Whether it differs from its default. */
  isChanged: z.boolean(),
  /** When it was given a value of its own; null: it has its default, or that was not recorded. */
  updatedAt: Instant.nullable(),
  /** What values it takes, as JSON Schema. */
  schema: z.record(z.string(), z.unknown()),
}).meta({ id: "Setting" });
export type Setting = z.infer<typeof Setting>;

const ListOfSettings = z.object({ items: z.array(Setting) });
const SettingParams = z.strictObject({ key: Key.describe("The key of a setting") });

export const listSettings = endpoint({
  method: "GET",
  path: "/api/v1/settings",
  access: "settings:read",
  summary: "List settings with their defaults and limits, all or those of a category",
  query: z.strictObject({
    category: z.enum(CATEGORIES).optional().describe("Only of this category"),
  }),
  reply: ListOfSettings,
});

export const getSetting = endpoint({
  method: "GET",
  path: "/api/v1/settings/:key",
  access: "settings:read",
  summary: "Read one setting",
  params: SettingParams,
  reply: Setting,
});

type Schemas = { readonly [Key in SettingKey]: z.ZodType<NonNullable<SettingChange[Key]>> };
const SCHEMAS = Object.fromEntries(
  SETTING_KEYS.map((key) => [key, SETTINGS[key].schema]),
) as unknown as Schemas;

export const updateSettings = endpoint({
  method: "PATCH",
  path: "/api/v1/settings",
  access: "settings:write",
  summary: "Change settings, by key: all of those that are sent, or none",
  description: "A change is in force at every replica within two seconds.",
  body: z.strictObject(SCHEMAS).partial(),
  reply: ListOfSettings,
});

export const resetSetting = endpoint({
  method: "DELETE",
  path: "/api/v1/settings/:key",
  access: "settings:write",
  summary: "Give a setting its default again",
  params: SettingParams,
  reply: Setting,
});
