/**
 * The one address of the installation: a load balancer before the replicas, and the network of the agents with all that it
 * does to them. It knows an agent by the key of its proofs, and writes down every request that it passes on.
 */
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import type { Random } from "../support/farm/random.ts";
import type { Teller, WireLine } from "./history.ts";
import { callOf, fromBase64url, type Heard, keyOf, readCall } from "./read_call.ts";

/**
 * What a link does: `cut` breaks every connection and refuses new ones, `half_open` swallows everything and closes nothing,
 * `lose_replies` lets requests through and breaks the connection when their answer comes.
 */
export type LinkFault = "cut" | "half_open" | "lose_replies";

export interface GatewayOptions {
  readonly random: Random;
  readonly wire: Teller<WireLine>;
}

export interface Backend {
  readonly name: string;
  readonly port: number;
}

/** A request, read to its end. */
interface Incoming {
  readonly request: http.IncomingMessage;
  readonly response: http.ServerResponse;
  readonly body: Uint8Array;
  readonly heard: Heard;
  readonly receivedAt: number;
}

interface Answer {
  readonly replica: string;
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** In a hundred requests of agents. */
const DELAYED = 4;
const DOUBLED = 6;
const DELAY_MS = { most: 2_500 };
const DOUBLE_MS = { most: 4_000 };

export class Gateway implements AsyncDisposable {
  readonly #server: http.Server;
  readonly #pool = new http.Agent({ keepAlive: true });
  readonly #options: GatewayOptions;
  readonly #agents = new Map<string, string>();
  readonly #faults = new Map<string, LinkFault>();
  /** Raised when a link goes dead: what was on its way then never arrives. */
  readonly #lives = new Map<string, number>();
  readonly #sockets = new Map<string, Set<http.IncomingMessage["socket"]>>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #backends: readonly Backend[] = [];
  #turn = 0;
  #stormy = false;

