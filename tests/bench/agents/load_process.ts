/** One process of simulated agents; obeys orders on its standard input, see orders.ts. */
import { TextLineStream } from "../../support/farm/text_lines.ts";
import { drive, pace } from "./drive.ts";
import { type Answer, LoadSetup, Order } from "./orders.ts";
import { ConnectionPool } from "./raw_http.ts";
import { type Counts, later, type Replica, SimAgent } from "./sim_agent.ts";

const POOL_SIZE = 64;
const OPENED_AT_ONCE = 48;
const WAIT_SECONDS = 50;
const START_MS = 25_000;
const ERRORS_SHOWN = 3;

class LoadProcess {
  readonly #agents: readonly SimAgent[];
  readonly #replicas: readonly Replica[];
  readonly #counts: Counts = { requests: 0, refused: 0, problems: {}, jobs: 0 };
  #idling = false;
  #loops: Promise<void>[] = [];
  #shown = 0;

  constructor({ ports, from, count, publicUrl, drivers }: LoadSetup) {
    this.#replicas = ports.map((port) => ({ port, pool: new ConnectionPool(port, POOL_SIZE) }));
    const context = { publicUrl, drivers, counts: this.#counts };
    this.#agents = Array.from({ length: count }, (_, n) => {
      const replica = this.#replicas[(from + n) % this.#replicas.length];
      if (!replica) throw new Error("There is no replica");
      return new SimAgent(from + n, replica, context);
    });
  }

  async obey(order: Order): Promise<Answer> {
    switch (order.order) {
      case "open":
        await this.#open();
        return { ok: true };
      case "idle":
        this.#idling = true;
        this.#loops = this.#agents.flatMap((agent) => [this.#beat(agent), this.#wait(agent)]);
        return { ok: true };
      case "rest":
        await this.#rest();
        return { ok: true };
      case "drive":
        return { ok: true, driven: await drive(this.#agents.slice(0, order.agents), order) };
      case "pace":
        return { ok: true, driven: await pace(this.#agents.slice(0, order.agents), order) };
      default:
        return { ok: true, counted: this.#counts };
    }
  }

  async #open(): Promise<void> {
    const waiting = [...this.#agents];
    const work = async () => {
      for (let agent = waiting.pop(); agent; agent = waiting.pop()) await agent.openSession();
    };
    await Promise.all(Array.from({ length: OPENED_AT_ONCE }, work));
  }

  /** Heartbeats at the interval that the server asks for, each agent at its own moment of it. */
  async #beat(agent: SimAgent): Promise<void> {
    await later(Math.random() * agent.heartbeatSeconds * 1_000);
    while (this.#idling) {
      await this.#trying(() => agent.heartbeat([]));
      await this.#pause(agent.heartbeatSeconds * 1_000);
    }
  }

  /** Claims are held for 50 s; the first ones begin over half of that, as those of a fleet that has run for a while. */
  async #wait(agent: SimAgent): Promise<void> {
    let waitSeconds = 1 + Math.floor(Math.random() * WAIT_SECONDS);
    await this.#pause(Math.random() * Math.min(START_MS, this.#agents.length * 5));
    while (this.#idling) {
      await this.#trying(() => agent.claim({ wanted: 10, waitSeconds, held: true }));
      waitSeconds = WAIT_SECONDS;
    }
  }

  /** In slices, so that a rest does not last a whole interval. */
  async #pause(ms: number): Promise<void> {
    const until = performance.now() + ms;
    while (this.#idling && performance.now() < until) {
      await later(Math.min(2_000, until - performance.now()));
    }
  }

  async #trying(call: () => Promise<unknown>): Promise<void> {
    try {
      await call();
    } catch (error) {
      if (!this.#idling) return;
      this.#counts.refused++;
      if (this.#shown++ < ERRORS_SHOWN) complain(String(error));
      await later(1_000);
    }
  }

  async #rest(): Promise<void> {
    this.#idling = false;
    for (const agent of this.#agents) agent.close();
    await Promise.all(this.#loops);
    this.#loops = [];
  }

  close(): void {
    for (const { pool } of this.#replicas) pool.close();
  }
}

const encoder = new TextEncoder();

function say(answer: Answer): void {
  const bytes = encoder.encode(`${JSON.stringify(answer)}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

function complain(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${text}\n`));
}

async function main(): Promise<void> {
  const load = new LoadProcess(LoadSetup.parse(JSON.parse(Deno.args[0] ?? "")));
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of lines) {
    const order = Order.parse(JSON.parse(line));
    if (order.order === "stop") break;
    say(await load.obey(order).catch((error) => ({ ok: false, error: String(error) })));
  }
  load.close();
}

if (import.meta.main) {
  await main();
  Deno.exit(0);
}
