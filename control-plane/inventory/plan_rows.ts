import { setImmediate } from "node:timers/promises";
import type { Kysely } from "kysely";
import type { ImportAction, ImportedFields } from "@rookery/shared/api/imports.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { FieldError } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type CheckedRow, checkRow, type KnownNames, type RefusedRow } from "./check_row.ts";
import { DEFAULT_PORT, findDevices, type KnownDevice, type Matches } from "./find_devices.ts";
import { VANISHED_TAG } from "./read_netbox.ts";
import type { GivenRow } from "./read_rows.ts";

/** What would be done with a row. */
export interface PlannedRow {
  readonly number: number;
  readonly siteId: SiteId | null;
  readonly deviceId: DeviceId | null;
  readonly name: string | null;
  readonly host: string | null;
  readonly action: ImportAction;
  readonly before: ImportedFields;
  readonly after: ImportedFields;
  readonly errors: readonly FieldError[];
}

export interface PlanOptions {
  readonly scope: Scope;
  readonly known: KnownNames;
  /** Of new devices whose row says nothing. */
  readonly platform: string | undefined;
  readonly credentialId: CredentialId | undefined;
}

/** How many rows are checked before others are served. */
const SLICE = 250;

/** Decides what would be done with each row; nothing is changed. */
export async function planRows(
  db: Kysely<Database>,
  given: readonly GivenRow[],
  options: PlanOptions,
): Promise<PlannedRow[]> {
  const checked: (CheckedRow | RefusedRow)[] = [];
  for (const [index, row] of given.entries()) {
    if (index % SLICE === 0) await setImmediate();
    checked.push(checkRow(row, options.known));
  }
  const rows = checked.filter((row): row is CheckedRow => !("errors" in row));
  const matches = await findDevices(db, { rows, scope: options.scope });
  const taken: Taken = new Map();
  return checked.map((row) =>
    "errors" in row
      ? refuse(row, row.errors)
      : planRow(row, { ...options, taken, matches: matches.get(row.number) ?? {} })
  );
}

/** What earlier rows of the file take, with the number of the row. */
type Taken = Map<string, number>;

interface RowPlace extends PlanOptions {
  readonly taken: Taken;
  readonly matches: Matches;
}

function planRow(row: CheckedRow, place: RowPlace): PlannedRow {
  const { byAddress, byName } = place.matches;
  if (byAddress && byName && byAddress.id !== byName.id) {
    const detail = `another device of the site has this name; ${row.host} is ${byAddress.name}`;
    return refuse(row, [{ pointer: "#/name", detail }]);
  }
  const device = byAddress ?? byName;
  const planned = device ? planChange(row, device) : planCreation(row, place);
  if (planned.action === "refused") return planned;
  const error = takePlaces(planned, { row, device, taken: place.taken });
  return error ? refuse(row, [error]) : planned;
}

function planCreation(row: CheckedRow, { platform, credentialId }: RowPlace): PlannedRow {
  const { number, siteId, host } = row;
  const after = {
    name: row.name ?? host,
    host,
    port: row.port ?? DEFAULT_PORT,
    platform: row.platform ?? platform,
    credentialId: row.credentialId === undefined ? credentialId ?? null : row.credentialId,
    tags: [...row.tags ?? row.addTags ?? []],
  };
  const missing = [
    ...(host === undefined ? [{ pointer: "#/address", detail: "a new device needs it" }] : []),
    ...(after.platform === undefined ? [NO_PLATFORM] : []),
    // A host name may be longer than a name.
    ...((after.name?.length ?? 0) > 100 ? [{ pointer: "#/name", detail: "is required here" }] : []),
  ];
  if (missing.length > 0) return refuse(row, missing);
  const { name = null } = after;
  const shown = { number, siteId, name, host: host ?? null };
  const deviceId = newId<DeviceId>();
  return {
    ...shown,
    deviceId,
    action: "create",
    before: {},
    after: after as ImportedFields,
    errors: [],
  };
}

const NO_PLATFORM = {
  pointer: "#/platform",
  detail: "a new device needs it, here or as platform for all rows",
};

function planChange(row: CheckedRow, device: KnownDevice): PlannedRow {
  const { number, siteId, name, host, port, platform, credentialId } = row;
  const wanted = { name, host, port, platform, credentialId, tags: tagsFor(row, device) };
  const names = (Object.keys(wanted) as (keyof typeof wanted)[])
    .filter((field) => wanted[field] !== undefined && !isSame(wanted[field], device[field]));
  const pick = (from: ImportedFields | typeof wanted) =>
    Object.fromEntries(names.map((field) => [field, from[field]])) as ImportedFields;
  const action = names.length > 0 ? "change" : "unchanged";
  const shown = { number, siteId, name: device.name, host: device.host, deviceId: device.id };
  return { ...shown, action, before: pick(device), after: pick(wanted), errors: [] };
}

/** A device that a sync names has not vanished. */
function tagsFor({ tags, addTags }: CheckedRow, device: KnownDevice): string[] | undefined {
  if (!addTags) return tags && [...tags];
  const kept = device.tags.filter((tag) => tag !== VANISHED_TAG);
  const known = new Set(kept.map((tag) => tag.toLowerCase()));
  return [...kept, ...addTags.filter((tag) => !known.has(tag.toLowerCase()))];
}

/** Whether two values of a field are the same: tags in any order, and large and small letters alike. */
export function isSame(one: unknown, other: unknown): boolean {
  return Array.isArray(one) && Array.isArray(other) ? fold(one) === fold(other) : one === other;
}

function fold(tags: readonly string[]): string {
  return JSON.stringify(tags.map((tag) => tag.toLowerCase()).sort());
}

/** Takes device, name and address for this row; an earlier one that has any of them is the error. */
function takePlaces(
  { siteId, deviceId, after, number }: PlannedRow,
  { row, device, taken }: { row: CheckedRow; device: KnownDevice | undefined; taken: Taken },
): FieldError | undefined {
  const name = (after.name ?? device?.name ?? "").toLowerCase();
  const host = after.host ?? device?.host;
  const places = [
    ["#/address", `device ${deviceId}`],
    ["#/address", `${siteId} address ${host} ${after.port ?? device?.port}`],
    ["#/name", `${siteId} name ${name}`],
  ] as const;
  for (const [pointer, place] of places) {
    const earlier = taken.get(place);
    const isNamed = pointer !== "#/name" || row.name !== undefined;
    const field = isNamed ? pointer : "#/address";
    if (earlier !== undefined) return { pointer: field, detail: `row ${earlier} has it already` };
  }
  for (const [, place] of places) taken.set(place, number);
  return undefined;
}

function refuse(
  { number, siteId, name, host }: Pick<
    CheckedRow | RefusedRow,
    "number" | "siteId" | "name" | "host"
  >,
  errors: readonly FieldError[],
): PlannedRow {
  const shown = { number, siteId, name: name ?? null, host: host ?? null, deviceId: null };
  return { ...shown, action: "refused", before: {}, after: {}, errors };
}
