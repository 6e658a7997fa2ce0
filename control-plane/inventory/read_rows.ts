/** Files of devices as rows that all look alike, whatever the format. */
import { CsvError, parse } from "csv-parse/sync";
import { INVENTORY_COLUMNS, type InventoryColumn } from "@rookery/shared/api/inventory.ts";
import { type ImportFormat, MOST_ROWS, type OxidizedColumn } from "@rookery/shared/api/imports.ts";
import { type FieldError, ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { readTags, unguardCell } from "./csv.ts";
import { readPaste } from "./read_paste.ts";
import { readOxidized, readRancid } from "./read_router_db.ts";

/** A row as it was written: not checked yet. */
export interface GivenRow {
  /** The line in the file, or the place in the list, from 1. */
  readonly number: number;
  readonly fields: unknown;
  /** To be sealed, and shown to nobody. */
  readonly login?: Login;
  /** Tags beside those that the device has. */
  readonly addTags?: readonly string[];
  /** Why it cannot be taken at all. */
  readonly errors?: readonly FieldError[];
}

/** What a device is logged in to with. */
export interface Login {
  readonly username: string;
  readonly password: string;
  readonly enableSecret?: string;
}

export interface GivenFile {
  readonly rows: readonly GivenRow[];
  readonly ignoredColumns: readonly string[];
}

export interface FileOptions {
  readonly columns?: readonly OxidizedColumn[] | undefined;
}

type Reader = (text: string, options: FileOptions) => GivenFile;

const READERS: Readonly<Record<ImportFormat, Reader>> = {
  csv: readCsv,
  json: readJson,
  paste: readPaste,
  oxidized: readOxidized,
  rancid: readRancid,
};

/** Reads a file; refuses one that is none of its format, and one with too many rows. */
export function readFile(
  { format, text, ...options }: FileOptions & { format: ImportFormat; text: string },
): GivenFile {
  const file = READERS[format](text, options);
  if (file.rows.length > MOST_ROWS) throw refused(`has more than ${MOST_ROWS} rows: split it`);
  if (file.rows.length === 0) throw refused("has no rows");
  return file;
}

function readCsv(text: string): GivenFile {
  const [header, ...records] = parseCsv(text);
  const names = (header?.record ?? []).map((name) => name.toLowerCase());
  const columns = INVENTORY_COLUMNS.map((column) => [column, names.indexOf(column)] as const);
  if (!names.includes("address")) {
    throw refused(`must begin with a line that names its columns: ${INVENTORY_COLUMNS.join(", ")}`);
  }
  const ignoredColumns = names.filter((name) => name !== "" && !isColumn(name)).slice(0, 50);
  const rows = records.map(({ record, info }) => {
    const cells = columns.map(([column, at]) => [column, unguardCell(record[at] ?? "")] as const);
    return { number: info.lines, fields: fieldsOf(new Map(cells)) };
  });
  return { rows, ignoredColumns: ignoredColumns.map((name) => name.slice(0, 100)) };
}

function isColumn(name: string): name is InventoryColumn {
  return INVENTORY_COLUMNS.some((column) => column === name);
}

interface CsvLine {
  readonly record: string[];
  readonly info: { readonly lines: number };
}

function parseCsv(text: string): CsvLine[] {
  const [header = ""] = text.split("\n", 1);
  const delimiter = [",", ";", "\t"].find((mark) => header.includes(mark)) ?? ",";
  const options = { bom: true, skip_empty_lines: true, trim: true, relax_column_count: true };
  try {
    return parse(text, { ...options, delimiter, info: true }) as unknown as CsvLine[];
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // Not in the words of the library, which repeat what stands there.
    const line = "lines" in error ? ` at line ${error.lines}` : "";
    throw refused(`is no CSV${line}: its quotation marks do not fit`);
  }
}

/** The cells of a line as JSON would have them; an empty one says nothing. */
function fieldsOf(cells: ReadonlyMap<InventoryColumn, string>): Record<string, unknown> {
  const given = [...cells].filter(([, cell]) => cell !== "");
  return Object.fromEntries(given.map(([column, cell]) => [column, valueOf(column, cell)]));
}

function valueOf(column: InventoryColumn, cell: string): unknown {
  if (column === "port" && /^\d{1,5}$/.test(cell)) return Number(cell);
  // What is no list is refused as a tag: no tag has a quotation mark.
  if (column === "tags") return readTags(cell) ?? [cell];
  return cell;
}

function readJson(text: string): GivenFile {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw refused("is no JSON");
  }
  if (!Array.isArray(list)) throw refused("must be a JSON list of objects");
  const rows = list.map((fields: unknown, index) => ({ number: index + 1, fields }));
  return { rows, ignoredColumns: [] };
}

function refused(detail: string): ProblemError {
  return refusedField("#/text", detail);
}
