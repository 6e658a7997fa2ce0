/** Fills the database with what enrolment, inventory and years of nights would have left there. */
import type { Kysely } from "kysely";
import { sql } from "kysely";
import { type CredentialId, Sha256, type SiteId } from "@rookery/shared/ids.ts";
import { sealSecrets } from "../../../control-plane/credentials/vault.ts";
import { newId } from "../../../control-plane/database/new_id.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { inTransaction } from "../../../control-plane/database/transaction.ts";
import { enqueueJobs } from "../../../control-plane/jobs/enqueue.ts";
import type { KeyRing } from "../../../control-plane/keys/key_ring.ts";
import { sealingKey, signingKey, thumbprintOf } from "./sim_keys.ts";

const AGENTS_AT_ONCE = 1_000;
const SITES_AT_ONCE = 8;

export interface Population {
  /** Agents, each at a site of its own. */
  readonly agents: number;
  /** How many processes play the agents, each an equal share of their numbers. */
  readonly processes: number;
  /** How many sites have devices, the first ones of each share, and how many devices each. */
  readonly busySites: number;
  readonly devicesPerSite: number;
}

/** Makes sites, agents and devices; returns the sites that have devices, in the order of their agents. */
export async function populate(
  { db, keyRing }: { readonly db: Kysely<Database>; readonly keyRing: KeyRing },
  { agents, processes, busySites, devicesPerSite }: Population,
): Promise<readonly SiteId[]> {
  const siteIds: SiteId[] = [];
  for (let from = 0; from < agents; from += AGENTS_AT_ONCE) {
    siteIds.push(...await insertAgents(db, from, Math.min(agents, from + AGENTS_AT_ONCE)));
  }
  const share = agents / processes;
  const busy = siteIds.filter((_, n) => n % share < busySites / processes);
  const credentialId = await insertCredential(db, keyRing);
  await insertDevices(db, { siteIds: busy, devicesPerSite, credentialId });
  // What autovacuum would have done long ago.
  for (
    const table of [
      "agents",
      "agent_keys",
      "agent_sites",
      "sites",
      "devices",
      "revisions",
      "current_texts",
    ]
  ) {
    await sql`analyze ${sql.table(table)}`.execute(db);
  }
  return busy;
}

async function insertAgents(db: Kysely<Database>, from: number, to: number): Promise<SiteId[]> {
  const sealJwk = sealingKey().publicJwk;
  const rows = Array.from({ length: to - from }, (_, n) => {
    const { publicJwk } = signingKey(from + n);
    const thumbprint = thumbprintOf(publicJwk);
    return { id: newId(), site: newId<SiteId>(), name: `bench-${from + n}`, publicJwk, thumbprint };
  });
  await sql`
    with given as (
      select * from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb)
        as g(id uuid, site uuid, name text, "publicJwk" jsonb, thumbprint text)
    ), made as (
      insert into sites (id, tenant_id, name, max_live)
      select g.site, t.id, g.name, 100 from given g, (select id from tenants limit 1) t
    ), enrolled as (
      insert into agents (id, tenant_id, name, sign_jwk, seal_jwk, thumbprint)
      select g.id, t.id, g.name, g."publicJwk", ${
    JSON.stringify(sealJwk)
  }::text::jsonb, g.thumbprint
      from given g, (select id from tenants limit 1) t
    )
    select 1`.execute(db);
  await sql`
    insert into agent_sites (agent_id, site_id)
    select a.id, s.id from agents a join sites s on s.name = a.name
    where a.name = any(${rows.map(({ name }) => name)}::text[])`.execute(db);
  await sql`
    insert into agent_keys (thumbprint, agent_id, sign_jwk, seal_jwk, state)
    select a.thumbprint, a.id, a.sign_jwk, a.seal_jwk, 'current' from agents a
    where a.name = any(${rows.map(({ name }) => name)}::text[])`.execute(db);
  return rows.map(({ site }) => site);
}

/** One login for all, proven long ago. */
async function insertCredential(db: Kysely<Database>, keyRing: KeyRing): Promise<CredentialId> {
  const credentialId = newId<CredentialId>();
  const secrets = { password: "a long one, please" };
  const sealed = await sealSecrets(keyRing, { credentialId, version: 1, secrets });
  await sql`
    insert into credentials (id, tenant_id, name, username)
    select ${credentialId}, id, 'bench', 'netops' from tenants limit 1`.execute(db);
  await db.insertInto("credentialVersions").values({
    credentialId,
    version: 1,
    ...sealed,
    hasPassword: true,
    hasPrivateKey: false,
    hasEnableSecret: false,
    state: "trusted",
  }).execute();
  return credentialId;
}

/** Devices with a pinned key and a configuration of 25 kB that the next backup will find unchanged. */
async function insertDevices(
  db: Kysely<Database>,
  { siteIds, devicesPerSite, credentialId }: {
    siteIds: readonly SiteId[];
    devicesPerSite: number;
    credentialId: CredentialId;
  },
): Promise<void> {
  const digest = Sha256.parse("a1".repeat(32));
  const fingerprint = `SHA256:${"a".repeat(43)}`;
  await sql`
    insert into devices (id, site_id, name, host, platform, credential_id)
    select gen_random_uuid(), s.id, 'device-' || n, 'device-' || n || '.test', 'frr', ${credentialId}
    from unnest(${[...siteIds]}::uuid[]) as s(id), generate_series(1, ${devicesPerSite}::int) n`
    .execute(db);
  await sql`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source)
    select gen_random_uuid(), site_id, id, 'ssh-ed25519', ${fingerprint}, 'accepted', 'first_use'
    from devices`.execute(db);
  await sql`
    with made as (
      insert into revisions (id, site_id, device_id, capture, platform, number, state, raw_sha256,
        normalised_sha256, normaliser_version, grade, bytes, lines, backup_id)
      select gen_random_uuid(), site_id, id, 'running', 'frr', 1, 'accepted', ${digest}, ${digest},
        1, 'marker', 25000, 1000, gen_random_uuid() from devices
      returning id, site_id, device_id
    )
    insert into current_texts (device_id, capture, site_id, revision_id, text)
    select device_id, 'running', site_id, id, '!' from made`.execute(db);
}

/** Puts a job for every device of the sites into the queue, as a schedule would; devices that have one keep it. */
export async function enqueueAll(db: Kysely<Database>, siteIds: readonly SiteId[]): Promise<void> {
  const waiting = [...siteIds];
  const work = async () => {
    for (let siteId = waiting.pop(); siteId; siteId = waiting.pop()) await enqueueSite(db, siteId);
  };
  await Promise.all(Array.from({ length: SITES_AT_ONCE }, work));
}

async function enqueueSite(db: Kysely<Database>, siteId: SiteId): Promise<void> {
  const devices = await db.selectFrom("devices").select("id").where("siteId", "=", siteId)
    .execute();
  await inTransaction(db, (tx) =>
    enqueueJobs(tx, {
      siteId,
      deviceIds: devices.map(({ id }) => id),
      kind: "backup_config",
      payload: { captures: [] },
      urgency: "normal",
      priority: 0,
    }));
}
