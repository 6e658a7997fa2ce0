/**
 * PostgreSQL refuses to run as root. As root it is started in one of two ways; any other user starts it directly.
 *
 * - `namespace`: a user namespace. PostgreSQL sees a user that is not root, the kernel still sees root's own files, so
 *   nothing changes owner and folders that only root may enter stay reachable.
 * - `nobody`: where user namespaces are forbidden (some containers), uid 65534 with the one capability to pass folders
 *   that are closed to it. The cluster then belongs to that uid.
 */
export interface Unprivileged {
  readonly way: "direct" | "namespace" | "nobody";
  /** Goes before the command that must not run as root. */
  readonly prefix: readonly string[];
  /** The owner the cluster's files must have, as seen from outside. */
  readonly uid: number;
}

const NOBODY = 65534;

const NAMESPACE: Unprivileged = {
  way: "namespace",
  prefix: ["unshare", "--user", `--map-user=${NOBODY}`, `--map-group=${NOBODY}`],
  uid: 0,
};

const CAPABILITY = "+dac_override";
const AS_NOBODY: Unprivileged = {
  way: "nobody",
  prefix: [
    "setpriv",
    `--reuid=${NOBODY}`,
    `--regid=${NOBODY}`,
    // Else access(2), by which initdb asks for its neighbour, would not know of the capability.
    "--securebits=+no_setuid_fixup",
    "--clear-groups",
    `--inh-caps=${CAPABILITY}`,
    `--ambient-caps=${CAPABILITY}`,
  ],
  uid: NOBODY,
};

/** Asks whether a command starts in a given way; the answer is its output, or why it did not start. */
export type Probe = (prefix: readonly string[]) => Promise<Attempt>;

/** What a probe saw. */
export interface Attempt {
  readonly ok: boolean;
  readonly text: string;
}

/** The first way in which `probe` succeeds, with what the probe printed. */
export async function chooseUnprivileged(
  probe: Probe,
): Promise<{ readonly unprivileged: Unprivileged; readonly text: string }> {
  const refusals: string[] = [];
  for (const unprivileged of candidates()) {
    const { ok, text } = await probe(unprivileged.prefix);
    if (ok) return { unprivileged, text };
    refusals.push(`${unprivileged.way}: ${text.trim()}`);
  }
  throw new Error(
    `Cannot start the embedded PostgreSQL: ${
      refusals.join("; ")
    } (run as a user who is not root, ` +
      "in a folder which that user may enter, or set DATABASE_URL)",
  );
}

function candidates(): readonly Unprivileged[] {
  const uid = Deno.uid() ?? -1;
  return uid === 0 ? [NAMESPACE, AS_NOBODY] : [{ way: "direct", prefix: [], uid }];
}
