import { parse } from "csv-parse/sync";
import { stringify } from "csv-stringify/sync";

/**
 * What a spreadsheet would run (OWASP, CSV injection), with whatever apostrophes stand before it: one more makes it text,
 * and one less is what it was, so that nothing is lost on the way there and back.
 */
const FORMULA = /^'*[=+\-@\t\r]/;
const GUARDED = /^'+[=+\-@\t\r]/;

/** Lines of CSV (RFC 4180) that no spreadsheet takes for formulas. */
export function writeCsv(rows: readonly (readonly string[])[]): string {
  const guarded = rows.map((row) => row.map((cell) => FORMULA.test(cell) ? `'${cell}` : cell));
  return stringify(guarded, { record_delimiter: "windows" });
}

/** A cell as it was before `writeCsv`. */
export function unguardCell(cell: string): string {
  return GUARDED.test(cell) ? cell.slice(1) : cell;
}

/** Tags in one cell: a line of CSV by itself, so that a tag may have a comma. */
export function writeTags(tags: readonly string[]): string {
  return stringify([[...tags]], { record_delimiter: "", eof: false });
}

/** The tags of a cell; undefined when its quotation marks do not fit. */
export function readTags(cell: string): string[] | undefined {
  try {
    const lines: string[][] = parse(cell, { trim: true, relax_column_count: true });
    return lines.flat().filter((tag) => tag !== "");
  } catch {
    return undefined;
  }
}
