/** Fills the database with a large inventory and its history, in SQL: what is measured is reading it. */
import { createHash } from "node:crypto";
import { type Kysely, sql } from "kysely";
import {
  type DeviceId,
  type RevisionId,
  Sha256,
  type SiteId,
  type UserId,
} from "@rookery/shared/ids.ts";
import { insertApiToken } from "../../../control-plane/api_tokens/store.ts";
import { sealBlob } from "../../../control-plane/backups/blob_seal.ts";
import { redactionRules } from "../../../control-plane/backups/redaction_rules.ts";
import { newId } from "../../../control-plane/database/new_id.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { inTransaction } from "../../../control-plane/database/transaction.ts";
import type { KeyRing } from "../../../control-plane/keys/key_ring.ts";
import { generateConfiguration, nameOf } from "./configurations.ts";

export interface Population {
  readonly sites: number;
  readonly devices: number;
  readonly revisionsPerDevice: number;
  /** How many devices have a current text. */
  readonly texts: number;
  /** Lines of each of the two revisions that are compared. */
  readonly diffLines: number;
}

/** What is there to ask for. */
export interface Populated {
  readonly token: string;
  readonly siteIds: readonly SiteId[];
  /** In the order in which they are listed. */
  readonly deviceIds: readonly DeviceId[];
  /** Has the one before it beside it. */
  readonly comparedId: RevisionId;
}

const TEXTS_AT_ONCE = 200;
const PLATFORM = "cisco_iosxe";

export async function populate(
  { db, keyRing }: { readonly db: Kysely<Database>; readonly keyRing: KeyRing },
  population: Population,
): Promise<Populated> {
  const siteIds = await insertSites(db, population.sites);
  await insertDevices(db, population);
  await insertRevisions(db, population);
  await settle(db);
  await insertTexts(db, population);
  const [siteId] = siteIds;
  if (!siteId) throw new RangeError("There is no site");
  const comparedId = await insertCompared(db, { keyRing, siteId, lines: population.diffLines });
  await settle(db);
  const { rows } = await sql<{ id: DeviceId }>`select id from devices order by id`.execute(db);
  return { token: await insertToken(db), siteIds, deviceIds: rows.map(({ id }) => id), comparedId };
}

/** What autovacuum would have done long ago. */
async function settle(db: Kysely<Database>): Promise<void> {
  for (const table of ["sites", "devices", "device_tags", "device_status", "revisions"]) {
    await sql`vacuum analyze ${sql.table(table)}`.execute(db);
  }
}

async function insertSites(db: Kysely<Database>, count: number): Promise<readonly SiteId[]> {
  const rows = Array.from(
    { length: count },
    (_, n) => ({ id: newId<SiteId>(), name: `site-${n}` }),
  );
  await sql`
    insert into sites (id, tenant_id, name)
    select g.id, t.id, g.name
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as g(id uuid, name text),
      (select id from tenants limit 1) t`.execute(db);
  return rows.map(({ id }) => id);
}

/** One in ten is tagged `core`, one in a hundred `lab`; one in fifty fails, one in two hundred has never been read. */
async function insertDevices(db: Kysely<Database>, { devices }: Population): Promise<void> {
  await sql`
    insert into devices (id, site_id, name, host, platform, owner, notes)
    select gen_random_uuid(), s.ids[1 + n % cardinality(s.ids)],
      'sw-' || lpad((n % 500)::text, 3, '0') || '-' || lpad(n::text, 5, '0'),
      '10.' || n / 65536 || '.' || n / 256 % 256 || '.' || n % 256,
      (array[${PLATFORM}, ${PLATFORM}, 'juniper_junos', 'frr'])[1 + n % 4],
      'team-' || n % 20, 'rack ' || n % 40
    from generate_series(0, ${devices - 1}::int) n, (select array_agg(id) as ids from sites) s`
    .execute(db);
  await sql`
    with made as (
      insert into tags (id, tenant_id, name)
      select gen_random_uuid(), t.id, n from tenants t, unnest(array['core', 'lab', 'edge']) n
      returning id, name
    )
    insert into device_tags (device_id, tag_id)
    select d.id, m.id from made m join (
      select id, row_number() over (order by name) as n from devices
    ) d on d.n % (case m.name when 'core' then 10 when 'lab' then 100 else 3 end) = 0`.execute(db);
  await sql`
    update device_status s set last_attempt_at = now(), unsaved = d.n % 30 = 0,
      last_outcome = case when d.n % 50 = 0 then 'failed' else 'verified' end,
      last_verified_at = now() - make_interval(hours => (d.n % 48)::int)
    from (select id, row_number() over (order by host) as n from devices) d
    where s.device_id = d.id and d.n % 200 <> 0`.execute(db);
}

