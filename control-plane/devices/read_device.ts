import type { Kysely } from "kysely";
import type { DeviceId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { TouchWindow } from "@rookery/shared/schedules/touch_window.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type DeviceRow, selectDevices } from "./store.ts";

/** What a device in use may have in common with no other one of its site, and the field to blame. */
export const DUPLICATES = {
  devices_name: ["name", "another device of the site has this name"],
  devices_address: ["host", "another device of the site has this address and port"],
} as const;

/** The device, if it is there for this caller; else `not-found`. */
export async function readDevice(db: Kysely<Database>, scope: Scope, deviceId: DeviceId) {
  const [row] = await selectDevices(db, { scope, deviceId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such device.");
  return row;
}

/** A device as the wire has it. */
export function deviceOf(row: DeviceRow) {
  return {
    ...row,
    status: row.lastOutcome ?? "never" as const,
    lastVerifiedAt: row.lastVerifiedAt?.toString() ?? null,
    windows: row.windows as TouchWindow[] | null,
    createdAt: row.createdAt.toString(),
    updatedAt: row.updatedAt.toString(),
    archivedAt: row.archivedAt?.toString() ?? null,
  };
}
