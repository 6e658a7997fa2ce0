import type { Driver } from "@rookery/shared/drivers/driver.ts";
import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { connect, type PassedStage } from "../ssh/connect.ts";
import { abortError, DeviceError, toDeviceError } from "../ssh/ssh_failure.ts";
import type { DeviceConnection } from "../ssh/transport.ts";

/** Which device, with what, and within which limits. Fields have the meaning they have in the lease. */
export interface DeviceOrder {
  readonly driver: Driver;
  readonly target: { readonly host: string; readonly port: number };
  /** What the host's name was resolved to already, if it was; the local policy is asked about them again. */
  readonly addresses?: readonly string[];
  readonly credential: {
    readonly username: string;
    readonly password?: string | undefined;
    readonly privateKey?: string | undefined;
    readonly passphrase?: string | undefined;
    readonly enableSecret?: string | undefined;
  };
  readonly hostKeyPolicy: LeaseClaims["device"]["hostKeyPolicy"];
  readonly hostKeys: readonly HostKeySeen[];
  readonly legacyAlgorithms: boolean;
  readonly limits: LeaseClaims["limits"];
  /** The local policy's word on the address that was resolved. */
  readonly allowAddress?: (address: string) => boolean;
}

/** Told what the session does from now on, in a few words, and how much of it is behind it, in percent. */
export type OnStep = (step: string, percent: number) => void;

export interface SessionOptions {
  readonly signal: AbortSignal;
  readonly onStep?: OnStep | undefined;
}

/** What is done after each stage on the way to a device. */
const NEXT_STEPS = {
  tcp: ["waiting for the identification of the device", 10],
  banner: ["logging in", 15],
  login: ["opening the command line", 25],
} as const satisfies Record<PassedStage["stage"], readonly [step: string, percent: number]>;

/**
 * Runs a session within the time that it has in all. Throws a `DeviceError`; an aborted signal ends it within two seconds
 * with the signal's reason when that is a `DeviceError`, else with `cancelled`.
 */
export async function withinLimits<Report>(
  { limits }: Pick<DeviceOrder, "limits">,
  { signal }: { readonly signal: AbortSignal },
  run: (signal: AbortSignal) => Promise<Report>,
): Promise<Report> {
  const total = new AbortController();
  const cancel = () => total.abort(abortError(signal));
  const expire = () => total.abort(new DeviceError("total_timed_out"));
  const timer = setTimeout(expire, limits.totalSeconds * 1_000);
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    const report = await run(total.signal);
    // What forgives errors may have forgiven this one, but a session that was taken away reports nothing.
    if (signal.aborted) throw abortError(signal);
    return report;
  } catch (error) {
    throw total.signal.aborted ? abortError(total.signal) : toDeviceError(error, "session");
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", cancel);
  }
}

/** Connects and logs in as the order says. */
export function connectTo(
  order: DeviceOrder,
  { signal, onStage, onStep }: SessionOptions & {
    readonly onStage?: (passed: PassedStage) => void;
  },
): Promise<DeviceConnection> {
  onStep?.("connecting", 5);
  const { username, password, privateKey, passphrase } = order.credential;
  return connect({
    ...order.target,
    addresses: order.addresses,
    username,
    ...password !== undefined && { password },
    ...privateKey !== undefined && { privateKey },
    ...passphrase !== undefined && { passphrase },
    hostKeyPolicy: order.hostKeyPolicy,
    hostKeys: order.hostKeys,
    legacyAlgorithms: order.legacyAlgorithms,
    connectSeconds: order.limits.connectSeconds,
    ...order.allowAddress && { allowAddress: order.allowAddress },
    onStage: (passed) => {
      onStage?.(passed);
      const [step, percent] = NEXT_STEPS[passed.stage];
      onStep?.(step, percent);
    },
    signal,
  });
}
