/** The network between an agent and the control plane of a test, and what can go wrong on it. */
import type { Send } from "../../agent/control_plane.ts";
import type { TestControlPlane } from "./control_plane.ts";

/** Carries one request in place of the wire; `pass` is what a sound wire would do. */
export type Carrier = (
  request: Request,
  pass: (request: Request) => Promise<Response>,
) => Promise<Response>;

/** Behaves as `fetch` would: rejects when the request is aborted, and with a TypeError when it breaks. */
export class Wire {
  /** Takes every request in place of the sound wire. */
  carrier: Carrier | undefined;
  /** `POST /agent/v1/claim`, oldest first. */
  readonly sent: string[] = [];
  readonly #plane: TestControlPlane;
  readonly #carried = new Set<Promise<unknown>>();
  #breaking = new AbortController();
  #isCut = false;

  constructor(plane: TestControlPlane) {
    this.#plane = plane;
  }

  readonly send: Send = async (request) => {
    this.sent.push(`${request.method} ${new URL(request.url).pathname}`);
    if (this.#isCut) throw new TypeError("Cannot connect: the network is down");
    const signal = AbortSignal.any([request.signal, this.#breaking.signal]);
    const carry = this.carrier ?? ((sent, pass) => pass(sent));
    const carried = carry(new Request(request, { signal }), (sent) => this.#pass(sent));
    this.#carried.add(carried);
    void carried.catch(() => {}).finally(() => this.#carried.delete(carried));
    return await orAborted(carried, signal);
  };

  async #pass(request: Request): Promise<Response> {
    return await this.#plane.app.fetch(request, { remoteAddress: "192.0.2.20" });
  }

  /** Breaks every connection and lets no new one through. */
  cut(): void {
    this.#isCut = true;
    this.#breaking.abort(new TypeError("Cannot go on: the connection broke"));
  }

  mend(): void {
    this.#isCut = false;
    this.#breaking = new AbortController();
  }

  /** Resolves when the control plane has answered all that was sent, heard or not. */
  async idle(): Promise<void> {
    while (this.#carried.size > 0) await Promise.allSettled(this.#carried);
  }
}

function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return Promise.race([promise, aborted])
    .finally(() => signal.removeEventListener("abort", abort));
}
