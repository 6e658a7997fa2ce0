import type { followJobs } from "@rookery/shared/api/job_history.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { StreamOrder } from "../outbox/open_stream.ts";
import { reachesSite } from "../permissions/scope.ts";

/** What of the outbox somebody is told who follows jobs: of sites that they may see, and of what they asked for. */
export function viewOfJobs(
  asked: NonNullable<CallInput<typeof followJobs>["query"]>,
): StreamOrder["view"] {
  return ({ noun, siteId, ids, deviceIds, change, at, detail }, index, scope) => {
    if (noun !== "job" || siteId === null || !reachesSite(scope, siteId)) return undefined;
    const place = { siteId, jobId: ids[index], deviceId: deviceIds[index] };
    const isOther = (name: keyof typeof place) =>
      asked[name] !== undefined && asked[name] !== place[name];
    if (isOther("siteId") || isOther("jobId") || isOther("deviceId")) return undefined;
    return { ...place, change, at: at.toString(), ...detail };
  };
}
