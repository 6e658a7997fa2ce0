import { isIPv6 } from "node:net";

/** What a syslog message says, whoever wrote it. */
export interface SyslogMessage {
  /** Whom it says it is from; empty when it does not say. */
  readonly host: string;
  /** All that follows the header. */
  readonly text: string;
}

/** Longer messages are cut: what names a change stands at the beginning. RFC 5424, 6.1, wants 2,048 octets taken. */
export const MAX_MESSAGE_BYTES = 8_192;
const MAX_TEXT = 4_096;

/** `<189>`; RFC 3164, 4.1.1, and RFC 5424, 6.2.1. */
const PRIORITY = /^<\d{1,3}>/;
/** `1 ` and five fields without blanks, of which the second is the host; RFC 5424, 6. */
const RFC_5424 = /^1 \S{1,64} (\S{1,255}) (?=\S{1,48} \S{1,128} \S{1,32} )/;
/** A sequence number that Cisco's devices put first, or the colon of one that was left out. */
const SEQUENCE = /^\d{0,12}: /;
/**
 * The times that devices write, most of them not as RFC 3164, 4.1.2, has it: with a year before or behind, with fractions, with
 * a zone, marked by `*` or `.` when the clock is not set.
 */
const TIMES = [
  /^[*.]?[A-Z][a-z]{2} {1,2}\d{1,2}(?: \d{4})? \d{2}:\d{2}:\d{2}(?:[.:]\d{1,9})?(?: \d{4})?/,
  /^\d{4} [A-Z][a-z]{2} {1,2}\d{1,2} \d{2}:\d{2}:\d{2}(?:\.\d{1,9})?/,
  /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?/,
];
const ZONE = /^(?:Z|(?: [A-Z]{2,5})? ?[+-]\d{2}:?\d{2}| [A-Z]{2,5}(?=: ))/;
/** A host between time and message. A word with a colon behind it is the name of a program. */
const HOST_BEHIND = /^:? {1,2}([\w.-]{1,255}|[0-9A-Fa-f:.]{2,45}):?(?= )(?! ?$)/;
/** A host before the time (NX-OS, origin-id of IOS) or before the place of a card (IOS-XR). */
const HOST_BEFORE =
  /^([\w.-]{1,255})(?:: (?=[*.]?[A-Z][a-z]{2} {1,2}\d|\d{4} [A-Z][a-z]{2} )| (?=(?:RP|LC)\/\d))/;
const PROGRAM_NEXT = /^:? {1,2}[\w.-]{1,255}: (?!%)/;

/**
 * Reads a message by RFC 5424 or RFC 3164, or by what vendors made of the latter; what has no header is all text. Takes a time
 * that grows with the length and no faster: each pattern is anchored, and each repetition in it bounded.
 */
export function parseMessage(bytes: Uint8Array): SyslogMessage {
  const whole = decode(bytes.subarray(0, MAX_MESSAGE_BYTES)).replace(/^\ufeff/, "").trimEnd();
  const body = whole.replace(PRIORITY, "");
  const [head, host] = RFC_5424.exec(body) ?? [];
  if (head !== undefined && host !== undefined) {
    return { host: host === "-" ? "" : host, text: body.slice(head.length, MAX_TEXT) };
  }
  return parseOld(body);
}

function parseOld(body: string): SyslogMessage {
  const numbered = body.replace(SEQUENCE, "");
  const [before, early = ""] = HOST_BEFORE.exec(numbered) ?? [];
  const dated = numbered.slice(before?.length ?? 0);
  const time = TIMES.map((pattern) => pattern.exec(dated)?.[0]).find((found) => found);
  if (time === undefined) return { host: early, text: clean(dated) };
  const timed = dated.slice(time.length).replace(ZONE, "");
  if (early !== "" || PROGRAM_NEXT.test(timed)) return { host: early, text: clean(timed) };
  const [behind, late] = HOST_BEHIND.exec(timed) ?? [];
  if (behind === undefined || late === undefined || !isHost(late)) {
    return { host: "", text: clean(timed) };
  }
  return { host: late, text: clean(timed.slice(behind.length)) };
}

function isHost(word: string): boolean {
  return word.includes(":") ? isIPv6(word) : true;
}

function clean(text: string): string {
  return text.replace(/^[: ]{1,4}/, "").slice(0, MAX_TEXT);
}

const utf8 = new TextDecoder();

/** What is no UTF-8 becomes U+FFFD: nothing here is looked up by such a text. */
function decode(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}
