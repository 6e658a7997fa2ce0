/** What this process counts of itself. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Answered } from "../http/observe.ts";

const METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Counts from the start of the process. */
export class ReplicaMetrics {
  readonly #registry = new Registry();
  readonly #requests: Histogram<"method" | "status">;
  readonly #logged: Counter<"level">;

  /** `pressureMs`: how long a request waits now for the database or the event loop. */
  constructor(pressureMs: () => number) {
    const registers = [this.#registry];
    this.#requests = new Histogram({
      name: "rookery_http_request_seconds",
      help:
        "How long requests took, by method and class of status; a held poll counts with its wait",
      labelNames: ["method", "status"],
      buckets: SECONDS,
      registers,
    });
    this.#logged = new Counter({
      name: "rookery_log_lines_total",
      help: "Lines of the log, by level, also those that the log level leaves out",
      labelNames: ["level"],
      registers,
    });
    for (const [name, help, read] of gaugesOf(pressureMs)) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    }
  }

  answered({ method, status, seconds }: Answered): void {
    const known = METHODS.includes(method) ? method : "other";
    this.#requests.observe({ method: known, status: `${Math.trunc(status / 100)}xx` }, seconds);
  }

  logged(level: string): void {
    this.#logged.inc({ level });
  }

  read(): Promise<string> {
    return this.#registry.metrics();
  }
}

function gaugesOf(pressureMs: () => number): readonly [string, string, () => number][] {
  const startedAt = Date.now() / 1_000;
  return [
    ["rookery_process_start_time_seconds", "When the replica started (Unix time)", () => startedAt],
    ["rookery_process_resident_bytes", "Memory of the process", () => Deno.memoryUsage().rss],
    ["rookery_process_heap_bytes", "Heap in use", () => Deno.memoryUsage().heapUsed],
    [
      "rookery_process_pressure_seconds",
      "How long a request waits now for a connection to the database or for the event loop",
      () => pressureMs() / 1_000,
    ],
  ];
}
