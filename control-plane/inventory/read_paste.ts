import { z } from "zod";
import { Secret, Username } from "@rookery/shared/api/credentials.ts";
import { fieldErrors } from "@rookery/shared/field_errors.ts";
import type { GivenFile, GivenRow } from "./read_rows.ts";

/** All after the second comma or tab, and the blanks behind it, is the password. */
const LINE = /^([^,\t]*)(?:[,\t]([^,\t]*)(?:[,\t][ \t]*([^]*))?)?$/;

const LoginFields = z.strictObject({ user: Username, password: Secret });
const Address = z.union([z.ipv4(), z.ipv6()]);

/** A list `address, user, password`; an address by itself has no login. Blank lines and those that begin with # say nothing. */
export function readPaste(text: string): GivenFile {
  const rows = text.split(/\r?\n/).flatMap((line, index) =>
    /^\s*(#|$)/.test(line) ? [] : [readLine(line, index + 1)]
  );
  return { rows, ignoredColumns: [] };
}

function readLine(line: string, number: number): GivenRow {
  const [, address = "", user, password] = LINE.exec(line) ?? [];
  const fields = { address: address.trim() };
  if (user === undefined) return { number, fields };
  const login = { user: user.trim(), password };
  // What stands in another order would put a password where it is shown.
  if ([login.user, login.password].some((field) => Address.safeParse(field).success)) {
    const detail = "must come first: address, user, password";
    return { number, fields: {}, errors: [{ pointer: "#/address", detail }] };
  }
  const parsed = LoginFields.safeParse(login);
  if (!parsed.success) return { number, fields: {}, errors: fieldErrors(parsed.error, "body") };
  return { number, fields, login: { username: parsed.data.user, password: parsed.data.password } };
}