  private constructor(options: GatewayOptions) {
    this.#options = options;
    this.#server = http.createServer((request, response) => {
      this.#serve(request, response).catch(() => request.socket.destroy());
    });
    this.#server.keepAliveTimeout = 75_000;
    this.#server.requestTimeout = 0;
  }

  static async open(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    await new Promise<void>((resolve) => gateway.#server.listen(0, "127.0.0.1", resolve));
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Where requests go, in turns; who cannot be connected to is passed over. */
  balance(backends: readonly Backend[]): void {
    this.#backends = backends;
  }

  /** Whether requests of agents are delayed and doubled. */
  set stormy(stormy: boolean) {
    this.#stormy = stormy;
  }

  /** Breaks the link of an agent, or mends it: what was swallowed stays lost. */
  setLink(agentId: string, fault: LinkFault | undefined): void {
    if (fault) this.#faults.set(agentId, fault);
    else this.#faults.delete(agentId);
    this.#lives.set(agentId, this.#lifeOf(agentId) + 1);
    if (fault === "cut") {
      for (const socket of this.#sockets.get(agentId) ?? []) socket.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#pool.destroy();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #lifeOf(agentId: string): number {
    return this.#lives.get(agentId) ?? 0;
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const receivedAt = Date.now();
    // Agents name the whole address, as one does to a proxy.
    request.url = (request.url ?? "/").replace(/^https?:\/\/[^/]+/, "");
    response.on("error", () => {});
    const body = await readAll(request);
    const call = callOf(request.method, request.url);
    const key = keyOf(request.headers.dpop);
    const agentId = key === undefined ? undefined : this.#agents.get(key);
    const heard: Heard = { call, key, agentId, ...readCall(call, request.url, body) };
    const incoming = { request, response, body, heard, receivedAt };
    if (agentId === undefined) return this.#deliver(incoming, await this.#pass(incoming, 0));
    this.#note(agentId, request.socket);
    await this.#carry(incoming, agentId);
  }

  /** Over the link of an agent, whatever that does. */
  async #carry(incoming: Incoming, agentId: string): Promise<void> {
    const { random } = this.#options;
    const fault = this.#faults.get(agentId);
    if (fault === "cut") return void incoming.request.socket.destroy();
    // Neither passed on nor answered nor closed.
    if (fault === "half_open") return;
    const life = this.#lifeOf(agentId);
    if (this.#stormy && random.integer(1, 100) <= DOUBLED) {
      this.#later(random.integer(0, DOUBLE_MS.most), () => this.#pass(incoming, 1));
    }
    if (this.#stormy && random.integer(1, 100) <= DELAYED) {
      await new Promise<void>((resolve) =>
        this.#later(random.integer(1, DELAY_MS.most), () => Promise.resolve(resolve()))
      );
    }
    const answer = await this.#pass(incoming, 0, () => this.#swallows(agentId, life));
    if (this.#faults.get(agentId) === "lose_replies") incoming.request.socket.destroy();
    else if (!this.#swallows(agentId, life)) this.#deliver(incoming, answer);
  }

  /** Whether an answer to what was sent in that life of the link is swallowed now. */
  #swallows(agentId: string, life: number): boolean {
    return this.#lifeOf(agentId) !== life;
  }

  #later(ms: number, run: () => Promise<unknown>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run().catch(() => {});
    }, ms);
    this.#timers.add(timer);
  }

  #note(agentId: string, socket: http.IncomingMessage["socket"]): void {
    const sockets = this.#sockets.get(agentId) ?? new Set();
    this.#sockets.set(agentId, sockets);
    if (sockets.has(socket)) return;
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  }

  /** Passes a request on, and writes down what became of it; undefined when no replica answered. */
  async #pass(
    incoming: Incoming,
    copy: number,
    isLost: () => boolean = () => false,
  ): Promise<Answer | undefined> {
    const { heard, receivedAt } = incoming;
    const at = this.#turn++;
    let replica = "";
    let answer: Answer | undefined;
    for (let tried = 0; tried < this.#backends.length && !answer; tried++) {
      const backend = this.#backends[(at + tried) % this.#backends.length];
      if (!backend) break;
      replica = backend.name;
      const outcome = await this.#ask(backend, incoming, copy);
      if (outcome === "refused") continue;
      answer = outcome;
      break;
    }
    if (answer) this.#learn(heard, answer);
    if (heard.agentId !== undefined) {
      const { call, key: _, agentId, ...told } = heard;
      const fault = this.#faults.get(agentId);
      const delivered = copy === 0 && answer !== undefined && fault !== "lose_replies" &&
        !isLost() && !incoming.response.destroyed;
      this.#options.wire.tell({
        ...{ receivedAt, agentId, call, copy, replica, delivered },
        status: answer?.status ?? null,
        ...told,
        ...answer && readAnswer(heard, answer),
      });
    }
    return answer;
  }

  /** `refused`: nobody listens there, so another one may be asked. */
  #ask(
    { name, port }: Backend,
    { request, response, body }: Incoming,
    copy: number,
  ): Promise<Answer | "refused" | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer | "refused" | undefined>();
    const upstream = http.request({
      host: "127.0.0.1",
      port,
      method: request.method ?? "GET",
      path: request.url ?? "/",
      headers: { ...request.headers, "content-length": String(body.length) },
      agent: this.#pool,
    }, (reply) => {
      readAll(reply).then((content) => {
        const { statusCode: status = 0, headers } = reply;
        resolve({ replica: name, status, headers, body: content });
      }, () => resolve(undefined));
    });
    upstream.on(
      "error",
      (error: NodeJS.ErrnoException) =>
        resolve(error.code === "ECONNREFUSED" ? "refused" : undefined),
    );
    // Whoever hangs up is not waited for any more; a duplicate has nobody who could.
    if (copy === 0) response.once("close", () => upstream.destroy());
    upstream.end(body);
    return promise;
  }

  #deliver({ request, response }: Incoming, answer: Answer | undefined): void {
    if (!answer) return void request.socket.destroy();
    const { connection: _, "transfer-encoding": __, ...headers } = answer.headers;
    response.writeHead(answer.status, headers);
    response.end(request.method === "HEAD" ? undefined : answer.body);
  }

  /** Whose key it is, from the answer to an enrolment. */
  #learn({ call, key }: Heard, { status, body }: Answer): void {
    if (call !== "POST enroll" || status >= 300 || key === undefined) return;
    const { agentId } = JSON.parse(new TextDecoder().decode(body));
    if (typeof agentId === "string") this.#agents.set(key, agentId);
  }
}

function readAnswer({ call }: Heard, { status, body }: Answer): Partial<WireLine> {
  if (status >= 300 || body.length === 0) {
    return call === "POST result" && status === 409 ? { answer: problemOf(body) } : {};
  }
  const reply = JSON.parse(new TextDecoder().decode(body));
  if (call === "POST result") {
    return { answer: String(reply.answer), duplicate: reply.duplicate === true };
  }
  if (call !== "POST claim") return {};
  return { leases: (reply.leases as { lease: string }[]).map(({ lease }) => leaseOf(lease)) };
}

function problemOf(body: Uint8Array): string {
  const { type } = JSON.parse(new TextDecoder().decode(body));
  return String(type) === "lease-superseded" ? "superseded" : String(type);
}

function leaseOf(token: string) {
  const claims = JSON.parse(fromBase64url(token.split(".")[1] ?? ""));
  const { jti: leaseId, sub: jobId, epoch, device, aud: agentId, bootId } = claims;
  return { leaseId, jobId, epoch, deviceId: device.id, agentId, bootId };
}

async function readAll(stream: http.IncomingMessage): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece as Uint8Array);
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
