import { isDeepStrictEqual } from "node:util";
import { readSigningKeys } from "@rookery/shared/api/agent_protocol.ts";
import type { ControlPlaneJwk } from "@rookery/shared/api/agent_protocol.ts";
import { call } from "@rookery/shared/client.ts";
import type { Clock } from "./clock.ts";
import type { Send } from "./control_plane.ts";
import { learnKeys, type LearntKeys, type SealingKey, type TrustedKeys } from "./key_chain.ts";
import { errorText, type Log } from "./log.ts";
import type { AgentIdentity, StateFolder } from "./state_folder.ts";

/** However often somebody names keys that nobody knows: the control plane is asked no more often. */
const ASK_MS = 15_000;
const REQUEST_MS = 10_000;

export interface TrustRootOptions {
  readonly identity: Pick<
    AgentIdentity,
    "controlPlaneUrl" | "issuer" | "signingKeys" | "sealingKey"
  >;
  readonly state: Pick<StateFolder, "readTrust" | "writeTrust">;
  readonly send: Send;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The keys of the control plane that this agent trusts: those it pinned when it was enrolled, and what they led to. What is
 * learnt is on disk before it is used.
 */
export class TrustRoot {
  readonly #options: TrustRootOptions;
  #trusted: TrustedKeys;
  /** Of the keys that were read last; nothing at the start of the agent, so that it always asks once. */
  #generation: number | undefined;
  #askedAtMs = -Infinity;
  #asking: Promise<void> | undefined;
  readonly #alarmed = new Set<string>();
  readonly #closing = new AbortController();

  private constructor(options: TrustRootOptions, trusted: TrustedKeys) {
    this.#options = options;
    this.#trusted = trusted;
  }

  static async open(options: TrustRootOptions): Promise<TrustRoot> {
    const { identity, state } = options;
    const { signingKeys, sealingKey } = identity;
    const kept = await state.readTrust();
    const isOurs = kept?.issuer === identity.issuer && kept.pinnedKid === pinnedKid(identity);
    return new TrustRoot(options, {
      ...(isOurs ? kept : { signingKeys, sealingKey }),
      sealingSequence: isOurs ? kept.sealingSequence : 0,
    });
  }

  get signingKeys(): readonly ControlPlaneJwk[] {
    return this.#trusted.signingKeys;
  }

  /** What is meant for the control plane alone is sealed to this one. */
  get sealingKey(): SealingKey {
    return this.#trusted.sealingKey;
  }

  /** The key of that id; asks the control plane for one that is not known, unless it was asked a moment ago. */
  async signingKey(kid: string): Promise<ControlPlaneJwk | undefined> {
    if (!this.#find(kid)) await this.refresh();
    return this.#find(kid);
  }

  /** Told of each session: asks when the control plane has other keys than those that were read last. */
  async note(generation: number): Promise<void> {
    if (this.#generation !== generation || generation === 0) await this.refresh();
  }

  /** Asks the control plane for its keys. Never throws: what cannot be learnt now is learnt the next time. */
  async refresh(): Promise<void> {
    const { clock, log } = this.#options;
    if (!this.#asking) {
      if (clock.now() - this.#askedAtMs < ASK_MS) return;
      this.#askedAtMs = clock.now();
      this.#asking = this.#ask()
        .catch((error) => {
          if (!this.#closing.signal.aborted) {
            log("warn", "keys_not_read", { reason: errorText(error) });
          }
        })
        .finally(() => this.#asking = undefined);
    }
    await this.#asking;
  }

  /** Gives up what is still on its way; resolves when nothing is. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("The agent ends"));
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const { identity: { controlPlaneUrl, issuer }, send } = this.#options;
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(new Error("no answer in time")), REQUEST_MS);
    const signal = AbortSignal.any([this.#closing.signal, patience.signal]);
    try {
      const offered = await call(send, controlPlaneUrl, readSigningKeys, {}, { signal });
      await this.#take(await learnKeys(this.#trusted, offered, { issuer }));
      this.#generation = offered.generation;
    } finally {
      clearTimeout(timer);
    }
  }

  async #take({ trusted, unvouched }: LearntKeys): Promise<void> {
    const { state, log, identity } = this.#options;
    if (!isDeepStrictEqual(namesOf(trusted), namesOf(this.#trusted))) {
      await state.writeTrust({
        version: 1,
        issuer: identity.issuer,
        pinnedKid: pinnedKid(identity),
        signingKeys: [...trusted.signingKeys],
        sealingKey: trusted.sealingKey,
        sealingSequence: trusted.sealingSequence,
      });
      this.#trusted = trusted;
      log("info", "keys_learnt", {
        signing: trusted.signingKeys.map((key) => key.kid).join(" "),
        sealing: trusted.sealingKey.kid,
      });
    }
    for (const kid of unvouched.filter((one) => !this.#alarmed.has(one)).slice(0, 10)) {
      this.#alarmed.add(kid);
      log("error", "key_not_vouched_for", {
        kid,
        reason:
          "Somebody offers a signing key that no trusted key vouches for: it is ignored. Find out who answers at " +
          `${identity.controlPlaneUrl}.`,
      });
    }
  }

  #find(kid: string): ControlPlaneJwk | undefined {
    return this.#trusted.signingKeys.find((key) => key.kid === kid);
  }
}

function pinnedKid({ signingKeys }: Pick<AgentIdentity, "signingKeys">): string {
  return signingKeys[0]?.kid ?? "";
}

/** Keys are their thumbprints. */
function namesOf({ signingKeys, sealingKey, sealingSequence }: TrustedKeys) {
  return [signingKeys.map((key) => key.kid), sealingKey.kid, sealingSequence];
}
