import type { z } from "zod";
import { ProblemError } from "@rookery/shared/problem.ts";

/** One page of a list as the wire has it. */
export interface PageOf<Item> {
  readonly items: Item[];
  readonly nextCursor: string | null;
}

/**
 * Cuts a page out of rows that were read with `limit + 1`; the cursor is the position of the last row that is shown,
 * so rows that come or go meanwhile shift nothing.
 */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  limit: number,
  read: { readonly item: (row: Row) => Item; readonly position: (row: Row) => unknown },
): PageOf<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(read.item),
    nextCursor: rows.length > limit && last !== undefined ? writeCursor(read.position(last)) : null,
  };
}

/** The position in a cursor of ours; undefined at the first page. Anything else is a refused `?cursor`. */
export function readCursor<Position extends z.ZodType>(
  cursor: string | undefined,
  position: Position,
): z.output<Position> | undefined {
  if (cursor === undefined) return undefined;
  const parsed = position.safeParse(decode(cursor));
  if (parsed.success) return parsed.data;
  throw new ProblemError("validation", "?cursor: must be a nextCursor of this list", {
    errors: [{ detail: "must be a nextCursor of this list", pointer: "?cursor" }],
  });
}

/** A cursor of this position, which `readCursor` reads again. */
export function writeCursor(position: unknown): string {
  return new TextEncoder().encode(JSON.stringify(position))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}

function decode(cursor: string): unknown {
  try {
    const bytes = Uint8Array.fromBase64(cursor, { alphabet: "base64url" });
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
