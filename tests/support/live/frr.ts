import { waitForFile } from "./await_daemon.ts";
import { type Keeper, run, startKeeper } from "./keeper.ts";
import { type LiveDevice, type LiveOptions, makePassword } from "./live_device.ts";
import { startOpenSsh } from "./openssh.ts";

export interface LiveFrr extends LiveDevice {
  /** The password of a BGP neighbour in its configuration: it must never be shown. */
  readonly secret: string;
  /** Changes the running configuration by vtysh's own commands, as its operator would. */
  configure(...lines: readonly string[]): Promise<void>;
}

/** The daemons' own names for where they are; vtysh is a client of their sockets. */
function pathsOf({ folder }: Pick<Keeper, "folder">) {
  return { run: `${folder}/run`, zserv: `${folder}/run/zserv.api`, shell: `${folder}/vtysh_shell` };
}

/** Starts FRR with `vtysh` as the login shell of a user behind OpenSSH; root only. */
export async function startFrr(options: LiveOptions = {}): Promise<LiveFrr> {
  const password = makePassword();
  const secret = makePassword();
  await using cleanUp = new AsyncDisposableStack();
  const keeper = cleanUp.use(
    await startKeeper({
      password,
      groups: ["frrvty"],
      shell: (folder) => pathsOf({ folder }).shell,
    }),
  );
  await writeFiles(keeper, secret);
  await startDaemon(keeper, "zebra", []);
  // Neither a BGP port nor routes in the kernel.
  await startDaemon(keeper, "bgpd", ["-p", "0", "-n"]);
  const { port, hostKeys } = await startOpenSsh(keeper, options);
  const kept = cleanUp.move();
  return {
    host: "127.0.0.1",
    port,
    hostKeys,
    platform: "frr",
    login: { username: keeper.user, password },
    secret,
    async configure(...lines) {
      const commands = ["configure terminal", ...lines].flatMap((line) => ["-c", line]);
      await run([pathsOf(keeper).shell, ...commands]);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function writeFiles(keeper: Keeper, secret: string): Promise<void> {
  const { folder } = keeper;
  const { run: sockets, shell } = pathsOf(keeper);
  await run(["install", "-d", "-o", "frr", "-g", "frrvty", "-m", "0770", sockets]);
  await Deno.writeTextFile(
    shell,
    `#!/bin/sh\nexec /usr/bin/vtysh --vty_socket ${sockets} --config_dir ${folder} "$@"\n`,
    { mode: 0o755 },
  );
  await Deno.chmod(shell, 0o755);
  await Deno.writeTextFile(`${folder}/vtysh.conf`, "hostname live-rr\n");
  await Deno.writeTextFile(`${folder}/zebra.conf`, "hostname live-rr\n");
  await Deno.writeTextFile(`${folder}/bgpd.conf`, configureBgp(secret));
}

/** The neighbour is shut down, and its address is one of documentation: nothing is ever dialled. */
function configureBgp(secret: string): string {
  return [
    "hostname live-rr",
    "router bgp 64512",
    " bgp router-id 192.0.2.9",
    " neighbor 192.0.2.1 remote-as 64513",
    " neighbor 192.0.2.1 description transit: Büro # 4711",
    ` neighbor 192.0.2.1 password ${secret}`,
    " neighbor 192.0.2.1 shutdown",
    "",
  ].join("\n");
}

/** Each daemon lives in a network namespace without a network; its sockets are files. */
async function startDaemon(
  keeper: Keeper,
  name: "zebra" | "bgpd",
  more: readonly string[],
): Promise<void> {
  const { folder } = keeper;
  const { run: sockets, zserv } = pathsOf(keeper);
  await keeper.start(name, [
    ...["unshare", "-n", `/usr/lib/frr/${name}`] as const,
    ...["-f", `${folder}/${name}.conf`, "-i", `${sockets}/${name}.pid`],
    ...["-z", zserv, "--vty_socket", sockets, "-A", "127.0.0.1", "-P", "0"],
    ...["-u", "frr", "-g", "frr", ...more],
  ]);
  await waitForFile(`${sockets}/${name}.vty`, `${folder}/${name}.log`);
}
