/** Two texts without what they have in common at both ends. Every part is empty or ends with `\n`. */
export interface DiffFrame {
  /** Equal lines before the difference, as many as the context asks for. */
  readonly head: string;
  readonly removed: string;
  readonly added: string;
  /** Equal lines after the difference. */
  readonly tail: string;
  /** The number, in both texts, of the first line of `head`, or of the difference when there is no head. */
  readonly firstLine: number;
}

/** Finds the difference of two texts whose lines all end with `\n`; by offsets, without cutting them into lines. */
export function frameOf(before: string, after: string, context: number): DiffFrame {
  const head = commonHead(before, after);
  const tail = commonTail(before, after, head);
  const headFrom = linesBack(before, head, context);
  const tailFrom = before.length - tail;
  return {
    head: before.slice(headFrom, head),
    removed: before.slice(head, tailFrom),
    added: after.slice(head, after.length - tail),
    tail: before.slice(tailFrom, linesAhead(before, tailFrom, context)),
    firstLine: countLines(before, headFrom) + 1,
  };
}

/** The text with `\n` after every line, whatever ended them. */
export function terminated(text: string): string {
  const unified = text.includes("\r") ? text.replace(/\r*\n\r*|\r+/g, "\n") : text;
  return unified === "" || unified.endsWith("\n") ? unified : `${unified}\n`;
}

const NEWLINE = 10;

/** The lines up to an offset; a loop over the characters is many times quicker than a search for each. */
export function countLines(text: string, end = text.length): number {
  let lines = 0;
  for (let at = 0; at < end; at++) if (text.charCodeAt(at) === NEWLINE) lines++;
  return lines;
}

/** The lines of a text that is empty or ends with `\n`, one at a time. */
export function* linesIn(text: string): Generator<string> {
  for (let start = 0; start < text.length;) {
    const end = text.indexOf("\n", start);
    yield text.slice(start, end);
    start = end + 1;
  }
}

/** How many characters of whole lines both texts begin with. */
function commonHead(before: string, after: string): number {
  const shorter = Math.min(before.length, after.length);
  let at = 0;
  while (at < shorter && before.charCodeAt(at) === after.charCodeAt(at)) at++;
  return at === 0 ? 0 : before.lastIndexOf("\n", at - 1) + 1;
}

/** How many characters of whole lines both texts end with, not counting their common head. */
function commonTail(before: string, after: string, head: number): number {
  const most = Math.min(before.length, after.length) - head;
  const at = (text: string, back: number) => text.charCodeAt(text.length - 1 - back);
  let back = 0;
  while (back < most && at(before, back) === at(after, back)) back++;
  const start = before.length - back;
  if (startsLine(before, start) && startsLine(after, after.length - back)) return back;
  return before.length - (before.indexOf("\n", start) + 1);
}

function startsLine(text: string, at: number): boolean {
  return at === 0 || text.charCodeAt(at - 1) === NEWLINE;
}

/** The start of the line that is so many lines before the one that starts at `at`, or of the text. */
function linesBack(text: string, at: number, lines: number): number {
  let start = at;
  for (let n = 0; n < lines && start > 0; n++) {
    start = start < 2 ? 0 : text.lastIndexOf("\n", start - 2) + 1;
  }
  return start;
}

/** The end of the line that is so many lines after `at`, or of the text. */
function linesAhead(text: string, at: number, lines: number): number {
  let end = at;
  for (let n = 0; n < lines && end < text.length; n++) end = text.indexOf("\n", end) + 1;
  return end;
}
