/**
 * The history checker: reads what `deno task faults --history DIR` left, and nothing else, and says whether the invariants of
 * the design hold. By itself: `deno run --allow-read=DIR tests/faults/check.ts DIR`.
 */
import { oneDecision } from "./check_occurrences.ts";
import { boundedInversion, boundedRetries, oneLease, withinLimits } from "./check_limits.ts";
import {
  acceptedTwice,
  everyJobEnds,
  lostJobs,
  nothingLost,
  oneEnd,
  onePlace,
  oneResult,
  risingEpochs,
  supersededChangesNothing,
} from "./check_places.ts";
import {
  noActsWhenFenced,
  nothingAfterRevocation,
  oneMoreTry,
  sameAnswer,
  sealedToHolder,
} from "./check_wire.ts";
import { type Check, type Evidence, type Finding, readEvidence } from "./evidence.ts";
import { livesOf } from "./lease_life.ts";

export const CHECKS: readonly (readonly [name: string, what: string, check: Check])[] = [
  ["I1", "every job in one place", onePlace],
  ["I2", "one lease and one session per device", oneLease],
  ["I3", "epochs rise, one agent each", risingEpochs],
  ["I4", "one result, of the last epoch", oneResult],
  ["I5", "what was acknowledged is there", nothingLost],
  ["I6", "every job ended", everyJobEnds],
  ["I7", "same envelope, same answer", sameAnswer],
  ["I8", "no grant beyond a limit", withinLimits],
  ["I9", "nothing after a revocation", nothingAfterRevocation],
  ["I10", "logins for their agents alone", sealedToHolder],
  ["I11", "one decision per occurrence", oneDecision],
  ["I12", "no act on a device when fenced", noActsWhenFenced],
  ["I13", "nobody passed by a worse rank", boundedInversion],
  ["I14", "no more tries than the policy", boundedRetries],
  ["I15", "superseded results change nothing", supersededChangesNothing],
  ["I16", "every lease ended once", oneEnd],
  ["client", "one more try at most", oneMoreTry],
];

const SHOWN = 5;

export interface Verdict {
  readonly lines: readonly string[];
  readonly violations: number;
}

export async function checkHistories(folder: string): Promise<Verdict> {
  return judge(await readEvidence(folder));
}

/** Pure: the same evidence gets the same verdict. */
export function judge(evidence: Evidence): Verdict {
  const findings = CHECKS.map(([name, what, check]) => ({ name, what, ...check(evidence) }));
  const violations = findings.reduce((sum, finding) => sum + finding.violations.length, 0);
  return { violations, lines: [...findings.flatMap(show), ...summary(evidence, findings)] };
}

function show({ name, what, checked, violations }: Finding & { name: string; what: string }) {
  const line = `${name.padEnd(7)}${what.padEnd(38)}${
    String(checked).padStart(8)
  } checked, ${violations.length} violations`;
  return [line, ...violations.slice(0, SHOWN).map((violation) => `        ${violation}`)];
}

function summary(evidence: Evidence, findings: readonly (Finding & { name: string })[]): string[] {
  const { facts, faults, tables, wire, client } = evidence;
  const count = (pattern: RegExp) =>
    faults.filter(({ fault, phase }) => phase === "begin" && pattern.test(fault)).length;
  const of = (name: string) => findings.find((each) => each.name === name)?.violations.length ?? 0;
  const twice = acceptedTwice({ ...tables, wire }).length;
  const outcomes = Map.groupBy(tables.done, ({ outcome }) => outcome);
  return [
    `ended: ${[...outcomes].map(([name, rows]) => `${rows.length} ${name}`).sort().join(", ")}`,
    `client: ${client.length} calls, ${
      client.filter(({ tries }) => tries > 1).length
    } repeated, at most ${Math.max(0, ...client.map(({ tries }) => tries))} tries`,
    `lost ${lostJobs(evidence).length}, accepted twice ${twice}, two at a device ${of("I2")}, ` +
    `beyond a limit ${of("I8")}, acts when fenced ${of("I12")}, never ended ${of("I6")}`,
    wasted(evidence),
    `jobs ${tables.done.length}, kills ${count(/^kill_/)}, pauses ${count(/^pause_/)}, cuts ${
      count(/^(cut|half_open|lose_replies)$/)
    }, seed ${facts.seed}`,
  ];
}

/** Runs whose result did not count: what leases cost that were lost while somebody worked under them. */
function wasted({ agents, protocol, tables }: Evidence): string {
  const lives = new Map(livesOf(tables).map((life) => [life.grant.lease_id, life]));
  const started = [
    ...[...agents.values()].flat().filter(({ said }) => said.event === "attempt_started")
      .map(({ said }) => said.lease ?? ""),
    ...protocol.filter(({ event }) => event === "started").map(({ leaseId = "" }) => leaseId),
  ];
  const counted = started.filter((id) => (lives.get(id)?.accepted.length ?? 0) > 0).length;
  const late = tables.attempts.filter(({ answer }) => answer === "accepted_late").length;
  return `runs: ${started.length} started, ${counted} counted (${late} of them late), ${
    started.length - counted
  } wasted`;
}

if (import.meta.main) {
  const { lines, violations } = await checkHistories(Deno.args[0] ?? ".");
  Deno.stdout.writeSync(new TextEncoder().encode(`${lines.join("\n")}\n`));
  Deno.exit(violations === 0 ? 0 : 1);
}
