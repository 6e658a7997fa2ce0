/**
 * A terminal of endless width and scrollback that keeps bytes: what a person would see line by line, in the
 * device's own encoding. Text is held as "byte strings", one character (0–255) per byte, so bytes that are no
 * UTF-8 stay what they were. Any chunking of a stream gives the same lines, in linear time.
 */

/** A cell that was erased or skipped: a blank between other cells, nothing at the end of a line. */
const ERASED = "";
/** No terminal is wider than 1,000 columns; longer lines are text and not worth a redraw in full. */
const MAX_EDITABLE = 2_000;
/** Longer control strings (titles, device answers) are cut off; no device sends such. */
const MAX_STRING = 4_096;
/** A prompt, a question or a pager is shorter than this. */
const MAX_TAIL = 1_000;

type State = "text" | "escape" | "csi" | "string" | "string_escape" | "charset";

export class Screen {
  #lines: string[] = [];
  #size = 0;
  #cells: string[] = [];
  #column = 0;
  #state: State = "text";
  #parameters = "";
  #stringLength = 0;
  /** Bytes of a UTF-8 character whose rest has not arrived. */
  #partial = "";
  #missing = 0;
  /** A NUL after a return or a line feed is padding of slow terminals; any other NUL is kept. */
  #afterReturn = false;
  /** Where the text of an answered pager ends, until something is written or erased over it. */
  #pagerEnd: number | undefined;

  /** The finished lines as byte strings, without their newlines. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** The beginning of the unfinished last line. */
  get tail(): string {
    return this.#render(Math.min(this.#cells.length, MAX_TAIL)) + this.#partial;
  }

  /** Characters of the finished lines: cursor movements can make more of them than bytes were sent. */
  get size(): number {
    return this.#size;
  }

  /** Forgets the finished lines; the unfinished one stays. */
  forgetLines(): void {
    this.#lines = [];
    this.#size = 0;
  }

  /** Erases the unfinished line, which is the text of a pager that was answered. */
  erasePager(): void {
    this.#flushPartial();
    this.#cells.fill(ERASED);
    this.#pagerEnd = this.#column;
  }

  feed(bytes: Uint8Array): void {
    for (const byte of bytes) this.#take(byte);
  }

