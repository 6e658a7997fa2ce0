/** Whoever uses the API: each call is repeated until it has an answer, and written down with all that it took. */
import { setTimeout as delay } from "node:timers/promises";
import { call } from "@rookery/shared/client.ts";
import type { AnyEndpoint, CallInput, CallReply } from "@rookery/shared/endpoint.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { ClientLine, Teller } from "./history.ts";

/** What a call was for, and what of its answer is worth keeping. */
export type Told = Omit<ClientLine, "at" | "startedAt" | "tries" | "reasons">;

export interface Client {
  /** Throws the refusal when it was refused. */
  call<E extends AnyEndpoint>(endpoint: E, input: CallInput<E>): Promise<CallReply<E>>;
  /** The same, and writes down what `told` makes of it. A refusal gives undefined. */
  tell<E extends AnyEndpoint>(
    event: ClientLine["event"],
    request: { readonly endpoint: E; readonly input: CallInput<E> },
    told: (reply: CallReply<E>) => Omit<Told, "event">,
  ): Promise<CallReply<E> | undefined>;
}

const PATIENCE_MS = 20_000;
const PAUSE_MS = 250;
const MOST_TRIES = 60;

interface Tries {
  readonly startedAt: number;
  readonly reasons: string[];
}

export function makeClient(
  url: string,
  { secret, history }: { readonly secret: string; readonly history: Teller<ClientLine> },
): Client {
  async function patiently<E extends AnyEndpoint>(
    endpoint: E,
    input: CallInput<E>,
    { reasons }: Tries,
  ): Promise<CallReply<E>> {
    for (;;) {
      try {
        return await call(fetch, url, endpoint, input, {
          headers: { authorization: `Bearer ${secret}` },
          signal: AbortSignal.timeout(PATIENCE_MS),
        });
      } catch (error) {
        if (isFinal(error) || reasons.length >= MOST_TRIES) throw error;
        reasons.push(String(error).slice(0, 200));
        await delay(PAUSE_MS);
      }
    }
  }
  return {
    call: (endpoint, input) => patiently(endpoint, input, { startedAt: Date.now(), reasons: [] }),
    async tell(event, { endpoint, input }, told) {
      const tries: Tries = { startedAt: Date.now(), reasons: [] };
      const line = () => ({ event, ...tries, tries: tries.reasons.length + 1 });
      try {
        const reply = await patiently(endpoint, input, tries);
        history.tell({ ...line(), ...told(reply) });
        return reply;
      } catch (error) {
        if (!isFinal(error)) {
          history.tell({ ...line(), event: "give_up", refused: String(error).slice(0, 200) });
          return undefined;
        }
        history.tell({ ...line(), refused: (error as ProblemError).type });
        return undefined;
      }
    },
  };
}

/** An answer that a repetition does not change. */
function isFinal(error: unknown): boolean {
  return error instanceof ProblemError && error.status < 500 && error.status !== 429;
}
