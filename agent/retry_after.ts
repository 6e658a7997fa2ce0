import { ProblemError } from "@rookery/shared/problem.ts";
import { boundedMs } from "./clock.ts";

/** How long the control plane asked to be left alone, within limits in seconds; undefined when it did not. */
export function retryAfterMs(
  error: unknown,
  limits: { readonly min: number; readonly max: number },
): number | undefined {
  return error instanceof ProblemError && error.retryAfterSeconds !== undefined
    ? boundedMs(error.retryAfterSeconds, limits)
    : undefined;
}
