/** A configuration as text, and how its bytes were read. */
export interface DecodedText {
  readonly text: string;
  readonly encoding: "utf-8" | "latin-1";
}

/**
 * Reads the bytes of a device: UTF-8 if all of them are, else latin-1, in which every byte has a character
 * (old firmware mixes encodings in descriptions). Never fails and loses nothing.
 */
export function decodeText(bytes: Uint8Array): DecodedText {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, encoding: "utf-8" };
  } catch {
    return { text: latin1(bytes), encoding: "latin-1" };
  }
}

/** The lines of a text, whatever ends them; a text that ends its last line has no empty one after it. */
export function linesOf(text: string): string[] {
  const lines = text.split(/\r*\n\r*|\r+/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** TextDecoder's "latin1" is windows-1252, which maps 0x80–0x9f elsewhere; this is one byte, one character. */
function latin1(bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += 8_192) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + 8_192)));
  }
  return pieces.join("");
}
