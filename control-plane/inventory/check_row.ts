import { z } from "zod";
import { DeviceFields } from "@rookery/shared/api/devices.ts";
import { Name } from "@rookery/shared/api/page.ts";
import type { InventoryColumn } from "@rookery/shared/api/inventory.ts";
import { fieldErrors } from "@rookery/shared/field_errors.ts";
import type { CredentialId, SiteId } from "@rookery/shared/ids.ts";
import type { FieldError } from "@rookery/shared/problem.ts";
import type { GivenRow } from "./read_rows.ts";

const Row = z.strictObject(
  {
    name: DeviceFields.name,
    address: DeviceFields.host,
    port: DeviceFields.port,
    platform: DeviceFields.platform,
    site: Name,
    tags: DeviceFields.tags,
    credential: Name.nullable(),
  } satisfies Record<InventoryColumn, z.ZodType>,
).partial();

/** A row whose fields are all of their form, with the site and the credential that it names. */
export interface CheckedRow {
  readonly number: number;
  readonly siteId: SiteId;
  readonly name: string | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly platform: string | undefined;
  readonly tags: readonly string[] | undefined;
  /** Tags beside those that the device has. */
  readonly addTags: readonly string[] | undefined;
  readonly credentialId: CredentialId | null | undefined;
}

/** A row that is refused. Name and address are there if nothing is wrong with them: a slip may have put a secret there. */
export interface RefusedRow {
  readonly number: number;
  readonly siteId: SiteId | null;
  readonly name: string | null;
  readonly host: string | null;
  readonly errors: readonly FieldError[];
}

/** What rows may name: sites and credentials of the tenant that the caller sees, by their names in small letters. */
export interface KnownNames {
  readonly sites: ReadonlyMap<string, SiteId>;
  readonly credentials: ReadonlyMap<string, CredentialId>;
  /** Of rows that name no site. */
  readonly siteId: SiteId | undefined;
  /** The credentials that rows bring with them, by the number of the row. */
  readonly logins?: ReadonlyMap<number, { readonly credentialId: CredentialId }>;
}

export function checkRow(given: GivenRow, known: KnownNames): CheckedRow | RefusedRow {
  const { number, fields } = given;
  if (given.errors) {
    return { number, siteId: siteOf(fields, known), ...shownOf(fields), errors: given.errors };
  }
  const parsed = Row.safeParse(fields);
  if (!parsed.success) {
    return { number, siteId: null, ...shownOf(fields), errors: errorsOf(parsed) };
  }
  const { address: host, site, credential, ...row } = parsed.data;
  const siteId = site === undefined ? known.siteId : known.sites.get(site.toLowerCase());
  const isNamed = typeof credential === "string";
  const credentialId = !isNamed
    ? known.logins?.get(number)?.credentialId ?? credential
    : known.credentials.get(credential.toLowerCase());
  const errors = [
    ...(siteId ? [] : [siteError(site)]),
    ...(isNamed && credentialId === undefined ? [NO_CREDENTIAL] : []),
    ...(host === undefined && row.name === undefined ? [NOBODY] : []),
  ];
  if (siteId === undefined || errors.length > 0) {
    return { number, siteId: siteId ?? null, name: row.name ?? null, host: host ?? null, errors };
  }
  const { name, port, platform, tags } = row;
  const { addTags } = given;
  return { number, siteId, name, host, port, platform, tags, addTags, credentialId };
}

const NO_CREDENTIAL = {
  pointer: "#/credential",
  detail: "is no credential of the tenant that you may see",
};
const NOBODY = { pointer: "#/address", detail: "is required" };

function siteError(site: string | undefined): FieldError {
  const detail = site === undefined
    ? "is required, here or as siteId for all rows"
    : "is no site of the tenant that you may change";
  return { pointer: "#/site", detail };
}

/** The site of a row that is refused for something else: it counts as one of that site. */
function siteOf(fields: unknown, known: KnownNames): SiteId | null {
  const { data } = z.object({ site: Name }).safeParse(fields);
  return (data ? known.sites.get(data.site.toLowerCase()) : known.siteId) ?? null;
}

function errorsOf({ error }: { error: z.core.$ZodError }): FieldError[] {
  return fieldErrors(error, "body").slice(0, 10).map(({ pointer, detail }) => ({
    // Names of unknown fields come from the file, and JSON can spell what no database keeps.
    pointer: pointer.slice(0, 200).toWellFormed().replaceAll("\0", "\ufffd"),
    detail,
  }));
}

function shownOf(fields: unknown): { name: string | null; host: string | null } {
  const given = z.object({ name: z.unknown(), address: z.unknown() }).partial().safeParse(fields);
  const name = Row.shape.name.safeParse(given.data?.name);
  const host = Row.shape.address.safeParse(given.data?.address);
  return { name: name.data ?? null, host: host.data ?? null };
}
