/**
 * Hundreds of small devices in a process of their own: prints one JSON line with their ports, tells everything that comes over
 * the wire to `farm.jsonl`, and obeys one order a line: `{"port", "fault", "times"}`. Ends with its standard input.
 */
import { z } from "zod";
import { type FarmDevice, startDevice } from "../support/farm/device.ts";
import { type Fault, isFault } from "../support/farm/fault.ts";
import { makeHostKey } from "../support/farm/key_pair.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { TextLineStream } from "../support/farm/text_lines.ts";
import { type FarmLine, openTeller } from "./history.ts";

/** What the farm is started with, as its only argument. */
export const FarmSetup = z.strictObject({
  folder: z.string(),
  devices: z.int(),
  seed: z.int(),
  username: z.string(),
  password: z.string(),
  /** Agents that log in by their own names. */
  alsoUsers: z.array(z.string()),
});
export type FarmSetup = z.infer<typeof FarmSetup>;

export const FarmOrder = z.strictObject({
  port: z.int(),
  fault: z.custom<Fault>((name) => typeof name === "string" && isFault(name)).nullable(),
  times: z.int().min(1).optional(),
});
export type FarmOrder = z.infer<typeof FarmOrder>;

/** The cheapest of both transports. */
const PLATFORMS = ["linux", "frr", "linux", "linux"] as const;
const INTERFACES = 4;
const STARTED_AT_ONCE = 50;
/** Every so many devices send slowly, so that sessions are under way whatever is killed or paused. */
const SLOW_EVERY = 6;

async function startDevices(setup: FarmSetup): Promise<FarmDevice[]> {
  const teller = openTeller<FarmLine>(setup.folder, "farm.jsonl");
  const { username, password, alsoUsers } = setup;
  const login = { username, password, alsoUsers, methods: ["password"] as const };
  // One for all: making hundreds would take longer than the whole start.
  const hostKey = makeHostKey();
  const devices: FarmDevice[] = [];
  const startOne = async (index: number) => {
    const platform = PLATFORMS[index % PLATFORMS.length] ?? "linux";
    const recording = makeRecording(platform, setup.seed * 1_000 + index, {
      interfaces: INTERFACES,
    });
    const device: FarmDevice = await startDevice(recording, {
      login,
      hostKey,
      ...(index % SLOW_EVERY === 1 ? { fault: "slow_drip" as const } : {}),
      onEvent: (event) => teller.tell({ port: device.port, ...event }),
    });
    devices.push(device);
  };
  for (let at = 0; at < setup.devices; at += STARTED_AT_ONCE) {
    const count = Math.min(STARTED_AT_ONCE, setup.devices - at);
    await Promise.all(Array.from({ length: count }, (_, n) => startOne(at + n)));
  }
  return devices;
}

async function main(): Promise<void> {
  const devices = await startDevices(FarmSetup.parse(JSON.parse(Deno.args[0] ?? "")));
  const byPort = new Map(devices.map((device) => [device.port, device]));
  const described = devices.map(({ port, platform, secrets }) => ({ port, platform, secrets }));
  const bytes = new TextEncoder().encode(`${JSON.stringify({ devices: described })}\n`);
  for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of lines) {
    const { port, fault, times } = FarmOrder.parse(JSON.parse(line));
    await byPort.get(port)?.setFault(fault ?? undefined, times === undefined ? {} : { times });
  }
}

if (import.meta.main) {
  await main();
  Deno.exit(0);
}
