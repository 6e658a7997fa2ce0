/** A little of DER (X.690): enough to look at the envelope of a private key. */

/** One element: its tag, its content and where the next one starts. */
export interface Der {
  readonly tag: number;
  readonly bytes: Uint8Array;
  readonly end: number;
}

/** The tags that keys are made of. */
export const DER = { integer: 0x02, octets: 0x04, oid: 0x06, sequence: 0x30 } as const;

/** The element at `offset`; undefined when there is none, or it is cut off. */
export function readDer(bytes: Uint8Array, offset: number): Der | undefined {
  const tag = bytes[offset];
  let length = bytes[offset + 1];
  if (tag === undefined || length === undefined) return undefined;
  let start = offset + 2;
  if (length >= 0x80) {
    const count = length & 0x7f;
    if (count === 0 || count > 4) return undefined;
    length = 0;
    for (const byte of bytes.subarray(start, start + count)) length = length * 256 + byte;
    start += count;
  }
  const end = start + length;
  return end <= bytes.length ? { tag, bytes: bytes.subarray(start, end), end } : undefined;
}

/** The elements inside a sequence, as far as they are whole; none of anything else. */
export function derItems(sequence: Der | undefined): readonly Der[] {
  const items: Der[] = [];
  if (sequence?.tag !== DER.sequence) return items;
  for (let offset = 0;;) {
    const item = readDer(sequence.bytes, offset);
    if (!item) return items;
    items.push(item);
    offset = item.end;
  }
}

/** A positive INTEGER; Infinity when it is beyond what a number holds exactly, NaN for anything else. */
export function derNumber(item: Der | undefined): number {
  if (item?.tag !== DER.integer || item.bytes.length === 0) return NaN;
  const value = item.bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  return Number.isSafeInteger(value) ? value : Infinity;
}

/** How many bits a positive INTEGER has. */
export function derBits(item: Der | undefined): number {
  return item?.tag === DER.integer ? countBits(item.bytes) : 0;
}

/** How many bits a big-endian number has. */
export function countBits(number: Uint8Array): number {
  const at = number.findIndex((byte) => byte !== 0);
  return at < 0 ? 0 : (number.length - at) * 8 - Math.clz32(number[at] ?? 0) + 24;
}

/** An OBJECT IDENTIFIER as people write it, `1.2.840.113549.1.5.13`; empty for anything else. */
export function derOid(item: Der | undefined): string {
  if (item?.tag !== DER.oid || item.bytes.length > 40) return "";
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of item.bytes) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    arcs.push(arc);
    arc = 0;
  }
  const [head = 0, ...tail] = arcs;
  const first = Math.min(Math.floor(head / 40), 2);
  return [first, head - first * 40, ...tail].join(".");
}
