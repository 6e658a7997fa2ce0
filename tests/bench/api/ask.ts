/** Asks a control plane over HTTP, as a program with an API token does, and takes the time. */
import { call } from "@rookery/shared/client.ts";
import type { AnyEndpoint, CallInput, CallReply } from "@rookery/shared/endpoint.ts";
import { quantile } from "../agents/table.ts";

export interface Asker {
  /** Milliseconds from the request to the last byte of the reply; anything but 200 is an error. */
  time(path: string): Promise<number>;
  call<E extends AnyEndpoint>(endpoint: E, input: CallInput<E>): Promise<CallReply<E>>;
}

export function askerOf(base: string, token: string): Asker {
  const headers = { authorization: `Bearer ${token}` };
  return {
    async time(path) {
      const startedAt = performance.now();
      const reply = await fetch(new URL(path, base), { headers });
      const text = await reply.text();
      if (reply.status !== 200) throw new Error(`Cannot ask ${path}: ${text.slice(0, 500)}`);
      return performance.now() - startedAt;
    },
    call: (endpoint, input) => call(fetch, base, endpoint, input, { headers }),
  };
}

export interface Times {
  readonly p50: number;
  readonly p99: number;
}

/** Asks for each path so many times, one after the other, in turns; the first turn only warms up. */
export async function timesOf(
  asker: Asker,
  paths: readonly string[],
  turns: number,
): Promise<Times> {
  const taken: number[] = [];
  for (const path of paths) await asker.time(path);
  for (let turn = 0; turn < turns; turn++) {
    for (const path of paths) taken.push(await asker.time(path));
  }
  return { p50: quantile(taken, 0.5), p99: quantile(taken, 0.99) };
}
