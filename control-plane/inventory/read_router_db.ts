/** The device lists of Oxidized and RANCID: both are a router.db, and they have little more in common. */
import { parse } from "csv-parse/sync";
import { z } from "zod";
import { Secret, Username } from "@rookery/shared/api/credentials.ts";
import type { OxidizedColumn } from "@rookery/shared/api/imports.ts";
import { fieldErrors } from "@rookery/shared/field_errors.ts";
import type { FieldError } from "@rookery/shared/problem.ts";
import { OXIDIZED_MODELS, RANCID_TYPES } from "./foreign_models.ts";
import type { GivenFile, GivenRow, Login } from "./read_rows.ts";

const DEFAULT_COLUMNS: readonly OxidizedColumn[] = ["name", "model"];

/** Oxidized's source csv (docs/Sources.md): which columns there are stands in its configuration, so it has to be told. */
export function readOxidized(
  text: string,
  { columns = DEFAULT_COLUMNS }: { readonly columns?: readonly OxidizedColumn[] | undefined },
): GivenFile {
  const delimiter = [":", ";", ",", "|", "\t"].find((mark) => {
    return firstLine(text).split(mark).length === columns.length;
  });
  const rows = parseLines(text, delimiter ?? ":").map(({ record, info: { lines: number } }) =>
    record.length > columns.length
      // What is not named may be a password.
      ? refuse(number, { pointer: "#/columns", detail: tooMany(record.length, columns.length) })
      : readNode(number, new Map(columns.map((column, index) => [column, record[index] ?? ""])))
  );
  return { rows, ignoredColumns: [] };
}

function tooMany(fields: number, columns: number): string {
  return `the line has ${fields} fields and columns names ${columns}: name each, or ignore it`;
}

function readNode(number: number, cells: ReadonlyMap<OxidizedColumn, string>): GivenRow {
  const { name = "", ip = "", model = "", port = "", ...secrets } = Object.fromEntries(cells);
  const fields = {
    name: name || undefined,
    address: ip || name,
    platform: OXIDIZED_MODELS.get(model.toLowerCase()),
    port: port === "" ? undefined : /^\d{1,5}$/.test(port) ? Number(port) : port,
  };
  const given = { number, fields: withoutGaps(fields) };
  if (model !== "" && !fields.platform) return { ...given, errors: [unknownModel(model)] };
  return { ...given, ...readLogin(secrets) };
}

const LoginFields = z.strictObject({
  username: Username,
  password: Secret,
  enable: Secret.optional(),
});

/** A line without user and password has the login of its group or of all, which stands elsewhere. */
function readLogin(
  { username = "", password = "", enable = "" }: Readonly<Record<string, string>>,
): { readonly login: Login } | { readonly errors: readonly FieldError[] } | undefined {
  if (username === "" && password === "" && enable === "") return undefined;
  const given = { username, password, ...(enable === "" ? {} : { enable }) };
  const parsed = LoginFields.safeParse(given);
  if (!parsed.success) return { errors: fieldErrors(parsed.error, "body") };
  return { login: { username, password, ...(enable === "" ? {} : { enableSecret: enable }) } };
}

/** RANCID (router.db(5)): name, type, state, comments; with semicolons since 3.0, with colons before. */
export function readRancid(text: string): GivenFile {
  const delimiter = firstLine(text).includes(";") ? ";" : ":";
  const rows = parseLines(text, delimiter).map(({ record, info: { lines: number } }) => {
    const [name = "", type = "", state = ""] = record;
    const platform = RANCID_TYPES.get(type.toLowerCase());
    const given = { number, fields: withoutGaps({ name, address: name, platform }) };
    const errors = [
      ...(state.toLowerCase() === "up" ? [] : [NOT_UP]),
      ...(platform === undefined ? [unknownModel(type)] : []),
    ];
    return errors.length > 0 ? { ...given, errors } : given;
  });
  return { rows, ignoredColumns: [] };
}

const NOT_UP = { pointer: "#/state", detail: "is not up: RANCID does not collect it either" };

function unknownModel(model: string): FieldError {
  const named = /^[\w.-]{1,40}$/.test(model) ? `"${model}"` : "its model";
  return { pointer: "#/platform", detail: `${named} is no model with a platform here` };
}

function refuse(number: number, error: FieldError): GivenRow {
  return { number, fields: {}, errors: [error] };
}

function withoutGaps(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function firstLine(text: string): string {
  return text.split(/\r?\n/).find((line) => !/^\s*(#|$)/.test(line)) ?? "";
}

interface Line {
  readonly record: string[];
  readonly info: { readonly lines: number };
}

/** Neither program knows quotation marks; a line that begins with # is a comment. */
function parseLines(text: string, delimiter: string): Line[] {
  const options = { bom: true, skip_empty_lines: true, trim: true, relax_column_count: true };
  const comments = { comment: "#", comment_no_infix: true, quote: false } as const;
  return parse(text, { ...options, ...comments, delimiter, info: true }) as unknown as Line[];
}
