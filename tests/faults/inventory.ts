/** What there is to back up: two sites with devices of the farm, two with devices that protocol agents vouch for. */
import { join } from "node:path";
import { createCredential, createLocalCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { z } from "zod";
import type { FarmOrder, FarmSetup } from "./farm_process.ts";
import type { RunFacts } from "./history.ts";
import { startProgram } from "./processes.ts";
import type { Centre } from "./stage.ts";

export interface Farm {
  readonly devices: readonly {
    readonly port: number;
    readonly platform: string;
    readonly secrets: readonly string[];
  }[];
  order(order: FarmOrder): Promise<void>;
}

const Opening = z.object({
  devices: z.array(
    z.object({ port: z.int(), platform: z.string(), secrets: z.array(z.string()) }),
  ),
});

export async function startFarm(
  { group, histories }: Pick<Centre, "group" | "histories">,
  order: Omit<FarmSetup, "folder">,
): Promise<Farm> {
  const opened = Promise.withResolvers<string>();
  const setup: FarmSetup = { ...order, folder: histories };
  const child = await startProgram(group, {
    flags: ["-A"],
    args: [join(import.meta.dirname ?? ".", "farm_process.ts"), JSON.stringify(setup)],
    onLine: (line) => line.startsWith("{") && opened.resolve(line),
  });
  child.status.then(() => opened.reject(new Error(`The farm ended:\n${child.tail()}`)));
  const { devices } = Opening.parse(JSON.parse(await opened.promise));
  return { devices, order: (line) => child.send(JSON.stringify(line)) };
}

export type Sites = readonly (RunFacts["sites"][number] & { readonly siteId: SiteId })[];
export type Devices = readonly {
  readonly deviceId: DeviceId;
  readonly siteId: SiteId;
  readonly port: number | null;
}[];

export async function createSites(
  { client }: Pick<Centre, "client">,
  { ttlSeconds, limits }: { ttlSeconds: number; limits: Readonly<Record<string, number>> },
): Promise<Sites> {
  const sites = [];
  for (const [name, maxLive] of Object.entries(limits)) {
    const body = { name, maxLive, leaseTtlSeconds: ttlSeconds };
    const { id } = await client.call(createSite, { body });
    sites.push({ siteId: id, name, maxLive });
  }
  return sites;
}

export interface Logins {
  /** Kept by the control plane. */
  readonly stored: { readonly username: string; readonly password: string };
  /** Known to agents alone, who log in by their own names. */
  readonly localName: string;
  /** A wrong one, for a device that always refuses it. */
  readonly wrong: string;
}

const LIMITS = { connectSeconds: 20, idleSeconds: 40, totalSeconds: 90 };
const MADE_AT_ONCE = 4;
/** Every so many devices of the farm have the stored login, the others that of their agent. */
const STORED_EVERY = 4;
/** Ports where nobody listens, of which two devices are. */
const CLOSED_PORTS = [1, 2];

/** Enters the devices of the farm and those without one; the first device has a wrong login, two have a closed port. */
export async function createDevices(
  { client }: Pick<Centre, "client">,
  { sites, farm, virtual, logins }: {
    readonly sites: Sites;
    readonly farm: Farm;
    /** How many devices the last two sites have, which no SSH server plays. */
    readonly virtual: number;
    readonly logins: Logins;
  },
): Promise<Devices> {
  const credentials = await createCredentials({ client }, logins);
  const [north, south, east, west] = sites.map(({ siteId }) => siteId);
  if (!north || !south || !east || !west) throw new RangeError("There are four sites");
  const credentialOf = (index: number) =>
    index === 0
      ? credentials.wrong
      : index % STORED_EVERY === 0
      ? credentials.stored
      : credentials.local;
  const real = farm.devices.map(({ port, platform }, index) => ({
    ...{ siteId: index % 2 ? south : north, port, platform, credentialId: credentialOf(index) },
  }));
  const closed = CLOSED_PORTS.map((port) => ({
    ...{ siteId: north, port, platform: "linux", credentialId: credentials.local },
  }));
  const told = Array.from({ length: virtual }, (_, index) => ({
    ...{ siteId: index % 2 ? west : east, port: null, platform: "frr" },
    credentialId: credentials.told,
  }));
  const waiting = [...real, ...closed, ...told].entries();
  const devices: { deviceId: DeviceId; siteId: SiteId; port: number | null }[] = [];
  const make = async () => {
    for (const [index, { port, ...device }] of waiting) {
      const name = `device-${index}`;
      const address = { host: port === null ? `${name}.test` : "127.0.0.1", port: port ?? 22 };
      const body = { ...device, ...LIMITS, ...address, name };
      const { id } = await client.call(createDevice, { body });
      devices.push({ deviceId: id, siteId: device.siteId, port });
    }
  };
  await Promise.all(Array.from({ length: MADE_AT_ONCE }, make));
  return devices;
}

async function createCredentials(
  { client }: Pick<Centre, "client">,
  { stored, localName, wrong }: Logins,
): Promise<Record<"stored" | "local" | "wrong" | "told", CredentialId>> {
  const make = async (name: string, login: Logins["stored"]) =>
    (await client.call(createCredential, { body: { name, ...login } })).id;
  const local = { name: "of the agents", localName };
  return {
    stored: await make("stored", stored),
    local: (await client.call(createLocalCredential, { body: local })).id,
    wrong: await make("wrong", { ...stored, password: wrong }),
    told: await make("told", { ...stored, username: "told" }),
  };
}
