/** The real devices that Debian's packages can give, and what each of them needs. */
const NEEDS = {
  frr: [
    "/usr/lib/frr/zebra",
    "/usr/lib/frr/bgpd",
    "/usr/bin/vtysh",
    "/usr/sbin/sshd",
    "/usr/bin/ssh-keygen",
  ],
  dropbear: ["/usr/sbin/dropbear", "/usr/bin/dropbearkey"],
} as const;

export type LiveKind = keyof typeof NEEDS;

/** Why a real device cannot be started here, for `skipUnless`; undefined when it can. */
export function liveReason(kind: LiveKind): string | undefined {
  if (Deno.build.os !== "linux") return `a live ${kind} needs Linux`;
  if (Deno.uid() !== 0) return `a live ${kind} needs root, to make a temporary user`;
  if (kind === "frr" && !mayUnshare()) return "a live frr needs CAP_SYS_ADMIN, for its namespaces";
  const missing = NEEDS[kind].filter((path) => !isThere(path));
  if (missing.length === 0) return undefined;
  return `${missing.join(", ")} is not installed (.ci/install_live installs it)`;
}

/** Root in a container may lack what namespaces need: bit 21 of the effective capabilities. */
function mayUnshare(): boolean {
  const status = Deno.readTextFileSync("/proc/self/status");
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  return (effective >> 21n) % 2n === 1n;
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
