/**
 * The form of a backup of Rookery: gzip of lines of JSON, between which stand the rows of each table as PostgreSQL's COPY
 * writes them, in pieces whose length the line before says. The last line counts and digests all of it: a file without it
 * was cut off.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { Instant, Sha256 } from "@rookery/shared/ids.ts";

/** The first line. */
export const ArchiveHead = z.strictObject({
  format: z.literal("rookery-backup"),
  version: z.literal(1),
  createdAt: Instant,
  installationId: z.uuid(),
  incarnation: z.int(),
  /** Which migrations the tables are the work of. */
  migrations: z.array(z.strictObject({ name: z.string(), sha256: z.string() })).min(1),
});
export type ArchiveHead = z.infer<typeof ArchiveHead>;

const Count = z.strictObject({ rows: z.int().min(0), sha256: Sha256 });
type Count = z.infer<typeof Count>;

const TableLine = z.strictObject({ table: z.string(), columns: z.array(z.string()).min(1) });
const PieceLine = z.strictObject({ bytes: z.int().min(1).max(1 << 28) });
const EndLine = z.strictObject({ end: Count });
/** The last line. */
const Manifest = z.strictObject({
  tables: z.record(z.string(), Count),
  /** Of every byte before this line, unpacked. */
  sha256: Sha256,
});

export type ArchivedTable = z.infer<typeof TableLine>;
type Bytes = Uint8Array<ArrayBuffer>;

const PIECE_BYTES = 65_536;
const NEWLINE = 10;

/** The file is no backup, or not whole; says what to do. */
export class ArchiveError extends Error {
  override readonly name = "ArchiveError";
}

export interface TableToWrite extends ArchivedTable {
  /** COPY's text. */
  readonly rows: () => Promise<AsyncIterable<Uint8Array>>;
}

/** The bytes of an archive, unpacked; tables are asked for one by one. */
export async function* writeArchive(
  head: ArchiveHead,
  tables: Iterable<TableToWrite>,
): AsyncGenerator<Bytes> {
  const whole = createHash("sha256");
  const counts: Record<string, Count> = {};
  const told = (bytes: Bytes) => {
    whole.update(bytes);
    return bytes;
  };
  yield told(lineOf(head));
  for (const { table, columns, rows } of tables) {
    yield told(lineOf({ table, columns }));
    const tally = new Tally();
    for await (const piece of inPieces(await rows())) {
      tally.add(piece);
      yield told(lineOf({ bytes: piece.length }));
      yield told(piece);
    }
    counts[table] = tally.count();
    yield told(lineOf({ end: counts[table] }));
  }
  yield lineOf({ tables: counts, sha256: Sha256.parse(whole.digest("hex")) });
}

/** Reads an archive from its first line to its last; throws an ArchiveError where it is not as it was written. */
export class ArchiveReader {
  readonly #bytes: ByteReader;
  readonly #counts: Record<string, Count> = {};

  constructor(unpacked: AsyncIterable<Uint8Array>) {
    this.#bytes = new ByteReader(unpacked);
  }

  async readHead(): Promise<ArchiveHead> {
    return await this.#readLine(ArchiveHead, "it is no backup of Rookery, or of a newer one");
  }

