import { isDeepStrictEqual } from "node:util";

/** The fields of a change that really change something, before and after, for the audit log. */
export function changedFields(
  before: Readonly<Record<string, unknown>>,
  change: Readonly<Record<string, unknown>>,
): { before: Record<string, unknown>; after: Record<string, unknown> } {
  const names = Object.keys(change)
    .filter((name) => change[name] !== undefined && !isDeepStrictEqual(before[name], change[name]));
  return {
    before: Object.fromEntries(names.map((name) => [name, before[name]])),
    after: Object.fromEntries(names.map((name) => [name, change[name]])),
  };
}

/** A change without the fields that were not given, as an UPDATE takes it. */
export function given<Change extends object>(
  change: Change,
): { [Name in keyof Change]?: Exclude<Change[Name], undefined> } {
  return Object.fromEntries(
    Object.entries(change).filter(([, value]) => value !== undefined),
  ) as never;
}
