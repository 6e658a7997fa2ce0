import assert from "node:assert/strict";
import { join } from "node:path";
import { type Evidence, readEvidence } from "./evidence.ts";
import type { FaultName } from "./plan.ts";

const MAIN = join(import.meta.dirname ?? ".", "main.ts");
/** Small, since it runs beside other tests; the long runs are for `deno task faults`. */
const ARGS = ["--seconds", "60", "--seed", "1", "--devices", "12", "--pace", "4"];
const CLASSES: readonly FaultName[] = [
  ...["kill_agent", "kill_protocol", "kill_replica", "kill_database", "pause_agent"] as const,
  ...["cut", "half_open", "lose_replies", "device"] as const,
];
const MOST_MS = 600_000;
const HOUR_MS = 3_600_000;

interface Played {
  readonly code: number;
  readonly output: string;
  readonly evidence: Evidence;
}

/** Both tests look at the same run. */
let played: Promise<Played> | undefined;

async function play(): Promise<Played> {
  const folder = await Deno.makeTempDir({ prefix: "rookery-histories-" });
  try {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--cached-only", "--no-check", MAIN, ...ARGS, "--history", folder],
      stdin: "null",
      signal: AbortSignal.timeout(MOST_MS),
    }).output();
    const output = [stderr, stdout].map((text) => new TextDecoder().decode(text)).join("");
    const evidence = await readEvidence(folder).catch((cause: unknown) => {
      throw new Error(`It left no history:\n${output}`, { cause });
    });
    return { code, output, evidence };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("deno task faults finds every invariant held after a minute of every kind of fault", async () => {
  const { code, output, evidence } = await (played ??= play());
  assert.equal(code, 0, output);
  assert.match(output, /^lost 0, accepted twice 0, /m);
  assert.match(output, /\njobs \d+, kills \d+, pauses \d+, cuts \d+, seed 1\n$/);
  const made = new Set(evidence.faults.map(({ fault }) => fault));
  assert.deepEqual(CLASSES.filter((fault) => !made.has(fault)), [], output);
  assert.ok(evidence.wire.some(({ copy }) => copy === 1), "no request was doubled");
  assert.ok(jumped(evidence), "no clock jumped");
  assert.ok(evidence.tables.done.length > 60, output);
});

Deno.test("of two control planes one is killed every ten seconds: no client sees more than a retry", async () => {
  const { output, evidence } = await (played ??= play());
  const kills = evidence.faults.filter(({ fault, phase }) =>
    fault === "kill_replica" && phase === "begin"
  );
  // One is spared while the other one is not back yet.
  assert.ok(kills.length >= 3, `${kills.length} kills`);
  assert.match(output, /^client +one more try at most +\d+ checked, 0 violations$/m);
  assert.match(output, /^I5 .* 0 violations$/m);
  assert.match(output, /^I4 .* 0 violations$/m);
});

/** The log of an agent has its own time, the line around it that of the machine. */
function jumped({ agents }: Evidence): boolean {
  return [...agents.values()].flat().some(({ at, said }) =>
    Math.abs(Date.parse(String(said.at)) - at) > HOUR_MS / 2
  );
}
