import { type Kysely, sql } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { tagNames } from "../devices/device_tags.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";
import type { PlannedRow } from "./plan_rows.ts";
import { NETBOX_TAG, VANISHED_TAG } from "./read_netbox.ts";

export interface Vanishing {
  /** Rows that mark devices, and do no more to them. */
  readonly rows: readonly PlannedRow[];
  /** Why these must not be applied; null: they may. */
  readonly brake: string | null;
}

interface TaggedDevice {
  readonly id: DeviceId;
  readonly siteId: SiteId;
  readonly name: string;
  readonly host: string;
  readonly tags: string[];
}

/**
 * What came from NetBox once, at the sites of these rows, and is in none of them any more. More than `mostPercent` of it at
 * once is rather a filter, a permission or a fault of NetBox than the truth.
 */
export async function markVanished(
  db: Kysely<Database>,
  rows: readonly PlannedRow[],
  { scope, mostPercent }: { readonly scope: Scope; readonly mostPercent: number },
): Promise<Vanishing> {
  const known = await readTagged(db, rows, scope);
  const ids = new Set(rows.map(({ deviceId }) => deviceId));
  // A row that is refused is there all the same.
  const names = new Set(rows.map(({ name }) => name?.toLowerCase()));
  const gone = known.filter(({ id, name }) => !ids.has(id) && !names.has(name.toLowerCase()));
  const marked = gone.filter(({ tags }) => !tags.includes(VANISHED_TAG));
  const last = rows.at(-1)?.number ?? 0;
  const isTooMany = marked.length * 100 > known.length * mostPercent;
  return {
    rows: marked.map((device, index) => rowOf(device, last + index + 1)),
    brake: isTooMany
      ? `${marked.length} of ${known.length} devices of NetBox would be marked as vanished, more ` +
        `than ${mostPercent} %. Look at NetBox and at the filter; if it is true, preview it again ` +
        "with a higher mostVanishedPercent."
      : null,
  };
}

async function readTagged(
  db: Kysely<Database>,
  rows: readonly PlannedRow[],
  scope: Scope,
): Promise<readonly TaggedDevice[]> {
  const siteIds = [...new Set(rows.map(({ siteId }) => siteId).filter((id) => id !== null))];
  const { rows: tagged } = await sql<TaggedDevice>`
    select devices.id, devices.site_id, devices.name, devices.host, ${tagNames} as tags
    from devices join sites s on s.id = devices.site_id
      join tags t on t.tenant_id = s.tenant_id and lower(t.name) = ${NETBOX_TAG}
      join device_tags x on x.tag_id = t.id and x.device_id = devices.id
    where devices.site_id = any(${siteIds}::uuid[]) and devices.archived_at is null
      and ${isVisible("devices.site_id", scope)} order by devices.id`.execute(db);
  return tagged;
}

function rowOf(
  { id: deviceId, siteId, name, host, tags }: TaggedDevice,
  number: number,
): PlannedRow {
  const change = { before: { tags }, after: { tags: [...tags, VANISHED_TAG] } };
  return { number, siteId, deviceId, name, host, action: "change", ...change, errors: [] };
}
