import { MAX_MESSAGE_BYTES } from "./parse_message.ts";

/** A count of more digits is none: no message is as long. */
const MAX_DIGITS = 7;
const NEWLINE = 10;
const BLANK = 32;
const ZERO = 48;
const ONE = 49;
const NINE = 57;
/** What some senders put behind a message, counted or not: NUL, newline, carriage return. */
const BETWEEN = [0, NEWLINE, 13];

const ascii = new TextDecoder();

/**
 * Cuts a TCP stream into messages, by RFC 6587: each may begin with its length and a blank (3.4.1) or end with a newline
 * (3.4.2), as its first octet tells. Keeps no more than one message of `MAX_MESSAGE_BYTES`; what is beyond it is skipped.
 */
export class FrameReader {
  readonly #kept = new Uint8Array(MAX_MESSAGE_BYTES);
  #length = 0;
  /** Octets of a counted message that are still to come; undefined between messages and in one that a newline ends. */
  #left: number | undefined;
  #isLine = false;
  #isWhole = false;

  /** The messages that end in these octets. */
  *read(bytes: Uint8Array): Generator<Uint8Array<ArrayBuffer>> {
    let from = 0;
    while (from < bytes.length) {
      from = this.#take(bytes, from);
      if (this.#isWhole) yield* this.#end();
    }
  }

  /** What the stream ended in the middle of, unless it was only a part of a counted message. */
  *end(): Generator<Uint8Array<ArrayBuffer>> {
    if (this.#left === undefined) yield* this.#end();
  }

  /** Takes in what follows and returns where to go on. */
  #take(bytes: Uint8Array, from: number): number {
    if (this.#left !== undefined) {
      const until = Math.min(from + this.#left, bytes.length);
      this.#keep(bytes.subarray(from, until));
      this.#left -= until - from;
      this.#isWhole = this.#left === 0;
      return until;
    }
    if (!this.#isLine) return this.#begin(bytes[from] ?? NEWLINE) ? from + 1 : from;
    const at = bytes.indexOf(NEWLINE, from);
    this.#keep(bytes.subarray(from, at < 0 ? bytes.length : at));
    this.#isWhole = at >= 0;
    return at < 0 ? bytes.length : at + 1;
  }

  /** Octet by octet until it is clear which kind of message it is; false leaves the octet to a line. */
  #begin(octet: number): boolean {
    if (this.#length === 0 && BETWEEN.includes(octet)) return true;
    if (octet === BLANK && this.#length > 0) {
      this.#left = Number(ascii.decode(this.#kept.subarray(0, this.#length)));
      this.#length = 0;
      return true;
    }
    const isDigit = octet >= (this.#length === 0 ? ONE : ZERO) && octet <= NINE;
    this.#isLine = !isDigit || this.#length === MAX_DIGITS;
    if (!this.#isLine) this.#keep(new Uint8Array([octet]));
    return !this.#isLine;
  }

  #keep(bytes: Uint8Array): void {
    const kept = bytes.subarray(0, this.#kept.length - this.#length);
    this.#kept.set(kept, this.#length);
    this.#length += kept.length;
  }

  *#end(): Generator<Uint8Array<ArrayBuffer>> {
    const message = this.#kept.slice(0, this.#length);
    this.#length = 0;
    this.#left = undefined;
    this.#isLine = false;
    this.#isWhole = false;
    if (message.length > 0) yield message;
  }
}
