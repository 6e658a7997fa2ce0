/** Enters a farm into an installation, as an administrator would: sites, credentials, devices. */
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { CallApi } from "../support/installation.ts";
import type { FarmChild, FarmMember } from "./farm_child.ts";

/** A device of the farm under its id. */
export interface DemoDevice {
  readonly deviceId: DeviceId;
  readonly siteId: SiteId;
  readonly site: string;
  readonly name: string;
  readonly member: FarmMember;
}

export interface DemoSite {
  readonly siteId: SiteId;
  readonly name: string;
}

const SITES = ["north", "south"] as const;
/** Long enough for a busy machine, on which dozens of devices and both agents share a processor or two. */
const LIMITS = { connectSeconds: 30, idleSeconds: 30, totalSeconds: 120 };
/** A device that never answers shall not hold up the show. */
const HANGING_LIMITS = { ...LIMITS, connectSeconds: 5, idleSeconds: 10 };
const HANGING: readonly (string | null)[] = ["hang_before_banner", "stall_mid_configuration"];

export async function createSites(api: CallApi, maxLive: number): Promise<DemoSite[]> {
  const sites: DemoSite[] = [];
  for (const name of SITES) {
    const { id } = await api(createSite, { body: { name, maxLive, leaseTtlSeconds: 60 } });
    sites.push({ siteId: id, name });
  }
  return sites;
}

/** Devices take turns between the sites; those that share a login share a credential. */
export async function createDevices(
  api: CallApi,
  sites: readonly DemoSite[],
  farm: FarmChild,
): Promise<DemoDevice[]> {
  const credentials = new Map<string, CredentialId>();
  const devices: DemoDevice[] = [];
  for (const [index, member] of farm.devices.entries()) {
    const site = sites[index % sites.length];
    if (!site) throw new RangeError("There is no site");
    const login = JSON.stringify(member.login);
    const credentialId = credentials.get(login) ??
      await addCredential(api, { name: `login ${credentials.size + 1}`, member });
    credentials.set(login, credentialId);
    const { siteId } = site;
    const { host, port, platform, hostname: name } = member;
    const limits = HANGING.includes(member.fault) ? HANGING_LIMITS : LIMITS;
    const device = { siteId, name, host, port, platform, credentialId, ...limits };
    const { id: deviceId } = await api(createDevice, { body: device });
    devices.push({ deviceId, siteId, site: site.name, name, member });
  }
  return devices;
}

async function addCredential(
  api: CallApi,
  { name, member }: { name: string; member: FarmMember },
): Promise<CredentialId> {
  const { username, password, enableSecret, keyPair } = member.login;
  const body = {
    name,
    username,
    ...(password === undefined ? {} : { password }),
    ...(enableSecret === undefined ? {} : { enableSecret }),
    ...(keyPair === undefined ? {} : { privateKey: keyPair.privateKey }),
    ...(keyPair?.passphrase === undefined ? {} : { passphrase: keyPair.passphrase }),
  };
  return (await api(createCredential, { body })).id;
}
