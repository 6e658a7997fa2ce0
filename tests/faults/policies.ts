/** Two policies: one that runs by itself, and one that people run and switch off and on. */
import { createPolicy, disablePolicy } from "@rookery/shared/api/policies.ts";
import type { DeviceId, PolicyId } from "@rookery/shared/ids.ts";
import type { Client } from "./client.ts";
import type { RunFacts } from "./history.ts";
import type { Devices } from "./inventory.ts";

/** The last devices, which protocol agents vouch for. */
const SELECTED = 5;

export interface Policies {
  readonly byItself: PolicyId;
  readonly byPeople: PolicyId;
  readonly facts: RunFacts["policies"];
}

export async function createPolicies(client: Client, devices: Devices): Promise<Policies> {
  const named = devices.filter(({ port }) => port === null).map(({ deviceId }) => deviceId);
  const [ofOne, ofOther] = [named.slice(0, SELECTED), named.slice(SELECTED, 2 * SELECTED)];
  const create = (name: string, deviceIds: DeviceId[]) =>
    client.call(createPolicy, {
      body: {
        name,
        kind: "backup_config",
        schedule: { kind: "interval", everyMinutes: 1 },
        selection: { deviceIds },
      },
    });
  const byItself = await create("by itself", ofOne);
  const byPeople = await create("by people", ofOther);
  const createdAt = Date.now();
  return {
    byItself: byItself.id,
    byPeople: byPeople.id,
    facts: [
      { policyId: byItself.id, everyMinutes: 1, createdAt, deviceIds: ofOne },
      { policyId: byPeople.id, everyMinutes: null, createdAt, deviceIds: ofOther },
    ],
  };
}

export async function stopPolicies(client: Client, policies: Policies): Promise<void> {
  for (const policyId of [policies.byItself, policies.byPeople]) {
    await client.call(disablePolicy, { params: { policyId } });
  }
}
