import type { JobUrgency } from "@rookery/shared/api/jobs.ts";

const URGENCY_SECONDS: Record<JobUrgency, number> = {
  interactive: -24 * 3_600,
  normal: 0,
  bulk: 6 * 3_600,
};
const SECONDS_PER_PRIORITY = 600;

/** The largest offset a rank can have (bulk at priority −100): what claims may look ahead of now. */
export const MAX_OFFSET_SECONDS = URGENCY_SECONDS.bulk + 100 * SECONDS_PER_PRIORITY;

/**
 * Seconds that a job's rank differs from its due time. Ranks only ever grow old, so every job is reached:
 * priority with ageing and without updates (DESIGN section 5).
 */
export function offsetSeconds(job: { urgency: JobUrgency; priority: number }): number {
  return URGENCY_SECONDS[job.urgency] - job.priority * SECONDS_PER_PRIORITY;
}
