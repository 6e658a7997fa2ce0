import { type Clock, systemClock } from "../../agent/clock.ts";

/** For agents whose time runs so many times as fast; devices and the control plane go on at their own pace. */
export function clockOf(pace: number): Clock {
  return {
    now: () => performance.now() * pace,
    sleep: (ms, options) => systemClock.sleep(ms / pace, options),
  };
}

/** For agents whose minutes are to be seconds. */
export const fastClock = clockOf(20);
