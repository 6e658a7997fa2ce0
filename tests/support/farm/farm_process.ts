/**
 * A farm as its own process, for the demo: prints one JSON line with all devices, then obeys orders, one
 * JSON line each, and answers each with one. It stops on the order `stop`, at the end of its input, and on
 * SIGINT and SIGTERM, so that it never outlives what started it.
 */
import { parseArgs } from "node:util";
import { TextLineStream } from "./text_lines.ts";
import { z } from "zod";
import type { FarmDevice } from "./device.ts";
import { type Farm, startFarm } from "./farm.ts";
import { type Fault, isFault } from "./fault.ts";

const FaultName = z.string().refine(isFault, "is no fault of the farm");

const Order = z.discriminatedUnion("order", [
  z.strictObject({
    order: z.literal("set_fault"),
    port: z.int(),
    fault: FaultName.nullable(),
    times: z.int().min(1).optional(),
  }),
  z.strictObject({ order: z.literal("set_configuration"), port: z.int(), text: z.string() }),
  z.strictObject({ order: z.literal("show"), port: z.int() }),
  z.strictObject({ order: z.literal("stop") }),
]);
type Order = z.infer<typeof Order>;

/** The device as the process prints it, credentials included: it is a toy, and its reader the demo. */
function describe(device: FarmDevice) {
  const { host, port, platform, hostname, login, hostKey, fault, text } = device;
  const { type, fingerprint } = hostKey;
  return {
    host,
    port,
    platform,
    hostname,
    login,
    hostKey: { type, fingerprint },
    fault: fault ?? null,
    text,
  };
}

async function obey(farm: Farm, order: Exclude<Order, { order: "stop" }>): Promise<unknown> {
  const device = farm.devices.find(({ port }) => port === order.port);
  if (!device) throw new RangeError(`no device has port ${order.port}`);
  if (order.order === "set_configuration") device.setConfiguration(order.text);
  if (order.order === "set_fault") {
    const { fault, times } = order;
    await device.setFault(fault ?? undefined, times === undefined ? {} : { times });
  }
  const { configuration, sent, log } = device;
  return order.order === "show" ? { ...describe(device), configuration, sent, log } : {};
}

async function answer(farm: Farm, line: string): Promise<boolean> {
  try {
    const order = Order.parse(JSON.parse(line));
    if (order.order === "stop") return false;
    await print({ ok: true, ...Object(await obey(farm, order)) });
  } catch (error) {
    await print({ ok: false, error: error instanceof Error ? error.message : String(error) });
  }
  return true;
}

const encoder = new TextEncoder();

async function print(value: unknown): Promise<void> {
  const bytes = encoder.encode(`${JSON.stringify(value)}\n`);
  for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
}

function readFaults(text: string): Fault[] {
  return text.split(",").filter((name) => name !== "").map((name) => {
    if (isFault(name)) return name;
    throw new TypeError(`Cannot start the farm: "${name}" is no fault`);
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      devices: { type: "string", default: "24" },
      seed: { type: "string", default: "1" },
      faults: { type: "string", default: "" },
    },
  });
  await using farm = await startFarm({
    devices: Number(values.devices),
    seed: Number(values.seed),
    faults: readFaults(values.faults),
  });
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).getReader();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void lines.cancel());
  }
  await print({ devices: farm.devices.map(describe), secrets: farm.secrets });
  for (;;) {
    const { done, value } = await lines.read();
    if (done || !await answer(farm, value)) break;
  }
}

if (import.meta.main) {
  await main();
  // What is left is the standard input, which a terminal keeps open.
  Deno.exit(0);
}
