import { type Clock, systemClock } from "../../agent/clock.ts";

const PACE = 20;

/** For agents whose minutes are to be seconds; devices and the control plane go on at their own pace. */
export const fastClock: Clock = {
  now: () => performance.now() * PACE,
  sleep: (ms, options) => systemClock.sleep(ms / PACE, options),
};
