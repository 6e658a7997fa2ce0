import { calculateJwkThumbprint, compactVerify, decodeProtectedHeader, importJWK } from "jose";
import type { ControlPlaneJwk, SealJwk } from "@rookery/shared/api/agent_protocol.ts";
import { KEY_STATEMENT_TYPE, KeyStatement } from "@rookery/shared/key_statement.ts";

/** A sealing key of the control plane. */
export type SealingKey = SealJwk & { readonly kid: string };

/** Which keys of the control plane an agent believes in. */
export interface TrustedKeys {
  /** In the order in which they were learnt: a later one is newer. */
  readonly signingKeys: readonly ControlPlaneJwk[];
  readonly sealingKey: SealingKey;
  /** The sealing key's place in the control plane's list; 0 for the one of the enrolment. */
  readonly sealingSequence: number;
}

/** What the control plane offers. Nothing in it is believed but for its signatures. */
export interface OfferedKeys {
  readonly keys: readonly ControlPlaneJwk[];
  readonly statements: readonly string[];
}

/** What was learnt, and the offered keys that nobody trusted vouches for. */
export interface LearntKeys {
  readonly trusted: TrustedKeys;
  readonly unvouched: readonly string[];
}

interface Verified {
  readonly said: KeyStatement;
  readonly kid: string;
  /** The place of who says it among the trusted keys. */
  readonly by: number;
}

/**
 * Follows the statements from the keys that are trusted to newer ones: a chain of any length, in whatever order it comes. A
 * key is dropped when a *newer* trusted key says that it is retired, so that a stolen old key cannot drop its successors
 * and the last key cannot be dropped at all.
 */
export async function learnKeys(
  before: TrustedKeys,
  offered: OfferedKeys,
  { issuer }: { readonly issuer: string },
): Promise<LearntKeys> {
  const { signingKeys, statements } = await followChain(before.signingKeys, offered, issuer);
  const known = new Set([
    ...signingKeys.map((key) => key.kid),
    // Ours, but not to be trusted anew: an agent that enrolled later has never known it.
    ...statements.filter(({ said }) => said.use === "sig").map(({ kid }) => kid),
  ]);
  return {
    trusted: {
      ...newestSealing(before, statements),
      signingKeys: withoutRetired(signingKeys, statements),
    },
    unvouched: offered.keys.map((key) => key.kid).filter((kid) => !known.has(kid)),
  };
}

/** Until nothing more can be verified: each round, the statements by the keys that are trusted by then. */
async function followChain(
  pinned: readonly ControlPlaneJwk[],
  { statements }: OfferedKeys,
  issuer: string,
): Promise<{ signingKeys: readonly ControlPlaneJwk[]; statements: readonly Verified[] }> {
  const signingKeys = [...pinned];
  const verified: Verified[] = [];
  let open = [...statements];
  for (let grew = true; grew;) {
    const unread: string[] = [];
    grew = false;
    for (const token of open) {
      const by = signingKeys.findIndex((key) => key.kid === signerOf(token));
      const signer = signingKeys[by];
      if (!signer) {
        unread.push(token);
        continue;
      }
      const statement = await verify(token, { signer, issuer });
      if (!statement) continue;
      verified.push({ ...statement, by });
      grew = addTrusted(signingKeys, statement) || grew;
    }
    open = unread;
  }
  return { signingKeys, statements: verified };
}

function addTrusted(keys: ControlPlaneJwk[], { said, kid }: Omit<Verified, "by">): boolean {
  if (said.use !== "sig" || said.status !== "trusted" || keys.some((key) => key.kid === kid)) {
    return false;
  }
  keys.push({ ...said.jwk, kid });
  return true;
}

function signerOf(token: string): string | undefined {
  try {
    const { alg, typ, kid } = decodeProtectedHeader(token);
    return alg === "Ed25519" && typ === KEY_STATEMENT_TYPE ? kid : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined for what is not signed by that key, not of this installation, or of another form than we know. */
async function verify(
  token: string,
  { signer, issuer }: { readonly signer: ControlPlaneJwk; readonly issuer: string },
): Promise<Omit<Verified, "by"> | undefined> {
  try {
    const { kid: _, ...jwk } = signer;
    const { payload } = await compactVerify(token, await importJWK(jwk, "Ed25519"), {
      algorithms: ["Ed25519"],
    });
    const said = KeyStatement.parse(JSON.parse(new TextDecoder().decode(payload)));
    if (said.iss !== issuer) return undefined;
    return { said, kid: await calculateJwkThumbprint(said.jwk) };
  } catch {
    return undefined;
  }
}

function withoutRetired(
  keys: readonly ControlPlaneJwk[],
  statements: readonly Verified[],
): readonly ControlPlaneJwk[] {
  return keys.filter((key, at) =>
    !statements.some(({ said, kid, by }) =>
      said.use === "sig" && said.status === "retired" && kid === key.kid && by > at
    )
  );
}

/** The sequence only rises: an old answer that somebody plays again does not bring an old key back. */
function newestSealing(
  before: TrustedKeys,
  statements: readonly Verified[],
): Pick<TrustedKeys, "sealingKey" | "sealingSequence"> {
  let { sealingKey, sealingSequence } = before;
  for (const { said, kid } of statements) {
    if (said.use !== "enc" || said.sequence <= sealingSequence) continue;
    sealingKey = { ...said.jwk, kid };
    sealingSequence = said.sequence;
  }
  return { sealingKey, sealingSequence };
}
