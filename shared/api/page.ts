import { z } from "zod";

/** Text that people type: no control characters, no leading or trailing blanks, at most `max` characters. */
export function text(max: number) {
  return z.string().trim().max(max).regex(
    // deno-lint-ignore no-control-regex -- refusing them is what it is for
    /^[^\u0000-\u001f\u007f]*$/,
    "must not contain control characters",
  ).refine(isWhole, BROKEN_TEXT);
}

/** What to say of a text that is not `isWhole`. */
export const BROKEN_TEXT = "must be whole Unicode characters, not half of a surrogate pair";

/** JSON can spell half of a surrogate pair (`"\ud800"`), which is no character and which no database keeps. */
export function isWhole(value: string): boolean {
  return value.isWellFormed();
}

/** The name of something: one to a hundred characters. */
export const Name = text(100).min(1, "must not be empty").meta({ example: "oslo-core-1" });

/** How a list is paged: by a cursor that the page before gave, never by offset. */
export const Page = z.strictObject({
  limit: z.coerce.number<number>().int().min(1).max(500).default(100)
    .describe("How many there are on a page"),
  cursor: z.string().max(500).optional()
    .describe("The `nextCursor` of the page before; absent for the first page"),
});
export type Page = z.infer<typeof Page>;

/** One page of a list; no `nextCursor` means that it was the last. */
export function listOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() });
}

/** Some of these names, with commas between them: `state=available,leased`. */
export function someOf<const Names extends Readonly<Record<string, string>>>(
  choice: z.ZodEnum<Names>,
) {
  return z.string().max(1_000).transform((names) => [...new Set(names.split(","))])
    .pipe(z.array(choice));
}
