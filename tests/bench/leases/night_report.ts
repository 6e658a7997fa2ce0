/** What a night comes to, from the minutes that were played. */
import type { Night, NightPlan } from "./night.ts";

export function reportOf(night: Night, plan: NightPlan): string {
  const { devices, agents, windowMinutes, minutes } = plan;
  const { enqueue, heartbeat, claim, result } = night.calls;
  const rate = ({ count, milliseconds }: { count: number; milliseconds: number }) =>
    Math.round(count / milliseconds * 1_000).toLocaleString("en");
  const perNight = windowMinutes / minutes;
  const seconds = night.minuteSeconds.toSorted((left, right) => left - right);
  const rows = [
    [
      "a minute of the night takes",
      `${fixed(seconds[seconds.length >> 1])} s, at most ${fixed(seconds.at(-1))} s`,
    ],
    ["jobs", `${fixed(night.jobs / minutes / 60)} /s needed, ${rate(result)} results/s alone`],
    ["heartbeats", `${fixed(agents / 20)} /s needed, ${rate(heartbeat)} /s alone`],
    ["claims", `${fixed(claim.count / minutes / 60)} /s needed, ${rate(claim)} /s alone`],
    ["orders, one for each site and minute", `${rate(enqueue)} /s alone`],
    ["latest job", `${fixed(latestSeconds(night.minuteSeconds))} s after its minute`],
    ["connections", "16"],
    [
      "write-ahead log",
      `${fixed(night.walBytes / night.jobs)} B/job with heartbeats, ` +
      `${fixed(night.walBytes * perNight / 1e9)} GB/night`,
    ],
  ];
  const tables = night.tables.map(({ name, bytes }) => [name, `${fixed(bytes / 1e6)} MB`]);
  const title = `${devices.toLocaleString("en")} devices, ${agents.toLocaleString("en")} agents, ` +
    `${windowMinutes} minutes, of which ${minutes} were played`;
  return [title, "", ...[...rows, ...tables].map((row) => `| ${row.join(" | ")} |`)].join("\n");
}

/** A minute whose work takes longer than a minute makes the next one begin late. */
function latestSeconds(minuteSeconds: readonly number[]): number {
  let latest = 0;
  let endsAt = 0;
  for (const [minute, seconds] of minuteSeconds.entries()) {
    endsAt = Math.max(endsAt, minute * 60) + seconds;
    latest = Math.max(latest, endsAt - minute * 60);
  }
  return latest;
}

function fixed(value = NaN): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toFixed(1)));
}
