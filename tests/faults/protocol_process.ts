/**
 * A process of agents without sessions: each claims, starts, says that it was at the device, reports, and now and then does what
 * lost replies and restarts make agents do. Tells to `protocol-N.jsonl`; ends by a signal, mostly by kill -9.
 */
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { frrConfiguration, outcomeOf } from "../support/backup_report.ts";
import { makeRandom, type Random } from "../support/farm/random.ts";
import { openTeller, type ProtocolLine, type Teller } from "./history.ts";
import { type Body, type Claims, ProtocolAgent, RefusedError } from "./protocol_agent.ts";

export const ProtocolSetup = z.strictObject({
  folder: z.string(),
  file: z.string(),
  seed: z.int(),
  publicUrl: z.string(),
  drivers: z.record(z.string(), z.string()),
  /** Rises with each start of the process. */
  sequence: z.int(),
  capacity: z.int(),
  agents: z.array(z.strictObject({ number: z.int(), agentId: z.string() })),
});
export type ProtocolSetup = z.infer<typeof ProtocolSetup>;

const WAIT_SECONDS = 20;
const WORK_MS = [20, 400] as const;
const BEAT_MS = 5_000;
const DELIVERIES = 12;

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** One agent at work, for as long as the process lives. */
class Worker {
  readonly #agent: ProtocolAgent;
  readonly #agentId: string;
  readonly #capacity: number;
  readonly #random: Random;
  readonly #history: Teller<ProtocolLine>;
  readonly #running = new Map<string, Claims>();

  constructor(
    { agentId, number }: ProtocolSetup["agents"][number],
    setup: ProtocolSetup,
    history: Teller<ProtocolLine>,
  ) {
    this.#agent = new ProtocolAgent({ ...setup, number });
    this.#agentId = agentId;
    this.#capacity = setup.capacity;
    this.#random = makeRandom(setup.seed * 100 + number);
    this.#history = history;
  }

  async live(): Promise<void> {
    await Promise.all([this.#beat(), this.#claimOn()]);
  }

  #tell(event: ProtocolLine["event"], { jti, sub, epoch }: Claims, more: { answer?: string } = {}) {
    const lease = { leaseId: jti, jobId: sub, epoch };
    this.#history.tell({ event, agentId: this.#agentId, ...lease, ...more });
  }

  async #beat(): Promise<void> {
    for (;;) {
      await this.#heartbeat().catch(() => {});
      // The self-fence of an agent: what it held is none of its business any more.
      if (performance.now() > this.#agent.heardUntil && this.#running.size > 0) {
        this.#history.tell({ event: "fenced", agentId: this.#agentId });
        this.#running.clear();
      }
      await later(BEAT_MS);
    }
  }

  async #heartbeat(): Promise<void> {
    const { cancel, unknown } = await this.#agent.heartbeat([...this.#running.keys()]);
    for (const id of unknown as string[]) this.#running.delete(id);
    for (const id of cancel as string[]) {
      const claims = this.#running.get(id);
      this.#running.delete(id);
      if (claims) void this.#deliver(claims, { status: "cancelled" });
    }
  }

  async #claimOn(): Promise<void> {
    let claimId: string = randomUUID();
    for (;;) {
      const wanted = this.#capacity - this.#running.size;
      if (wanted <= 0) {
        await later(50);
        continue;
      }
      try {
        const leases = await this.#agent.claim({ claimId, wanted, waitSeconds: WAIT_SECONDS });
        // As if the reply had been lost: the same claim again must bring the same leases.
        if (this.#random.integer(1, 20) > 1) claimId = randomUUID();
        await this.#start(leases);
      } catch (error) {
        await later(error instanceof RefusedError ? error.retryAfterSeconds * 300 : 300);
      }
    }
  }

  async #start(leases: readonly Claims[]): Promise<void> {
    const fresh = leases.filter(({ jti }) => !this.#running.has(jti));
    for (const claims of fresh) this.#running.set(claims.jti, claims);
    if (fresh.length === 0) return;
    await this.#heartbeat();
    for (const claims of fresh) void this.#work(claims);
  }

  async #work(claims: Claims): Promise<void> {
    if (!this.#running.has(claims.jti)) return;
    this.#tell("started", claims);
    await later(this.#random.integer(...WORK_MS));
    if (!this.#running.has(claims.jti)) return this.#tell("dropped", claims);
    const report = await this.#read(claims).catch(() => undefined);
    this.#tell("ended", claims);
    if (report) await this.#deliver(claims, report);
    this.#running.delete(claims.jti);
  }

  /** The first time all of it, afterwards nothing new; now and then a failure of each class. */
  async #read(claims: Claims): Promise<Body> {
    const chance = this.#random.integer(1, 100);
    if (chance <= 2) return failed("connection_lost");
    if (chance === 3) return failed("device_busy");
    if (chance === 4) return failed("configuration_truncated");
    const text = frrConfiguration({ password: claims.device.id, interfaces: 3 });
    const bytes = new TextEncoder().encode(text);
    const known = claims.baselines.running;
    const outcome = await outcomeOf(bytes, { unchanged: known !== undefined });
    if (!known) await this.#agent.upload(claims, bytes);
    return { status: "completed", outcome };
  }

  /** Until there is an answer; now and then once more, which must bring the same one. */
  async #deliver(claims: Claims, report: Body): Promise<void> {
    const result = this.#agent.signResult(claims, report);
    for (let tries = 0; tries < DELIVERIES; tries++) {
      try {
        const answer = await this.#agent.deliver(claims, result);
        this.#tell("answered", claims, { answer });
        if (this.#random.integer(1, 10) > 1) return;
      } catch (error) {
        const final = error instanceof RefusedError && error.status < 500 && error.status !== 429;
        if (final) return this.#tell("answered", claims, { answer: error.type });
      }
      await later(200 * 2 ** Math.min(tries, 5));
    }
  }
}

function failed(code: string): Body {
  return { status: "failed", failure: { code, detail: "as it was ordered" } };
}

async function main(): Promise<void> {
  const setup = ProtocolSetup.parse(JSON.parse(Deno.args[0] ?? ""));
  const history = openTeller<ProtocolLine>(setup.folder, setup.file);
  await Promise.all(setup.agents.map((agent) => new Worker(agent, setup, history).live()));
}

if (import.meta.main) await main();
