import { findFreePort, waitForSsh } from "./await_daemon.ts";
import { type Keeper, run } from "./keeper.ts";
import { authorize, describePublicKey, type LiveDevice, type LiveOptions } from "./live_device.ts";

const HOST_KEYS = { ed25519: [], ecdsa: ["-b", "256"], rsa: ["-b", "2048"] } as const;

// sshd insists on a folder in /run and writes its sessions to /var/log: it gets its own of both, gone with it.
const PRIVATE_RUN = `
mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/log && mkdir -m 0755 /run/sshd && exec "$@"
`;

/** Starts an sshd of its own for the keeper's user alone, on a free loopback port. */
export async function startOpenSsh(
  keeper: Keeper,
  options: LiveOptions,
): Promise<Pick<LiveDevice, "port" | "hostKeys">> {
  const { folder } = keeper;
  const port = findFreePort();
  const hostKeys = await Promise.all(
    Object.entries(HOST_KEYS).map(async ([type, size]) => {
      const file = `${folder}/host_${type}`;
      await run(["ssh-keygen", "-q", "-t", type, ...size, "-N", "", "-C", "", "-f", file]);
      return describePublicKey(await Deno.readTextFile(`${file}.pub`));
    }),
  );
  const keys = await authorize(keeper, options);
  await Deno.writeTextFile(`${folder}/sshd_config`, configure({ keeper, port, keys }, options));
  await keeper.start("sshd", [
    ...["unshare", "-m", "sh", "-c", PRIVATE_RUN, "sh"] as const,
    ...["/usr/sbin/sshd", "-D", "-e", "-f", `${folder}/sshd_config`],
  ]);
  await waitForSsh(port, `${folder}/sshd.log`);
  return { port, hostKeys };
}

function configure(
  { keeper, port, keys }: {
    readonly keeper: Keeper;
    readonly port: number;
    readonly keys: string;
  },
  { methods = ["password", "keyboard-interactive", "publickey"] }: LiveOptions,
): string {
  const yes = (method: (typeof methods)[number]) => methods.includes(method) ? "yes" : "no";
  return [
    `ListenAddress 127.0.0.1:${port}`,
    ...Object.keys(HOST_KEYS).map((type) => `HostKey ${keeper.folder}/host_${type}`),
    "PidFile none",
    "UseDNS no",
    "UsePAM yes",
    "PrintMotd no",
    "PrintLastLog no",
    `AllowUsers ${keeper.user}`,
    `AuthorizedKeysFile ${keys}`,
    "StrictModes no", // the folder lies below a world-writable one
    `PasswordAuthentication ${yes("password")}`,
    `KbdInteractiveAuthentication ${yes("keyboard-interactive")}`,
    `PubkeyAuthentication ${yes("publickey")}`,
    "",
  ].join("\n");
}
