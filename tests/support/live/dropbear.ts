import { findFreePort, waitForSsh } from "./await_daemon.ts";
import { type Keeper, run, startKeeper } from "./keeper.ts";
import {
  authorize,
  describePublicKey,
  type LiveDevice,
  type LiveOptions,
  makePassword,
} from "./live_device.ts";

const HOST_KEY_TYPES = ["ed25519", "ecdsa", "rsa"] as const;

/** Starts a Linux host behind dropbear (password and public keys; Debian's has no keyboard-interactive); root only. */
export async function startDropbear(options: LiveOptions = {}): Promise<LiveDevice> {
  const password = makePassword();
  await using cleanUp = new AsyncDisposableStack();
  const keeper = cleanUp.use(await startKeeper({ password, shell: () => "/bin/sh" }));
  const { folder, user } = keeper;
  const hostKeys = await Promise.all(HOST_KEY_TYPES.map((type) => makeHostKey(keeper, type)));
  await authorize(keeper, options);
  const port = findFreePort();
  await keeper.start("dropbear", [
    "/usr/sbin/dropbear",
    ...["-F", "-E", "-p", `127.0.0.1:${port}`, "-P", `${folder}/dropbear.pid`],
    ...HOST_KEY_TYPES.flatMap((type) => ["-r", `${folder}/host_${type}`]),
    ...options.methods && !options.methods.includes("password") ? ["-s"] : [],
  ]);
  await waitForSsh(port, `${folder}/dropbear.log`);
  const kept = cleanUp.move();
  return {
    host: "127.0.0.1",
    port,
    hostKeys,
    platform: "linux",
    login: { username: user, password },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function makeHostKey({ folder }: Keeper, type: typeof HOST_KEY_TYPES[number]) {
  const file = `${folder}/host_${type}`;
  const size = type === "rsa" ? ["-s", "2048"] : type === "ecdsa" ? ["-s", "256"] : [];
  const said = await run(["dropbearkey", "-t", type, "-f", file, ...size]);
  const line = said.split("\n").find((each) => /^(?:ssh|ecdsa)-/.test(each));
  return describePublicKey(line ?? "");
}