  #take(byte: number): void {
    switch (this.#state) {
      case "text":
        return this.#takeText(byte);
      case "escape":
        return this.#takeEscape(byte);
      case "csi":
        return this.#takeControl(byte);
      case "charset":
        this.#state = "text";
        return;
      default:
        return this.#takeString(byte);
    }
  }

  #takeText(byte: number): void {
    if (byte >= 0x80) return this.#takeHigh(byte);
    this.#flushPartial();
    const padding = byte === 0 && this.#afterReturn;
    this.#afterReturn = padding || byte === 0x0d || byte === 0x0a;
    if (byte >= 0x20 || byte === 0x09) return this.#put(String.fromCharCode(byte));
    if (byte === 0x0a) return this.#endLine();
    if (byte === 0x0d) this.#column = 0;
    else if (byte === 0x08) this.#column = Math.max(0, this.#column - 1);
    else if (byte === 0x1b) this.#state = "escape";
    // Bell and the two character-set shifts show nothing; other control characters belong to the text.
    else if (!padding && byte !== 0x07 && byte !== 0x0e && byte !== 0x0f) {
      this.#put(String.fromCharCode(byte));
    }
  }

  /** One cell per UTF-8 character, so that a backspace erases it whole; one per byte where it is none. */
  #takeHigh(byte: number): void {
    this.#afterReturn = false;
    if (byte < 0xc0 && this.#missing > 0) {
      this.#partial += String.fromCharCode(byte);
      if (--this.#missing > 0) return;
      const character = this.#partial;
      this.#partial = "";
      return this.#put(character);
    }
    this.#flushPartial();
    this.#missing = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc2 ? 1 : 0;
    if (byte >= 0xf5) this.#missing = 0;
    if (this.#missing > 0) this.#partial = String.fromCharCode(byte);
    else this.#put(String.fromCharCode(byte));
  }

  #flushPartial(): void {
    for (const cell of this.#partial) this.#put(cell);
    this.#partial = "";
    this.#missing = 0;
  }

  #put(cell: string): void {
    if (this.#pagerEnd !== undefined) {
      // The device goes on behind its pager without erasing it.
      if (this.#column === this.#pagerEnd) this.#truncate(0);
      this.#pagerEnd = undefined;
    }
    if (this.#column < this.#cells.length) {
      this.#cells[this.#column] = cell === " " ? ERASED : cell;
    } else {
      while (this.#cells.length < this.#column) this.#cells.push(ERASED);
      this.#cells.push(cell);
    }
    this.#column++;
  }

  #truncate(length: number): void {
    this.#cells.length = Math.min(this.#cells.length, length);
    this.#column = Math.min(this.#column, length);
  }

  #endLine(): void {
    // A pager that was only followed by a new line leaves no line behind.
    if (this.#pagerEnd === undefined) {
      const line = this.#render(this.#cells.length);
      this.#lines.push(line);
      this.#size += line.length + 1;
    }
    this.#pagerEnd = undefined;
    this.#cells = [];
    this.#column = 0;
  }

  #render(length: number): string {
    let end = length;
    while (end > 0 && this.#cells[end - 1] === ERASED) end--;
    const parts = end === this.#cells.length ? this.#cells : this.#cells.slice(0, end);
    return parts.includes(ERASED)
      ? parts.map((cell) => cell === ERASED ? " " : cell).join("")
      : parts.join("");
  }

  #takeEscape(byte: number): void {
    const sign = String.fromCharCode(byte);
    this.#state = "text";
    if (sign === "[") {
      this.#state = "csi";
      this.#parameters = "";
    } else if (sign === "]" || sign === "P" || sign === "^" || sign === "_" || sign === "X") {
      this.#state = "string";
      this.#stringLength = 0;
    } else if (sign === "E" || sign === "D") this.#endLine(); // ProCurve ends lines with ESC E.
    else if (byte >= 0x20 && byte < 0x30) this.#state = "charset";
    else if (byte === 0x1b) this.#state = "escape";
  }

  #takeString(byte: number): void {
    // No control string goes over the end of a line or over a cancel: else a stray escape would swallow text.
    if (byte === 0x0a || byte === 0x0d || byte === 0x18 || byte === 0x1a) {
      this.#state = "text";
      if (byte === 0x0a || byte === 0x0d) this.#takeText(byte);
      return;
    }
    const ends = byte === 0x07 || (this.#state === "string_escape" && byte === 0x5c);
    if (ends || ++this.#stringLength > MAX_STRING) this.#state = "text";
    else this.#state = byte === 0x1b ? "string_escape" : "string";
  }

  #takeControl(byte: number): void {
    if (byte < 0x20 || byte >= 0x7f) {
      // Terminals obey a control character inside a sequence; what follows is text again.
      this.#state = "text";
      this.#take(byte);
    } else if (byte < 0x40) {
      if (this.#parameters.length < 64) this.#parameters += String.fromCharCode(byte);
    } else {
      this.#state = "text";
      this.#control(String.fromCharCode(byte));
    }
  }

  /**
   * Movements and erasures on the line. Colours and modes change nothing; questions about the terminal (`n`,
   * `c`) are left unanswered on purpose: the session types nothing that its driver does not name.
   */
  #control(final: string): void {
    const [first = 0, second = 0] = this.#parameters.split(";").map((text) =>
      Math.min(1_000, Number.parseInt(text, 10) || 0)
    );
    const count = Math.max(1, first);
    switch (final) {
      case "C":
        this.#column = Math.min(Math.max(this.#cells.length, MAX_EDITABLE), this.#column + count);
        return;
      case "D":
        this.#column = Math.max(0, this.#column - count);
        return;
      case "G":
        this.#column = count - 1;
        return;
      case "H":
      case "f":
        this.#column = Math.max(1, second) - 1;
        return;
      case "E":
        return this.#endLine();
      default:
        if (this.#cells.length <= MAX_EDITABLE) this.#edit(final, { mode: first, count });
    }
  }

  #edit(final: string, { mode, count }: { mode: number; count: number }): void {
    if (!"KJPX@".includes(final)) return;
    // Scrollback keeps what stood on a display that is cleared.
    if (final === "J" && mode >= 2) {
      if (this.#render(this.#cells.length) !== "") this.#endLine();
      return;
    }
    this.#pagerEnd = undefined;
    const end = Math.min(this.#cells.length, this.#column + count);
    if (final === "P") this.#cells.splice(this.#column, count);
    else if (final === "X") this.#cells.fill(ERASED, this.#column, end);
    else if (final === "@") this.#cells.splice(this.#column, 0, ...Array(count).fill(" "));
    else if (mode === 0) this.#cells.length = Math.min(this.#cells.length, this.#column);
    else this.#cells.fill(ERASED, 0, mode === 1 ? this.#column + 1 : undefined);
  }
}

/** The bytes of lines that were read from a screen, `\n` after each. */
export function bytesOf(lines: readonly string[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(lines.reduce((sum, line) => sum + line.length + 1, 0));
  let at = 0;
  for (const line of lines) {
    for (let index = 0; index < line.length; index++) bytes[at++] = line.charCodeAt(index);
    bytes[at++] = 0x0a;
  }
  return bytes;
}
