import { type Kysely, sql } from "kysely";
import type { DeviceId, RevisionId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** A current configuration of a device that was chosen; without a revision where there is none. */
export interface ChosenConfiguration {
  readonly siteId: SiteId;
  readonly site: string;
  readonly deviceId: DeviceId;
  readonly device: string;
  readonly revision: {
    readonly id: RevisionId;
    readonly platform: string;
    readonly capture: string;
    readonly number: number;
    readonly sha256: Sha256;
    readonly lastSeenAt: string;
  } | null;
}

/** What is current of these devices, as far as the caller may see them, in the order of names. */
export async function selectChosen(
  db: Kysely<Database>,
  { scope, deviceIds, capture }: {
    readonly scope: Scope;
    readonly deviceIds: readonly DeviceId[];
    readonly capture?: string | undefined;
  },
): Promise<ChosenConfiguration[]> {
  const { rows } = await sql<ChosenConfiguration>`
    select d.site_id as "siteId", s.name as site, d.id as "deviceId", d.name as device,
      case when r.id is not null then jsonb_build_object('id', r.id, 'platform', r.platform,
        'capture', r.capture, 'number', r.number, 'sha256', r.raw_sha256,
        'lastSeenAt', r.last_seen_at) end as revision
    from devices d
    join sites s on s.id = d.site_id
    left join current_texts t on t.device_id = d.id
      and (${capture ?? null}::text is null or t.capture = ${capture ?? null}::text)
    left join revisions r on r.id = t.revision_id
    where d.id = any(${[...deviceIds]}::uuid[]) and ${isVisible("d.site_id", scope)}
    order by s.name, s.id, d.name, d.id, r.capture`.execute(db);
  return rows;
}
