import { sql, type Transaction } from "kysely";
import type { ImportedFields } from "@rookery/shared/api/imports.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { given } from "../audit/changed_fields.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import type { Database } from "../database/schema.ts";
import { replaceTags, tagNames } from "../devices/device_tags.ts";
import * as devices from "../devices/store.ts";
import { applyTagRules } from "../devices/tag_rule_store.ts";
import { EVERYTHING } from "../http/caller.ts";
import type { KnownDevice } from "./find_devices.ts";
import { isSame } from "./plan_rows.ts";

const DUPLICATES = {
  devices_name: ["name", "another device of the site has this name"],
  devices_address: ["host", "another device of the site has this address and port"],
} as const;

export interface DeviceChange {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  /** What it must be like now, in these fields. */
  readonly expected: ImportedFields;
  readonly change: ImportedFields;
}

/** A device in use, with what tells who changed it. */
export interface ChangeableDevice extends KnownDevice {
  readonly isUntouched: boolean;
  /** Those that rules give: nobody has to have given them. */
  readonly ruleTags: readonly string[];
}

/** A device in use as it is now; its row is locked. */
export async function readForChange(
  tx: Transaction<Database>,
  { siteId, deviceId }: Pick<DeviceChange, "siteId" | "deviceId">,
): Promise<ChangeableDevice> {
  const { rows: [device] } = await sql<ChangeableDevice>`
    select id, name, host, port, platform, credential_id, ${tagNames} as tags,
      updated_at = created_at as is_untouched, array(
        select t.name from tag_rules r join tags t on t.id = r.tag_id join sites s on s.id = site_id
        where r.tenant_id = s.tenant_id) as rule_tags
    from devices where id = ${deviceId} and site_id = ${siteId} and archived_at is null for update`
    .execute(tx);
  if (!device) throw new ProblemError("not-found", "the device is archived or gone");
  return device;
}

/** Changes a device that is as it is expected to be; else refuses with `conflict`. The site's queue is locked. */
export async function changeDevice(
  tx: Transaction<Database>,
  { siteId, deviceId, expected, change }: DeviceChange,
): Promise<void> {
  refuseChanged(await readForChange(tx, { siteId, deviceId }), expected);
  const { tags, ...fields } = change;
  const { credentialId } = fields;
  if (credentialId) await refuseGone(tx, { siteId, credentialId });
  await refuseDuplicates(DUPLICATES, () => devices.updateDevice(tx, deviceId, given(fields)));
  if (tags) await replaceTags(tx, { siteId, deviceId, tags });
  await applyTagRules(tx, { deviceIds: [deviceId] });
  if (credentialId !== undefined) {
    await devices.moveToLane(tx, { siteId, deviceId, credentialId });
  }
}

async function refuseGone(
  tx: Transaction<Database>,
  use: { readonly siteId: SiteId; readonly credentialId: CredentialId },
): Promise<void> {
  if (await devices.isCredentialUsable(tx, { ...use, scope: EVERYTHING })) return;
  throw new ProblemError("conflict", "its credential was deleted meanwhile");
}

/** Refuses a device that is not as it is expected to be, and names the fields. */
export function refuseChanged(device: ChangeableDevice, expected: ImportedFields): void {
  const given = expected.tags ?? [];
  const tags = device.tags.filter((tag) => given.includes(tag) || !device.ruleTags.includes(tag));
  const names = (Object.keys(expected) as (keyof ImportedFields)[])
    .filter((field) => !isSame(field === "tags" ? tags : device[field], expected[field]));
  if (names.length === 0) return;
  throw new ProblemError("conflict", `changed by somebody else since: ${names.join(", ")}`);
}
