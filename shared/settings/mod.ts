/**
 * Every setting of an installation: its type, default and limits. What an agent or a site is told by other means (files of
 * the agent, fields of a site) is none. A setting that changed nothing would be a lie, so each of them is tried by a test.
 */
import { z } from "zod";
import { DEVICE_DEFAULTS, SITE_DEFAULTS } from "./inventory_defaults.ts";
import { CREDENTIALS, JOBS } from "./jobs.ts";
import { OIDC } from "./oidc.ts";
import { OPERATIONS } from "./operations.ts";
import { QUEUE } from "./queue.ts";
import { RETENTION } from "./retention.ts";
import { SECURITY } from "./security.ts";

/** By key, which is its category and its name: `security.session_hours`. */
export const SETTINGS = {
  ...SECURITY,
  ...OIDC,
  ...QUEUE,
  ...JOBS,
  ...CREDENTIALS,
  ...SITE_DEFAULTS,
  ...DEVICE_DEFAULTS,
  ...RETENTION,
  ...OPERATIONS,
} as const;

export type SettingKey = keyof typeof SETTINGS;
export type SettingValue<Key extends SettingKey> = z.output<(typeof SETTINGS)[Key]["schema"]>;
/** What is in force, by key. */
export type SettingValues = { readonly [Key in SettingKey]: SettingValue<Key> };
/** New values for some of them. */
export type SettingChange = { readonly [Key in SettingKey]?: SettingValue<Key> | undefined };

type CategoryOf<Key extends string> = Key extends `${infer Category}.${string}` ? Category : never;
export type Category = CategoryOf<SettingKey>;

export const SETTING_KEYS = Object.keys(SETTINGS) as [SettingKey, ...SettingKey[]];
export const CATEGORIES = [...new Set(SETTING_KEYS.map(categoryOf))] as [Category, ...Category[]];

/** The part of a key before the dot. */
export function categoryOf(key: SettingKey): Category {
  return key.slice(0, key.indexOf(".")) as Category;
}

/** Whether there is a setting of this key. */
export function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(SETTINGS, key);
}

/** What holds where nothing is stored. */
export const DEFAULTS = Object.fromEntries(
  SETTING_KEYS.map((key) => [key, SETTINGS[key].default]),
) as SettingValues;
