/**
 * What is done with whole texts of configurations: a closed set of functions over plain data, so that each can run in
 * this thread or in another one (see texts.ts).
 */
import { createHmac } from "node:crypto";
import type { Diff } from "@rookery/shared/api/backups.ts";
import { type Completeness, judgeCompleteness } from "@rookery/shared/drivers/completeness.ts";
import { type DecodedText, decodeText } from "@rookery/shared/drivers/decode.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { capturesOf, findDriver } from "@rookery/shared/drivers/mod.ts";
import { normalise, normalisedSha256, restorableText } from "@rookery/shared/drivers/normalise.ts";
import { redact } from "@rookery/shared/drivers/redact.ts";
import type { Sha256 } from "@rookery/shared/ids.ts";
import { diffTexts } from "./diff.ts";

/** Exact bytes, and by whose rules they are read. */
export interface CapturedText {
  readonly bytes: Uint8Array;
  readonly platform: string;
  readonly capture: string;
}

/** The same with the device's key for the tags of secrets; null where they are not to be told apart. */
export interface SecretText extends CapturedText {
  readonly key: Uint8Array | null;
}

export interface TextComparison {
  /** Null when there is nothing older. */
  readonly before: SecretText | null;
  readonly after: SecretText;
  readonly context: number;
  readonly volatile: "hidden" | "shown";
}

export type Measured =
  | Extract<Completeness, { complete: true }> & { readonly normalisedSha256: Sha256 }
  | Extract<Completeness, { complete: false }>;

/** A text to bring back, and the encoding that a file of it has to have. */
export type Restorable = DecodedText;

/** Every kind of work, with what it takes and gives. */
export interface TextWork {
  /** Judges completeness, and tells the digest of a complete text. */
  readonly measure: { readonly input: CapturedText; readonly output: Measured };
  /** The digest that decides "changed or not". */
  readonly digest: { readonly input: CapturedText; readonly output: Sha256 };
  readonly redact: { readonly input: SecretText; readonly output: string };
  /** With its secrets, to bring the configuration back. */
  readonly restore: { readonly input: CapturedText; readonly output: Restorable };
  /** Of the redacted texts. */
  readonly compare: { readonly input: TextComparison; readonly output: Diff };
}

/** The texts of an input. */
export function textsOf(input: TextWork[keyof TextWork]["input"]): readonly CapturedText[] {
  if (!("after" in input)) return [input];
  return input.before ? [input.before, input.after] : [input.after];
}

type Workers = {
  readonly [K in keyof TextWork]: (input: TextWork[K]["input"]) => Promise<TextWork[K]["output"]>;
};

const WORK: Workers = { measure, digest, redact: redactText, restore, compare };

/** Does the work in this very thread. */
export function doTextWork<K extends keyof TextWork>(
  kind: K,
  input: TextWork[K]["input"],
): Promise<TextWork[K]["output"]> {
  return WORK[kind](input);
}

/** Without its driver's rules a text cannot be redacted, so it is not shown at all. */
export function driverOf(platform: string): Driver {
  const driver = findDriver(platform);
  if (!driver) throw new Error(`Cannot read a text of platform ${platform}: it has no driver`);
  return driver;
}

async function measure(text: CapturedText): Promise<Measured> {
  const driver = driverOf(text.platform);
  const [capture] = capturesOf(driver, [text.capture]);
  if (!capture) {
    throw new RangeError(`Cannot measure ${text.capture}: the driver has no such capture`);
  }
  const verdict = judgeCompleteness(text.bytes, { driver, capture });
  return verdict.complete ? { ...verdict, normalisedSha256: await digest(text) } : verdict;
}

async function digest(text: CapturedText): Promise<Sha256> {
  return await normalisedSha256(text.bytes, rulesOf(text));
}

async function redactText({ bytes, platform, key }: SecretText): Promise<string> {
  return await redact(driverOf(platform), decodeText(bytes).text, { tagOf: key && tagger(key) });
}

/** One text seldom has more secrets; a hostile one must not fill the memory. */
const MOST_TAGS = 10_000;

/** Most secrets of a text come again and again, and a tag costs more than all else that is done with its line. */
function tagger(key: Uint8Array): (secret: string) => string {
  const tags = new Map<string, string>();
  return (secret) => {
    const tag = tags.get(secret) ?? tagOf(key, secret);
    if (tags.size < MOST_TAGS) tags.set(secret, tag);
    return tag;
  };
}

function restore(captured: CapturedText): Promise<Restorable> {
  const { text, encoding } = decodeText(captured.bytes);
  return Promise.resolve({ text: restorableText(text, rulesOf(captured).capture), encoding });
}

async function compare({ before, after, context, volatile }: TextComparison): Promise<Diff> {
  const read = async (text: SecretText) => {
    const redacted = await redactText(text);
    return volatile === "shown" ? redacted : normalise(redacted, rulesOf(text));
  };
  return diffTexts(before ? await read(before) : "", await read(after), { context });
}

/** A driver may lack a capture that an older one of its platform had. */
function rulesOf({ platform, capture: name }: CapturedText) {
  const driver = driverOf(platform);
  return { driver, capture: driver.captures.find((capture) => capture.name === name) ?? {} };
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/**
 * 25 bits of an HMAC under the device's key: enough to show that a secret changed, too few to tell it. Without
 * the key file the tags cannot be tried against a list of passwords.
 */
function tagOf(key: Uint8Array, secret: string): string {
  const [...bytes] = createHmac("sha256", key).update(secret).digest().subarray(0, 5);
  return bytes.map((byte) => BASE32[byte % 32]).join("");
}