/** As they would have come: each night one of each device that changed. */
async function insertRevisions(
  db: Kysely<Database>,
  { revisionsPerDevice }: Population,
): Promise<void> {
  for (let number = 1; number <= revisionsPerDevice; number++) {
    await sql`
      insert into revisions (id, site_id, device_id, capture, platform, number, state, raw_sha256,
        normalised_sha256, normaliser_version, grade, bytes, lines, backup_id, first_seen_at, last_seen_at)
      select (lpad(to_hex(${number}::int), 12, '0') || '7' || substr(x.digest, 1, 3) || '8'
          || substr(x.digest, 4, 15))::uuid,
        site_id, id, 'running', ${PLATFORM}, ${number}, 'accepted', x.digest, x.digest, 1, 'marker',
        25000, 1000, gen_random_uuid(), now() - make_interval(days => ${100 - number}::int),
        now() - make_interval(days => ${99 - number}::int)
      from devices d, lateral (
        select encode(sha256(convert_to(d.id::text || ${number}::text, 'UTF8')), 'hex') as digest) x`
      .execute(db);
  }
}

async function insertTexts(db: Kysely<Database>, population: Population): Promise<void> {
  const { texts, revisionsPerDevice: number } = population;
  const redactedBy = redactionRules(PLATFORM);
  for (let from = 0; from < texts; from += TEXTS_AT_ONCE) {
    const rows = Array.from({ length: Math.min(TEXTS_AT_ONCE, texts - from) }, (_, n) => {
      const device = from + n;
      return { name: nameOf(device), text: generateConfiguration({ device }) };
    });
    await sql`
      insert into current_texts (device_id, capture, site_id, revision_id, text, redacted_by)
      select d.id, 'running', d.site_id, r.id, g.text, ${redactedBy}
      from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as g(name text, text text)
      join devices d on d.name = g.name
      join revisions r on r.device_id = d.id and r.capture = 'running' and r.number = ${number}`
      .execute(db);
  }
}

/** Two revisions of one device, of which every hundredth line differs. */
async function insertCompared(
  db: Kysely<Database>,
  { keyRing, siteId, lines }: {
    readonly keyRing: KeyRing;
    readonly siteId: SiteId;
    readonly lines: number;
  },
): Promise<RevisionId> {
  const id = newId<DeviceId>();
  const device = { siteId, name: "compared", host: "compared.test", platform: PLATFORM };
  await db.insertInto("devices").values({ id, ...device }).execute();
  const text = generateConfiguration({ device: 1, bytes: lines * 25 }).split("\n").slice(0, lines);
  const changed = text.map((line, n) => n % 100 === 7 ? `${line} changed` : line);
  let newest: RevisionId | undefined;
  for (const [n, version] of [text, changed].entries()) {
    const bytes = new TextEncoder().encode(version.join("\n"));
    const sha256 = Sha256.parse(createHash("sha256").update(bytes).digest("hex"));
    newest = newId<RevisionId>();
    const sealed = await sealBlob(keyRing, { siteId, sha256, bytes });
    await db.insertInto("blobs").values({ siteId, sha256, ...sealed }).execute();
    await sql`
      insert into revisions (id, site_id, device_id, capture, platform, number, state, raw_sha256,
        normalised_sha256, normaliser_version, grade, bytes, lines, backup_id)
      values (${newest}, ${siteId}, ${id}, 'running', ${PLATFORM}, ${n + 1}, 'accepted', ${sha256},
        ${sha256}, 1, 'marker', ${bytes.length}, ${lines}, gen_random_uuid())`.execute(db);
  }
  if (!newest) throw new RangeError("There is nothing to compare");
  return newest;
}

async function insertToken(db: Kysely<Database>): Promise<string> {
  const userId = newId<UserId>();
  await sql`insert into users (id, username, administrator) values (${userId}, 'bench', true)`
    .execute(db);
  const { secret } = await inTransaction(
    db,
    (tx) => insertApiToken(tx, { userId, name: "bench", expiresInDays: 1 }),
  );
  return secret;
}
