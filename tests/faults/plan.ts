/** Which faults come when: all of it follows from the seed. */
import { makeRandom, type Random } from "../support/farm/random.ts";

export type FaultName =
  | "kill_agent"
  | "kill_protocol"
  | "kill_replica"
  | "kill_database"
  | "pause_agent"
  | "pause_protocol"
  | "pause_replica"
  | "cut"
  | "half_open"
  | "lose_replies"
  | "fill_disk"
  | "device";

/** Something that begins at a time and is over after a while; counted from the start of the storm. */
export interface PlannedFault {
  readonly fault: FaultName;
  /** Which one of those that the fault can meet, by its place. */
  readonly target: number;
  readonly atMs: number;
  readonly forMs: number;
}

export interface PlanOrder {
  readonly seed: number;
  readonly seconds: number;
  /** How long an agent may be unheard: pauses are longer. */
  readonly ttlSeconds: number;
  readonly agents: number;
  readonly devices: number;
}

interface Track {
  readonly fault: FaultName;
  /** From one to the next. */
  readonly everySeconds: number;
  /** The first one, at the latest. */
  readonly firstSeconds: number;
  readonly forMs: readonly [number, number];
  readonly targets: number;
}

/** Of agents that only speak the protocol. */
export const PROTOCOL_PROCESSES = 3;

/** One replica after the other for a minute, then more seldom: each start costs seconds of a processor. */
const REPLICA_KILLS = {
  everySeconds: 10,
  denseSeconds: 60,
  laterSeconds: 20,
  downMs: [500, 2_000],
};

/** Plans the faults of a run; the same order gives the same plan. */
export function planFaults(order: PlanOrder): readonly PlannedFault[] {
  const random = makeRandom(order.seed);
  const faults = [
    ...planReplicaKills(order, random),
    ...tracksOf(order).flatMap((track) => planTrack(track, order, random)),
  ];
  return faults.sort((left, right) => left.atMs - right.atMs);
}

function tracksOf({ ttlSeconds, agents, devices }: PlanOrder): readonly Track[] {
  const pause = [ttlSeconds * 1_000 + 1_000, ttlSeconds * 1_000 + 8_000] as const;
  return [
    track("pause_agent", [45, 4], pause, agents),
    track("kill_agent", [14, 8], [200, 3_000], agents),
    track("kill_protocol", [40, 15], [500, 3_000], PROTOCOL_PROCESSES),
    track("pause_protocol", [150, 80], pause, PROTOCOL_PROCESSES),
    track("kill_database", [60, 25], [0, 0], 1),
    track("pause_replica", [70, 40], [3_000, 8_000], 2),
    track("cut", [9, 6], [100, 4_000], agents + 1),
    track("half_open", [35, 12], [8_000, 45_000], agents + 1),
    track("lose_replies", [25, 10], [2_000, 9_000], agents + 1),
    track("fill_disk", [50, 12], [8_000, 15_000], 1),
    track("device", [3, 2], [1_000, 6_000], devices),
  ];
}

function track(
  fault: FaultName,
  [everySeconds, firstSeconds]: readonly [number, number],
  forMs: readonly [number, number],
  targets: number,
): Track {
  return { fault, everySeconds, firstSeconds, forMs, targets };
}

function planTrack(track: Track, { seconds }: PlanOrder, random: Random): PlannedFault[] {
  const { fault, everySeconds, firstSeconds, forMs, targets } = track;
  const faults: PlannedFault[] = [];
  const spread = everySeconds * 300;
  let atMs = random.integer(firstSeconds * 500, firstSeconds * 1_000);
  while (atMs < seconds * 1_000) {
    const target = random.integer(0, targets - 1);
    faults.push({ fault, target, atMs, forMs: random.integer(...forMs) });
    atMs += everySeconds * 1_000 + random.integer(-spread, spread);
  }
  return faults;
}

function planReplicaKills({ seconds }: PlanOrder, random: Random): PlannedFault[] {
  const { everySeconds, denseSeconds, laterSeconds, downMs: [least, most] } = REPLICA_KILLS;
  const faults: PlannedFault[] = [];
  let at = everySeconds / 2;
  for (let n = 0; at < seconds; n++) {
    const forMs = random.integer(least ?? 0, most ?? 0);
    faults.push({ fault: "kill_replica", target: n % 2, atMs: at * 1_000, forMs });
    at += at < denseSeconds ? everySeconds : laterSeconds;
  }
  return faults;
}
