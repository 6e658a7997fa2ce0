import { type FarmDevice, startDevice } from "./device.ts";
import { appliesTo, type Fault } from "./fault.ts";
import { DEFAULT_LOGIN, type Login, makeKeyLogin } from "./login.ts";
import { makeRandom, type Random } from "./random.ts";
import { FARM_PLATFORMS, type FarmPlatform, makeRecording } from "./recording.ts";

export interface FarmOptions {
  readonly devices: number;
  /** The same seed gives the same configurations (never the same keys or ports). */
  readonly seed?: number;
  /** Faults to give out, one per device; the others are sound. */
  readonly faults?: readonly Fault[];
}

/** Devices of all platforms, in one process. */
export interface Farm extends AsyncDisposable {
  readonly devices: readonly FarmDevice[];
  /** Secrets of all configurations and logins: none of them may show up anywhere. */
  readonly secrets: readonly string[];
  stop(): Promise<void>;
}

/** Faults of a credential: such a device has a login of its own, lest it makes a shared one suspect. */
const CREDENTIAL_FAULTS: readonly Fault[] = ["reject_password", "wrong_enable", "password_expired"];
const STARTED_AT_ONCE = 50;

/** Starts devices on loopback ports of their own; platforms take turns, faults are spread over them. */
export async function startFarm(options: FarmOptions): Promise<Farm> {
  const { devices: count, seed = 1, faults = [] } = options;
  const random = makeRandom(seed);
  const logins = makeLogins(random);
  const orders = spreadFaults(count, faults);
  const devices: FarmDevice[] = [];
  async function stop(): Promise<void> {
    await Promise.all(devices.map((device) => device.stop()));
  }
  try {
    for (let at = 0; at < count; at += STARTED_AT_ONCE) {
      const batch = orders.slice(at, at + STARTED_AT_ONCE);
      devices.push(
        ...await Promise.all(batch.map((fault, index) => {
          const platform = platformOf(at + index);
          const own = fault !== undefined && CREDENTIAL_FAULTS.includes(fault);
          const login = own ? makeLogins(random)[platform] : logins[platform];
          return startMember({ number: seed * 1_000 + at + index, platform, login, fault, random });
        })),
      );
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const secrets = new Set(devices.flatMap((device) => [
    ...device.secrets,
    ...secretsOf(device.login),
  ]));
  return { devices, secrets: [...secrets], stop, [Symbol.asyncDispose]: stop };
}

function platformOf(index: number): FarmPlatform {
  return FARM_PLATFORMS[index % FARM_PLATFORMS.length] ?? "linux";
}

interface Member {
  readonly number: number;
  readonly platform: FarmPlatform;
  readonly login: Login;
  readonly fault: Fault | undefined;
  readonly random: Random;
}

function startMember({ number, platform, login, fault, random }: Member): Promise<FarmDevice> {
  const interfaces = random.pick([4, 12, 24, 48, 96, 500]);
  return startDevice(makeRecording(platform, number, { interfaces }), {
    login,
    pagerErase: random.pick(["backspaces", "blanks"]),
    stickyPager: platform === "cisco_iosxe" && random.integer(0, 4) === 0,
    ...(fault === undefined ? {} : { fault }),
  });
}

/** One login per platform, by four different methods. */
function makeLogins(random: Random): Record<FarmPlatform, Login> {
  const password = () => `pw-${random.text(16)}`;
  return {
    cisco_iosxe: {
      ...DEFAULT_LOGIN,
      methods: ["password"],
      password: password(),
      enableSecret: `en-${random.text(16)}`,
    },
    juniper_junos: makeKeyLogin("ed25519", { passphrase: `pp-${random.text(16)}` }),
    frr: { ...DEFAULT_LOGIN, methods: ["keyboard-interactive"], password: password() },
    linux: { ...DEFAULT_LOGIN, password: password() },
  };
}

function secretsOf({ password, enableSecret, keyPair }: Login): string[] {
  // The middle of the PEM: its first and last lines are the same for everybody.
  const keyBody = keyPair?.privateKey.split("\n").slice(2, -3).join("\n");
  return [password, enableSecret, keyPair?.passphrase, keyBody].flatMap((secret) =>
    secret ? [secret] : []
  );
}

/** The first free device whose platform can have the fault, spread over the whole farm. */
function spreadFaults(count: number, faults: readonly Fault[]): (Fault | undefined)[] {
  const orders = new Array<Fault | undefined>(count).fill(undefined);
  faults.forEach((fault, index) => {
    // One further each time: platforms take turns, and no one of them is to get all the faults.
    const from = Math.floor((index * count) / faults.length) + index;
    const places = orders.map((_, place) => (from + place) % count);
    const place = places.find((place) => !orders[place] && appliesTo(fault, platformOf(place)));
    if (place === undefined) throw new RangeError(`Cannot place ${fault}: too few devices`);
    orders[place] = fault;
  });
  return orders;
}
