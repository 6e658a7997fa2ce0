import { SignJWT } from "jose";
import { KEY_STATEMENT_TYPE, type KeyStatement } from "@rookery/shared/key_statement.ts";
import type { KeyFile, SealingKey, SigningKey } from "./key_file_schema.ts";

/** Who says it: the active signing key. */
export interface Speaker {
  readonly kid: string;
  readonly privateKey: CryptoKey;
}

/**
 * Everything that agents are told of the keys, oldest first. The chain from each signing key to the next was signed when
 * the keys were made and is kept in the file for ever. What the active key says of the others is signed anew by whoever
 * loads the file: Ed25519 is deterministic, so all replicas say the same.
 */
export async function statementsOf(
  file: KeyFile,
  { issuer, by }: { readonly issuer: string; readonly by: Speaker },
): Promise<readonly string[]> {
  const chain = file.signing.flatMap(({ statement }) => statement === undefined ? [] : [statement]);
  const others = file.signing.flatMap((key, at) => {
    const status = statusOf(key);
    return status === undefined
      ? []
      : [signingStatement(key, { issuer, sequence: at + 1, status })];
  });
  const sealing = file.sealing.flatMap((key, at) =>
    key.active ? [sealingStatement(key, { issuer, sequence: at + 1 })] : []
  );
  const spoken = await Promise.all([...others, ...sealing].map((said) => sign(said, by)));
  return [...chain, ...spoken];
}

/** What one signing key says of the one that is to follow it. */
export function vouchFor(
  key: SigningKey,
  { issuer, sequence, by }: { issuer: string; sequence: number; by: Speaker },
): Promise<string> {
  return sign(signingStatement(key, { issuer, sequence, status: "trusted" }), by);
}

function statusOf(key: SigningKey): "replaced" | "retired" | undefined {
  if (key.retiredAt !== undefined) return "retired";
  return key.replacedAt === undefined ? undefined : "replaced";
}

type SigningStatement = Extract<KeyStatement, { use: "sig" }>;

function signingStatement(
  { jwk: { d: _, ...jwk } }: SigningKey,
  said: { issuer: string; sequence: number; status: SigningStatement["status"] },
): SigningStatement {
  const { issuer: iss, sequence, status } = said;
  return { iss, use: "sig", status, sequence, jwk };
}

function sealingStatement(
  { jwk: { d: _, ...jwk } }: SealingKey,
  { issuer: iss, sequence }: { issuer: string; sequence: number },
): KeyStatement {
  return { iss, use: "enc", status: "trusted", sequence, jwk };
}

function sign(said: KeyStatement, by: Speaker): Promise<string> {
  return new SignJWT({ ...said })
    .setProtectedHeader({ alg: "Ed25519", typ: KEY_STATEMENT_TYPE, kid: by.kid })
    .sign(by.privateKey);
}
