import { CompactEncrypt, importJWK } from "jose";
import { z } from "zod";
import { canonicalJson, sha256 } from "@rookery/shared/canonical_json.ts";
import type { CredentialId, Sha256 } from "@rookery/shared/ids.ts";
import { CREDENTIAL_TYPE, SealedCredential } from "@rookery/shared/jobs/lease.ts";
import { type Envelope, openEnvelope, type SealContext, sealEnvelope } from "../keys/envelope.ts";
import type { KeyRing } from "../keys/key_ring.ts";

/** What is secret of a credential; its user name stands beside it in the clear. */
export const CredentialSecrets = z.strictObject({
  password: z.string().optional(),
  privateKey: z.string().optional(),
  passphrase: z.string().optional(),
  enableSecret: z.string().optional(),
});
export type CredentialSecrets = z.infer<typeof CredentialSecrets>;

/** One version of a credential: its secrets open under no other name. */
export interface CredentialVersion {
  readonly credentialId: CredentialId;
  readonly version: number;
}

/** Seals the secrets of a credential version for `credential_versions`. */
export function sealSecrets(
  keyRing: KeyRing,
  { secrets, ...version }: CredentialVersion & { readonly secrets: CredentialSecrets },
): Promise<Envelope> {
  const plaintext = new TextEncoder().encode(canonicalJson(CredentialSecrets.parse(secrets)));
  return sealEnvelope(keyRing, { context: contextOf(version), plaintext });
}

/** Opens the secrets of a credential version; a SealError when the row was altered or is another's. */
export async function openSecrets(
  keyRing: KeyRing,
  { envelope, ...version }: CredentialVersion & { readonly envelope: Envelope },
): Promise<CredentialSecrets> {
  const plaintext = await openEnvelope(keyRing, { context: contextOf(version), envelope });
  return CredentialSecrets.parse(JSON.parse(new TextDecoder().decode(plaintext)));
}

function contextOf({ credentialId, version }: CredentialVersion): SealContext {
  return ["credential", credentialId, version];
}

const AgentSealJwk = z.object({
  kty: z.literal("OKP"),
  crv: z.literal("X25519"),
  x: z.base64url().length(43),
});

/** A credential that only one agent can open, and the digest that the signed lease names. */
export interface AgentEnvelope {
  /** JWE, compact: ECDH-ES over X25519, A256GCM, `typ` and `cty` rookery-credential+json. */
  readonly jwe: string;
  readonly sha256: Sha256;
}

/**
 * Seals a credential to the sealing key of the agent that was granted the lease. The plaintext repeats lease,
 * epoch and target, so that it opens no other door; the lease names the digest, so that it cannot be swapped.
 */
export async function sealForAgent(
  credential: SealedCredential,
  agentSealJwk: unknown,
): Promise<AgentEnvelope> {
  const key = await importJWK(AgentSealJwk.parse(agentSealJwk), "ECDH-ES");
  const plaintext = new TextEncoder().encode(canonicalJson(SealedCredential.parse(credential)));
  const jwe = await new CompactEncrypt(plaintext)
    .setProtectedHeader({
      alg: "ECDH-ES",
      enc: "A256GCM",
      typ: CREDENTIAL_TYPE,
      cty: CREDENTIAL_TYPE,
    })
    .encrypt(key);
  return { jwe, sha256: await sha256(jwe) };
}
