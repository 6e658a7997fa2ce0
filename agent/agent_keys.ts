import type { SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import type { ProofKey } from "./dpop.ts";
import { privateKey } from "./enroll.ts";
import type { PendingKeys } from "./state_folder.ts";

/** The keys of an agent as they are now; a rotation changes them while it runs. */
export class AgentKeys {
  #signKey: CryptoKey;
  #publicJwk: SignJwk;
  /** The newest first; older ones open what was sealed before a rotation and is opened after it. */
  #sealKeys: readonly CryptoKey[];

  private constructor(imported: ImportedKeys) {
    this.#signKey = imported.signKey;
    this.#publicJwk = imported.publicJwk;
    this.#sealKeys = [imported.sealKey];
  }

  static async open(keys: PendingKeys): Promise<AgentKeys> {
    return new AgentKeys(await importKeys(keys));
  }

  /** What leases' results are signed with. */
  get signKey(): CryptoKey {
    return this.#signKey;
  }

  get sealKeys(): readonly CryptoKey[] {
    return this.#sealKeys;
  }

  get proofKey(): ProofKey {
    return { privateKey: this.#signKey, publicJwk: this.#publicJwk };
  }

  /** Goes on with new keys; the old sealing key still opens, until this process ends. */
  async adopt(keys: PendingKeys): Promise<void> {
    const imported = await importKeys(keys);
    this.#signKey = imported.signKey;
    this.#publicJwk = imported.publicJwk;
    this.#sealKeys = [imported.sealKey, ...this.#sealKeys];
  }
}

interface ImportedKeys {
  readonly signKey: CryptoKey;
  readonly publicJwk: SignJwk;
  readonly sealKey: CryptoKey;
}

async function importKeys(keys: PendingKeys): Promise<ImportedKeys> {
  const { d: _, ...publicJwk } = keys.signKey;
  const [signKey, sealKey] = await Promise.all([
    privateKey(keys.signKey, "Ed25519"),
    privateKey(keys.sealKey, "ECDH-ES"),
  ]);
  return { signKey, publicJwk, sealKey };
}
