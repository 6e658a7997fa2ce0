import { type RawBuilder, sql } from "kysely";
import { matches, type Sought } from "./search_order.ts";

/** What of a text is shown. */
export interface Excerpt {
  /** Lines that are what was looked for. */
  readonly hits: number;
  /** The first ones of them with the lines around; null when there is none. */
  readonly lines:
    | { readonly number: number; readonly text: string; readonly hit: boolean }[]
    | null;
}

const MOST_HITS = 20;
const MOST_CHARACTERS = 500;

/** A subquery with the columns of an Excerpt of a text, in which every line ends with a line feed. */
export function excerptOf(
  text: string,
  { context, ...sought }: Sought & { readonly context: number },
): RawBuilder<Excerpt> {
  return sql<Excerpt>`(
    with l as materialized (
      select n::int, line, ${matches("line", sought)} as hit
      from string_to_table(left(${sql.ref(text)}, -1), chr(10)) with ordinality as split(line, n)
    ), h as (
      select n from l where hit order by n limit ${MOST_HITS}
    )
    select (select count(*)::int from l where hit) as hits, (
      select jsonb_agg(jsonb_build_object('number', n, 'text', left(line, ${MOST_CHARACTERS}),
        'hit', hit) order by n)
      from l where n in (
        select generate_series(h.n - ${context}::int, h.n + ${context}::int) from h)
    ) as lines)`;
}
