/** What a structural check found: `closed` when the text ends on the line that closes its structure. */
export interface Structure {
  readonly closed: boolean;
  /** Why not, in words that fit after a colon. */
  readonly detail: string;
}

const CLOSED: Structure = { closed: true, detail: "" };

function open(detail: string): Structure {
  return { closed: false, detail };
}

/**
 * Braces of a Junos-like text: outside of quotes and comments they balance, and the last line closes one.
 * One pass, one step per character.
 */
export function checkBraces(lines: readonly string[]): Structure {
  let depth = 0;
  let inComment = false;
  for (const [index, line] of lines.entries()) {
    const found = bracesOf(line, inComment);
    if (depth + found.lowest < 0) {
      return open(`line ${index + 1} closes a brace that was never opened`);
    }
    depth += found.sum;
    inComment = found.inComment;
  }
  if (inComment) return open("a comment is still open at the end");
  if (depth > 0) return open(`${depth} of its braces are still open at the end`);
  const last = lines.findLast((line) => line.trim() !== "") ?? "";
  return last.trim() === "}" ? CLOSED : open("its last line closes no brace");
}

interface Braces {
  readonly sum: number;
  readonly lowest: number;
  readonly inComment: boolean;
}

/**
 * Strings end with their line; block comments may go on in the next one. A comment begins a line or stands
 * behind a blank or a sign: a wildcard such as `<xe-0/0/*>` opens none.
 */
function bracesOf(line: string, startsInComment: boolean): Braces {
  let place: "code" | "string" | "comment" = startsInComment ? "comment" : "code";
  let sum = 0;
  let lowest = 0;
  for (let at = 0; at < line.length; at++) {
    const sign = line[at];
    if (place === "comment") {
      if (sign === "*" && line[at + 1] === "/") [place, at] = ["code", at + 1];
    } else if (place === "string") {
      if (sign === "\\") at++;
      else if (sign === '"') place = "code";
    } else if (sign === "#") break;
    else if (sign === '"') place = "string";
    else if (sign === "/" && line[at + 1] === "*" && !/[^\s{};]/.test(line[at - 1] ?? " ")) {
      [place, at] = ["comment", at + 1];
    } else if (sign === "{") sum++;
    else if (sign === "}") lowest = Math.min(lowest, --sum);
  }
  return { sum, lowest, inComment: place === "comment" };
}

/** How the parts of an XML text that are no elements begin and end; `<!` covers the document type. */
const NO_ELEMENTS = [["<!--", "-->"], ["<![CDATA[", "]]>"], ["<?", "?>"], ["<!", ">"]] as const;

/** Elements of an XML text: all are closed, there is one root, and nothing follows its end. */
export function checkXml(text: string): Structure {
  const names: string[] = [];
  let roots = 0;
  let at = 0;
  for (let start = text.indexOf("<"); start >= 0; start = text.indexOf("<", at)) {
    const other = NO_ELEMENTS.find(([begin]) => text.startsWith(begin, start));
    const close = other ? other[1] : ">";
    const end = text.indexOf(close, start + (other ? other[0].length : 1));
    if (end < 0) return open("it ends within a tag or a comment");
    at = end + close.length;
    if (other) continue;
    if (names.length === 0) roots++;
    const wrong = enter(names, text.slice(start + 1, end));
    if (wrong) return open(wrong);
  }
  if (names.length > 0) return open(`<${names.at(-1)}> is still open at the end`);
  if (roots !== 1) return open(`it has ${roots} root elements`);
  return text.slice(at).trim() === "" ? CLOSED : open("text follows the end of the root element");
}

/** Opens or closes the element of a tag on the stack of names; says what is wrong with it. */
function enter(names: string[], tag: string): string | undefined {
  const name = /^\/?([^\s\/]*)/.exec(tag)?.[1] ?? "";
  if (tag.startsWith("/")) return names.pop() === name ? undefined : `</${name}> closes nothing`;
  if (!tag.endsWith("/")) names.push(name);
  return undefined;
}
