import { z } from "zod";
import { Name } from "./page.ts";

/** The longest name of a tag. */
const MOST_CHARACTERS = 50;
/** How many tags a device may have. */
const MOST_TAGS = 50;

/** The name of a tag: without quotation marks, which an expression puts around names with blanks in them. */
export const Tag = Name.max(MOST_CHARACTERS, `must have at most ${MOST_CHARACTERS} characters`)
  .regex(/^[^"]*$/, 'must not contain "')
  .meta({ id: "Tag", example: "core" });

/** The tags of a device, each once: large and small letters make no difference. */
export const Tags = z.array(Tag).max(MOST_TAGS).overwrite(onlyOnce).meta({ example: ["core"] });

function onlyOnce(tags: readonly string[]): string[] {
  const folded = tags.map((tag) => tag.toLowerCase());
  return tags.filter((_, index) => folded.indexOf(folded[index] ?? "") === index);
}
