import { type Kysely, sql } from "kysely";
import type { ImportedDevice } from "@rookery/shared/api/imports.ts";
import type { DeviceId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { tagNames } from "../devices/device_tags.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";
import type { CheckedRow } from "./check_row.ts";

/** A device in use, in the fields that an import writes. */
export type KnownDevice = ImportedDevice & { readonly id: DeviceId };

/** The devices that a row may mean. */
export interface Matches {
  readonly byAddress?: KnownDevice;
  readonly byName?: KnownDevice;
}

/** SSH, where a row names no port. */
export const DEFAULT_PORT = 22;

/** Finds the devices in use with the address and port, and those with the name, of each row; by the row's number. */
export async function findDevices(
  db: Kysely<Database>,
  { rows, scope }: { readonly rows: readonly CheckedRow[]; readonly scope: Scope },
): Promise<ReadonlyMap<number, Matches>> {
  const wanted = rows.map(({ number, siteId: site, name, host, port = DEFAULT_PORT }) => {
    return { number, site, name, host, port };
  });
  const device = sql`devices.id, devices.name, devices.host, devices.port, devices.platform,
    devices.credential_id, ${tagNames} as tags`;
  const inUse = sql`devices.site_id = w.site and devices.archived_at is null
    and ${isVisible("devices.site_id", scope)}`;
  const { rows: found } = await sql<KnownDevice & { number: number; by: keyof Matches }>`
    with w as materialized (
      select * from jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb)
        as w(number integer, site uuid, name text, host text, port integer)
    )
    select w.number, 'byAddress' as by, ${device} from w join devices
      on ${inUse} and lower(devices.host) = lower(w.host) and devices.port = w.port
    union all
    select w.number, 'byName', ${device} from w join devices
      on ${inUse} and lower(devices.name) = lower(w.name)`.execute(db);
  const matches = new Map<number, Matches>();
  for (const { number, by, ...known } of found) {
    matches.set(number, { ...matches.get(number), [by]: known });
  }
  return matches;
}
