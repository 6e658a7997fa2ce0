import { ProblemError } from "@rookery/shared/problem.ts";
import type { KeyRing } from "./key_ring.ts";

const RETRY_SECONDS = 5;

/**
 * The key ring of a running control plane: always the newest key file that was read. While the installation is known to
 * have newer keys than these it opens what it can, and neither signs nor seals: see `watchKeys`.
 */
export class LiveKeyRing implements KeyRing {
  #ring: KeyRing;
  #stale = false;

  constructor(ring: KeyRing) {
    this.#ring = ring;
  }

  /** Uses other keys from now on. */
  replace(ring: KeyRing): void {
    this.#ring = ring;
    this.#stale = false;
  }

  /** Whether the installation has newer keys than these. */
  get stale(): boolean {
    return this.#stale;
  }

  set stale(stale: boolean) {
    this.#stale = stale;
  }

  get signing() {
    return this.#fresh().signing;
  }

  get sealing() {
    return this.#fresh().sealing;
  }

  get currentKekId() {
    return this.#fresh().currentKekId;
  }

  get signingPublicJwks() {
    return this.#fresh().signingPublicJwks;
  }

  get fingerprints() {
    return this.#ring.fingerprints;
  }

  get generation() {
    return this.#ring.generation;
  }

  readonly signingPublicKey = (kid: string) => this.#ring.signingPublicKey(kid);
  readonly anySigningPublicKey = (kid: string) => this.#ring.anySigningPublicKey(kid);
  readonly sealingKey = (kid: string) => this.#ring.sealingKey(kid);
  readonly kek = (id: string) => this.#ring.kek(id);
  readonly statements = (issuer: string) => this.#fresh().statements(issuer);
  /** The root of these is never rotated. */
  readonly deriveKey = (purpose: string, context: string) => this.#ring.deriveKey(purpose, context);

  #fresh(): KeyRing {
    if (!this.#stale) return this.#ring;
    throw new ProblemError("keys-stale", "This replica does not have the newest keys.", {
      retryAfterSeconds: RETRY_SECONDS,
    });
  }
}
