/** The processes that play the agents. */
import { join } from "node:path";
import { driverDigests } from "@rookery/shared/drivers/mod.ts";
import type { Child, ProcessGroup } from "../../support/processes.ts";
import { Answer, type Driven, type LoadSetup, type Order } from "./orders.ts";
import type { Stage } from "./stage.ts";
import { cpuMsOf } from "./usage.ts";

/** Ends its processes when it is disposed. */
export interface Load extends AsyncDisposable {
  /** Gives all processes the same order; an error of one is an error. */
  ask(order: Order): Promise<readonly Answer[]>;
  /** What all of them did, put together. */
  drive(order: Extract<Order, { order: "drive" | "pace" }>): Promise<Driven>;
  requests(): Promise<{ readonly requests: number; readonly problems: Record<string, number> }>;
  cpuMs(): Promise<number>;
}

/** Starts so many processes, each with its share of the agents. */
export async function startLoad(
  { group, publicUrl, replicas }: Stage,
  { processes, agents }: { processes: number; agents: number },
): Promise<Load> {
  const share = Math.floor(agents / processes);
  const setup = { publicUrl, ports: replicas.map(({ port }) => port), count: share };
  const drivers = await driverDigests();
  const workers = await Promise.all(
    Array.from(
      { length: processes },
      (_, n) => LoadWorker.start(group, { ...setup, drivers, from: n * share }),
    ),
  );
  const ask = (order: Order) => Promise.all(workers.map((worker) => worker.ask(order)));
  return {
    ask,
    drive: async (order) => merge((await ask(order)).flatMap(({ driven }) => driven ?? [])),
    async requests() {
      const counted = (await ask({ order: "count" })).flatMap(({ counted }) => counted ?? []);
      const problems: Record<string, number> = {};
      for (const [name, count] of counted.flatMap((each) => Object.entries(each.problems))) {
        problems[name] = (problems[name] ?? 0) + count;
      }
      return { requests: counted.reduce((sum, { requests }) => sum + requests, 0), problems };
    },
    async cpuMs() {
      const used = await Promise.all(workers.map(({ pid }) => cpuMsOf(pid)));
      return used.reduce((sum, each) => sum + each, 0);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(workers.map((worker) => worker.stop()));
    },
  };
}

function merge(parts: readonly Driven[]): Driven {
  const sum = (name: "jobs" | "claims" | "empty" | "failed") =>
    parts.reduce((total, part) => total + part[name], 0);
  return {
    jobs: sum("jobs"),
    claims: sum("claims"),
    empty: sum("empty"),
    failed: sum("failed"),
    seconds: Math.max(...parts.map(({ seconds }) => seconds)),
    claimMs: parts.flatMap(({ claimMs }) => claimMs),
    resultMs: parts.flatMap(({ resultMs }) => resultMs),
  };
}

class LoadWorker {
  readonly #child: Child;
  readonly #waiting: ((answer: Answer) => void)[];

  private constructor(child: Child, waiting: ((answer: Answer) => void)[]) {
    this.#child = child;
    this.#waiting = waiting;
  }

  static async start(group: ProcessGroup, setup: LoadSetup): Promise<LoadWorker> {
    const waiting: ((answer: Answer) => void)[] = [];
    const program = join(import.meta.dirname ?? ".", "load_process.ts");
    const child = await group.start({
      command: Deno.execPath(),
      args: ["run", "-A", "--cached-only", program, JSON.stringify(setup)],
      onLine: (line) => {
        if (line.startsWith("{")) waiting.shift()?.(Answer.parse(JSON.parse(line)));
      },
    });
    return new LoadWorker(child, waiting);
  }

  get pid(): number {
    return this.#child.pid;
  }

  async stop(): Promise<void> {
    await this.#child.send(JSON.stringify({ order: "stop" } satisfies Order)).catch(() => {});
    await this.#child.status;
  }

  async ask(order: Order): Promise<Answer> {
    const answered = new Promise<Answer>((resolve) => this.#waiting.push(resolve));
    await this.#child.send(JSON.stringify(order));
    const died = this.#child.status.then(() => {
      throw new Error(`A load process ended:\n${this.#child.tail()}`);
    });
    died.catch(() => {});
    const answer = await Promise.race([answered, died]);
    if (!answer.ok) throw new Error(`Cannot ${order.order}: ${answer.error}`);
    return answer;
  }
}
