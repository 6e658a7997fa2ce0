import { sql, type Transaction } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";

/** The names of the tags of each row of `devices`. */
export const tagNames = sql<string[]>`array(
  select t.name from device_tags x join tags t on t.id = x.tag_id
  where x.device_id = devices.id order by lower(t.name))`;

export interface TaggedDevice {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly tags: readonly string[];
}

/** Gives a device these tags and no others; a tag that its tenant does not have yet is made. The device's row is locked. */
export async function replaceTags(
  tx: Transaction<Database>,
  { siteId, deviceId, tags }: TaggedDevice,
): Promise<void> {
  // In one order, so that two that make the same tags never wait for each other in a circle.
  const names = tags.toSorted();
  for (const name of names) {
    await sql`
      insert into tags (id, tenant_id, name)
      select ${newId()}, tenant_id, ${name} from sites where id = ${siteId}
      on conflict do nothing`.execute(tx);
  }
  await sql`
    with wanted as (
      select t.id from tags t join sites s on s.tenant_id = t.tenant_id
      where s.id = ${siteId} and lower(t.name) in (select lower(n) from unnest(${names}::text[]) n)
    ), taken as (
      delete from device_tags where device_id = ${deviceId} and tag_id not in (select id from wanted)
    )
    insert into device_tags (device_id, tag_id) select ${deviceId}, id from wanted
    on conflict do nothing`.execute(tx);
}
