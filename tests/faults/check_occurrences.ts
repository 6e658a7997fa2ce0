/** I11: what became of each run of a policy. */
import type { Check, Evidence } from "./evidence.ts";

const MINUTE_MS = 60_000;
/** A run that falls due this shortly before the calm may be decided after it. */
const SETTLED_MS = 30_000;

/**
 * I11: each occurrence has one decision; no run that was due is missing from the ledger, also when nobody was there to decide
 * it; a device gets one job of an occurrence; and a run that was acknowledged is there.
 */
export const oneDecision: Check = (evidence) => {
  const { tables: { occurrences, jobs }, client } = evidence;
  const scheduled = occurrences.filter(({ trigger }) => trigger === "schedule");
  const decided = Map.groupBy(scheduled, ({ policy_id, at }) => `${policy_id} at ${at}`);
  const made = Map.groupBy(
    jobs.filter(({ occurrence_at }) => occurrence_at !== null),
    ({ device_id, policy_id, occurrence_at }) =>
      `device ${device_id} of policy ${policy_id} at ${occurrence_at}`,
  );
  const known = new Set(occurrences.map(({ id }) => id));
  const asked = client.flatMap(({ occurrenceId }) => occurrenceId ?? []);
  return {
    checked: occurrences.length + made.size + asked.length,
    violations: [
      ...[...decided].filter(([, rows]) => rows.length > 1)
        .map(([name, rows]) => `occurrence ${name} was decided ${rows.length} times`),
      ...occurrences.filter(({ decision }) => decision === null)
        .map(({ id }) => `occurrence ${id} was never decided`),
      ...[...made].filter(([, rows]) => rows.length > 1)
        .map(([name, rows]) => `${name} got ${rows.length} jobs`),
      ...asked.filter((id) => !known.has(id)).map((id) =>
        `run ${id} was acknowledged, and is not there`
      ),
      ...missing(evidence, new Set(decided.keys())),
    ],
  };
};

function missing({ facts }: Evidence, decided: ReadonlySet<string>): string[] {
  return facts.policies.flatMap(({ policyId, everyMinutes, createdAt }) => {
    if (everyMinutes === null) return [];
    const stepMs = everyMinutes * MINUTE_MS;
    const gone: string[] = [];
    for (
      let at = Math.ceil((createdAt + 1) / stepMs) * stepMs;
      at < facts.calmAt - SETTLED_MS;
      at += stepMs
    ) {
      if (!decided.has(`${policyId} at ${at}`)) gone.push(`no run of policy ${policyId} at ${at}`);
    }
    return gone;
  });
}
