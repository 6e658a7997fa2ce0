/** The farm in a process of its own, as its orders and answers look from outside. */
import { join } from "node:path";
import { z } from "zod";
import { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { Fault } from "../support/farm/fault.ts";
import { FAULTS } from "../support/farm/fault.ts";
import type { ProcessGroup } from "../support/processes.ts";

const FAULT_NAMES = Object.keys(FAULTS) as [Fault, ...Fault[]];

const FarmMember = z.object({
  host: z.string(),
  port: z.int(),
  platform: z.string(),
  hostname: z.string(),
  login: z.object({
    username: z.string(),
    password: z.string().optional(),
    enableSecret: z.string().optional(),
    keyPair: z.object({ privateKey: z.string(), passphrase: z.string().optional() }).optional(),
  }),
  hostKey: HostKeySeen,
  fault: z.enum(FAULT_NAMES).nullable(),
  text: z.string(),
});
export type FarmMember = z.infer<typeof FarmMember>;

const Opening = z.object({ devices: z.array(FarmMember), secrets: z.array(z.string()) });
const Answer = z.looseObject({ ok: z.boolean(), error: z.string().optional() });

/** A farm that runs in its own process. */
export interface FarmChild {
  readonly devices: readonly FarmMember[];
  /** Strings that must show up nowhere. */
  readonly secrets: readonly string[];
  /** The newest complete configurations that the device has sent, to the byte. */
  show(port: number): Promise<{ readonly sent: readonly string[] }>;
  setConfiguration(port: number, text: string): Promise<void>;
  setFault(port: number, fault: Fault, options?: { readonly times?: number }): Promise<void>;
}

export interface FarmOrder {
  readonly devices: number;
  readonly seed: number;
  readonly faults: readonly Fault[];
}

/** Starts a farm and waits until all its devices listen. */
export async function startFarmChild(group: ProcessGroup, order: FarmOrder): Promise<FarmChild> {
  const waiting: ((line: string) => void)[] = [];
  const next = () => new Promise<string>((resolve) => waiting.push(resolve));
  const opening = next();
  const child = await group.start({
    command: Deno.execPath(),
    args: [
      "run",
      "-A",
      "--cached-only",
      join(import.meta.dirname ?? ".", "../support/farm/farm_process.ts"),
      `--devices=${order.devices}`,
      `--seed=${order.seed}`,
      `--faults=${order.faults.join(",")}`,
    ],
    onLine: (line) => {
      if (line.startsWith("{")) waiting.shift()?.(line);
    },
  });
  const died = child.status.then(() => {
    throw new Error(`The farm ended:\n${child.tail()}`);
  });
  died.catch(() => {});
  const { devices, secrets } = Opening.parse(JSON.parse(await Promise.race([opening, died])));
  async function ask(question: Record<string, unknown>) {
    const line = next();
    await child.send(JSON.stringify(question));
    const answer = Answer.parse(JSON.parse(await Promise.race([line, died])));
    if (!answer.ok) throw new Error(`The farm refused: ${answer.error}`);
    return answer;
  }
  return {
    devices,
    secrets,
    show: async (port) => {
      const { sent } = await ask({ order: "show", port });
      return { sent: z.array(z.string()).parse(sent) };
    },
    setConfiguration: async (port, text) => {
      await ask({ order: "set_configuration", port, text });
    },
    setFault: async (port, fault, options) => {
      await ask({ order: "set_fault", port, fault, ...options });
    },
  };
}
