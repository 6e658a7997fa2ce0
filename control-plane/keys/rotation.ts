/**
 * What may be done to the keys, each step as a new content of the key file. Nothing here touches a file or a database. Every
 * step refuses what would strand agents or lose what is sealed, unless it is told to by a flag that names the damage.
 */
import { vouchFor } from "./key_statements.ts";
import { openKeyRing } from "./key_ring.ts";
import type { Kek, KeyFile, SealingKey, SigningKey } from "./key_file_schema.ts";
import { makeKek, makeSealingKey, makeSigningKey, timeOf } from "./make_keys.ts";

/** How long a new signing key is known before it signs, and the old one afterwards: as long as join tokens live. */
export const OVERLAP_DAYS = 7;
/** How long a replaced sealing key still opens what agents sealed while they were cut off. */
export const SEALING_DAYS = 30;

/** A replica that has not read the new file stops wrapping within this time, and its statements have ended. */
const KEK_SECONDS = 60;

/** A step is not possible now; the message says when, or by which flag. */
export class RotationRefusedError extends Error {
  override readonly name = "RotationRefusedError";
}

/** When, and whether in spite of the damage. */
export interface StepOptions {
  readonly now: Temporal.Instant;
  readonly force?: boolean;
}

/** The new content, and the key it is about. */
export interface Step {
  readonly file: KeyFile;
  readonly key: string;
}

/** Makes the signing key that is to follow; the one that agents trust vouches for it. It signs nothing yet. */
export async function addSigningKey(
  file: KeyFile,
  { now, issuer }: StepOptions & { readonly issuer: string },
): Promise<Step> {
  const waiting = nextSigningKey(file);
  if (waiting) {
    throw refusal(
      `Refused: the key ${waiting.kid} is waiting to be used already. Activate it first.`,
    );
  }
  const { signing: by } = await openKeyRing(file);
  const key = await makeSigningKey({ now, active: false });
  const statement = await vouchFor(key, { issuer, by, sequence: file.signing.length + 1 });
  return next({ ...file, signing: [...file.signing, { ...key, statement }] }, key.kid);
}

/** Lets the key that waits sign from now on. */
export function activateSigningKey(file: KeyFile, { now, force = false }: StepOptions): Step {
  const key = nextSigningKey(file);
  if (!key) {
    throw refusal("Refused: no signing key waits to be used. Make one first: keys:rotate signing");
  }
  const due = Temporal.Instant.from(key.createdAt).add({ hours: 24 * OVERLAP_DAYS });
  if (!force && Temporal.Instant.compare(now, due) < 0) {
    throw refusal(
      `Refused: agents have until ${
        timeOf(due)
      } to learn of the key ${key.kid}. Those that have not yet, and ` +
        "those too old to learn by themselves, would refuse every lease. To do it now: --break-unaware-agents",
    );
  }
  return next({ ...file, signing: withActive(file.signing, { key, now }) }, key.kid);
}

/** Erases the private half of a replaced signing key and tells agents to drop it; its place in the chain stays. */
export function retireSigningKey(
  file: KeyFile,
  { now, kid, force = false }: StepOptions & { readonly kid: string },
): Step {
  const key = replacedKey(
    file.signing,
    kid,
    { now, days: OVERLAP_DAYS, force },
    (due) =>
      `Refused: until ${
        timeOf(due)
      } there may be join tokens and leases that name ${kid}. They would be worth ` +
      "nothing. To do it now: --break-unaware-agents",
  );
  return next({
    ...file,
    signing: file.signing.map((one) => one === key ? retired(key, now) : one),
  }, kid);
}

/** Makes a new sealing key: agents seal to it from now on, and what was sealed to the others is still opened. */
export async function addSealingKey(file: KeyFile, { now }: StepOptions): Promise<Step> {
  const key = await makeSealingKey({ now, active: false });
  return next(
    { ...file, sealing: withActive([...file.sealing, key], { key, now }) },
    key.kid,
  );
}

