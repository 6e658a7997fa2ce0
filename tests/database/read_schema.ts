/** A small, strict reader of `control-plane/database/schema.ts`: what it does not understand is an error. */

/** What a column's TypeScript says about it. */
export interface ColumnFacts {
  readonly nullable: boolean;
  /** May be left out of an insert. */
  readonly generated: boolean;
}

/** Table → column → facts, in snake_case. */
export type TableColumns = ReadonlyMap<string, ReadonlyMap<string, ColumnFacts>>;

/** The interfaces of the file that `Database` lists. */
export interface SchemaText {
  readonly tables: TableColumns;
  /** `table.column` → the TypeScript type, without `Generated<>` and `| null`. */
  readonly types: ReadonlyMap<string, string>;
}

/** Reads the text of schema.ts. */
export function readSchema(text: string): SchemaText {
  const interfaces = readInterfaces(text);
  const database = interfaces.get("Database");
  if (!database) throw new Error("Cannot read schema.ts: there is no interface Database");
  const tables = new Map<string, ReadonlyMap<string, ColumnFacts>>();
  const types = new Map<string, string>();
  for (const [name, interfaceName] of database) {
    const columns = interfaces.get(interfaceName);
    if (!columns) throw new Error(`Cannot read schema.ts: there is no interface ${interfaceName}`);
    const table = toSnakeCase(name);
    const facts = new Map<string, ColumnFacts>();
    for (const [column, type] of columns) {
      const { inner, ...rest } = unwrap(type);
      facts.set(toSnakeCase(column), rest);
      types.set(`${table}.${toSnakeCase(column)}`, inner);
    }
    tables.set(table, facts);
  }
  return { tables, types };
}

const INTERFACE = /^export interface (\w+) \{\n([\s\S]*?)^\}/gm;
const PROPERTY = /^(\w+): ([^{}]+)$/;

/** Interface → property → type. A property ends with a semicolon and may stand on several lines. */
function readInterfaces(text: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const withoutComments = text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/\/\/.*$/gm, "");
  const interfaces = new Map<string, ReadonlyMap<string, string>>();
  for (const [, name = "", body = ""] of withoutComments.matchAll(INTERFACE)) {
    const properties = new Map<string, string>();
    for (const part of body.split(/;\n/).map((line) => line.trim()).filter(Boolean)) {
      const [, property, type] = PROPERTY.exec(part) ?? [];
      if (!property || !type) throw new Error(`Cannot read the line "${part};" of ${name}`);
      properties.set(property, type.replaceAll(/\s+/g, " ").trim());
    }
    interfaces.set(name, properties);
  }
  return interfaces;
}

function unwrap(type: string): ColumnFacts & { readonly inner: string } {
  const generated = /^Generated<\s*(.*?),?\s*>$/.exec(type);
  const parts = (generated?.[1] ?? type).split(" | ").map((part) => part.trim()).filter(Boolean);
  const inner = parts.filter((part) => part !== "null").join(" | ");
  return { nullable: parts.includes("null"), generated: generated !== null, inner };
}

/** As kysely's CamelCasePlugin names columns: an underscore before each capital. */
export function toSnakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