  /** The next table; undefined behind the last one, when everything read so far was as it was written. */
  async nextTable(): Promise<ArchivedTable | undefined> {
    const before = this.#bytes.sha256();
    const line = await this.#readLine(z.union([TableLine, Manifest]));
    if ("table" in line) return line;
    const isWhole = line.sha256 === before &&
      JSON.stringify(line.tables) === JSON.stringify(this.#counts);
    if (!isWhole) throw damaged("its digests do not fit");
    if (!await this.#bytes.isAtEnd()) throw damaged("there is more behind its end");
    return undefined;
  }

  /** The rows of the table that was read last; read them to their end. */
  async *rowsOf({ table }: ArchivedTable): AsyncGenerator<Bytes> {
    const tally = new Tally();
    for (;;) {
      const line = await this.#readLine(z.union([PieceLine, EndLine]));
      if ("bytes" in line) {
        const piece = await this.#bytes.read(line.bytes);
        tally.add(piece);
        yield piece;
        continue;
      }
      const { rows, sha256 } = tally.count();
      if (line.end.rows !== rows || line.end.sha256 !== sha256) {
        throw damaged(`the rows of ${table} do not fit their digest`);
      }
      this.#counts[table] = line.end;
      return;
    }
  }

  async #readLine<Schema extends z.ZodType>(
    schema: Schema,
    otherwise = "a line of it is damaged",
  ): Promise<z.output<Schema>> {
    const line = await this.#bytes.readLine();
    try {
      return schema.parse(JSON.parse(new TextDecoder().decode(line)));
    } catch (cause) {
      throw damaged(otherwise, cause);
    }
  }
}

/** Rows of COPY's text: one line each, whose own line breaks are escaped. */
class Tally {
  readonly #hash = createHash("sha256");
  #rows = 0;

  add(piece: Uint8Array): void {
    this.#hash.update(piece);
    for (let at = piece.indexOf(NEWLINE); at >= 0; at = piece.indexOf(NEWLINE, at + 1)) {
      this.#rows++;
    }
  }

  count(): Count {
    return { rows: this.#rows, sha256: Sha256.parse(this.#hash.digest("hex")) };
  }
}

/** Bytes by the line and by the length, and the digest of all that were taken. */
class ByteReader {
  readonly #from: AsyncIterator<Uint8Array>;
  readonly #hash = createHash("sha256");
  #rest: Uint8Array = new Uint8Array();

  constructor(from: AsyncIterable<Uint8Array>) {
    this.#from = from[Symbol.asyncIterator]();
  }

  sha256(): string {
    return this.#hash.copy().digest("hex");
  }

  async readLine(): Promise<Bytes> {
    const parts: Uint8Array[] = [];
    for (;;) {
      const end = this.#rest.indexOf(NEWLINE);
      if (end >= 0) return this.#join([...parts, this.#take(end + 1)]);
      parts.push(this.#take(this.#rest.length));
      if (!await this.#more()) throw damaged("it was cut off");
    }
  }

  async read(length: number): Promise<Bytes> {
    const parts: Uint8Array[] = [];
    for (let missing = length; missing > 0;) {
      if (this.#rest.length === 0 && !await this.#more()) throw damaged("it was cut off");
      const part = this.#take(Math.min(missing, this.#rest.length));
      missing -= part.length;
      parts.push(part);
    }
    return this.#join(parts);
  }

  async isAtEnd(): Promise<boolean> {
    while (this.#rest.length === 0) {
      if (!await this.#more()) return true;
    }
    return false;
  }

  async #more(): Promise<boolean> {
    try {
      const { done, value } = await this.#from.next();
      if (!done) this.#rest = value;
      return !done;
    } catch (cause) {
      throw damaged("it was cut off, or is no gzip", cause);
    }
  }

  #take(length: number): Uint8Array {
    const taken = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(length);
    return taken;
  }

  #join(parts: readonly Uint8Array[]): Bytes {
    const bytes = joined(parts);
    this.#hash.update(bytes);
    return bytes;
  }
}

/** COPY sends each row by itself; a piece is some kilobytes. */
async function* inPieces(rows: AsyncIterable<Uint8Array>): AsyncGenerator<Bytes> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const row of rows) {
    parts.push(row);
    length += row.length;
    if (length < PIECE_BYTES) continue;
    yield joined(parts);
    [parts, length] = [[], 0];
  }
  if (length > 0) yield joined(parts);
}

function joined(parts: readonly Uint8Array[]): Bytes {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function lineOf(value: unknown): Bytes {
  return new TextEncoder().encode(`${JSON.stringify(value)}\n`);
}

function damaged(what: string, cause?: unknown): ArchiveError {
  return new ArchiveError(`Cannot use this backup: ${what}. Take another copy of it.`, { cause });
}