/** Erases a replaced sealing key: what agents sealed to it and have not delivered can be opened by nobody. */
export function retireSealingKey(
  file: KeyFile,
  { now, kid, force = false }: StepOptions & { readonly kid: string },
): Step {
  const key = replacedKey(
    file.sealing,
    kid,
    { now, days: SEALING_DAYS, force },
    (due) =>
      `Refused: until ${
        timeOf(due)
      } agents that were cut off may bring results that are sealed to ${kid}. They would ` +
      "be lost. To do it now: --lose-undelivered-results",
  );
  return next({
    ...file,
    sealing: file.sealing.map((one) => one === key ? retired(key, now) : one),
  }, kid);
}

/** Makes a key-encryption key that every replica is to know before the first one uses it. */
export function addKek(file: KeyFile, { now }: StepOptions): Step {
  const waiting = nextKek(file);
  if (waiting) return { file, key: waiting.id };
  const key = makeKek({ now, active: false });
  return next({ ...file, kek: [...file.kek, key] }, key.id);
}

/** Lets the key-encryption key that waits wrap from now on. */
export function activateKek(file: KeyFile, { now }: StepOptions): Step {
  const key = nextKek(file);
  if (!key) throw refusal("Refused: no key-encryption key waits to be used.");
  return next({ ...file, kek: withActive(file.kek, { key, now }) }, key.id);
}

/** Forgets a key-encryption key. Whoever calls has made sure that nothing is wrapped by it. */
export function retireKek(
  file: KeyFile,
  { now, id }: StepOptions & { readonly id: string },
): Step {
  const key = file.kek.find((one) => one.id === id);
  if (!key) throw refusal(`Refused: the key file has no key-encryption key ${id}.`);
  if (key.replacedAt === undefined) {
    throw refusal(`Refused: ${id} has not been replaced. Make another first: keys:rotate kek`);
  }
  const due = Temporal.Instant.from(key.replacedAt ?? timeOf(now)).add({ seconds: KEK_SECONDS });
  if (Temporal.Instant.compare(now, due) < 0) {
    throw refusal(
      `Refused: until ${timeOf(due)} a replica may still be wrapping with ${id}. Try again then.`,
    );
  }
  return next({ ...file, kek: file.kek.filter((one) => one !== key) }, id);
}

/** The signing key that was made and has never been used. */
export function nextSigningKey(file: KeyFile): SigningKey | undefined {
  return file.signing.find(isWaiting);
}

/** The key-encryption key that was made and has never been used. */
export function nextKek(file: KeyFile): Kek | undefined {
  return file.kek.find(isWaiting);
}

interface Life {
  readonly active: boolean;
  readonly replacedAt?: string | undefined;
  readonly retiredAt?: string | undefined;
}

function isWaiting({ active, replacedAt, retiredAt }: Life): boolean {
  return !active && replacedAt === undefined && retiredAt === undefined;
}

function withActive<Key extends Life>(
  keys: readonly Key[],
  { key, now }: { readonly key: Key; readonly now: Temporal.Instant },
): Key[] {
  const at = timeOf(now);
  return keys.map((one) => {
    if (one === key) return { ...one, active: true, activatedAt: at };
    return one.active ? { ...one, active: false, replacedAt: at } : one;
  });
}

function replacedKey<Key extends SigningKey | SealingKey>(
  keys: readonly Key[],
  kid: string,
  { now, days, force }: StepOptions & { readonly days: number },
  tooEarly: (due: Temporal.Instant) => string,
): Key {
  const key = keys.find((one) => one.kid === kid);
  if (!key) throw refusal(`Refused: the key file has no such key ${kid}.`);
  if (key.retiredAt !== undefined) throw refusal(`Refused: ${kid} is retired already.`);
  if (key.replacedAt === undefined) {
    throw refusal(`Refused: ${kid} has not been replaced by another key.`);
  }
  const due = Temporal.Instant.from(key.replacedAt).add({ hours: 24 * days });
  if (!force && Temporal.Instant.compare(now, due) < 0) throw refusal(tooEarly(due));
  return key;
}

function retired<Key extends SigningKey | SealingKey>(key: Key, now: Temporal.Instant): Key {
  const { d: _, ...jwk } = key.jwk;
  return { ...key, retiredAt: timeOf(now), jwk };
}

function next(file: KeyFile, key: string): Step {
  return { file: { ...file, version: 2, generation: file.generation + 1 }, key };
}

function refusal(message: string): RotationRefusedError {
  return new RotationRefusedError(message);
}
