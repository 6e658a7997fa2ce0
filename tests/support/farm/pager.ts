import type { Terminal } from "./terminal.ts";

export interface PagerOptions {
  /** Lines per page; 0 sends everything at once. */
  readonly lines: number;
  /** How the pager's text is wiped out before the next line: IOS with backspaces, others with blanks. */
  readonly erase: "backspaces" | "blanks";
  /** Begins again at the top for ever. */
  readonly endless: boolean;
}

const QUESTION = " --More-- ";

/** Shows text page by page: blank goes a page on, Enter a line, `q` stops. */
export async function showPaged(
  terminal: Terminal,
  text: string,
  { lines, erase, endless }: PagerOptions,
): Promise<void> {
  if (lines === 0 && !endless) return await terminal.write(text);
  const pageLines = lines === 0 ? 24 : lines;
  const all = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  let at = 0;
  let next = pageLines - 1;
  for (;;) {
    await terminal.write(all.slice(at, at + next).join(""));
    at += next;
    if (at >= all.length) {
      if (!endless) return;
      at = 0;
    }
    await terminal.write(QUESTION);
    const key = await terminal.readKey();
    await terminal.write(wipe(erase));
    if (key === "q" && !endless) return;
    next = key === "\r" || key === "\n" ? 1 : pageLines - 1;
  }
}

function wipe(erase: PagerOptions["erase"]): string {
  const width = QUESTION.length;
  if (erase === "blanks") return `\r${" ".repeat(width)}\r`;
  return "\b".repeat(width) + " ".repeat(width) + "\b".repeat(width);
}
