import { errorText } from "../log.ts";
import type { AgentSettings } from "../settings.ts";
import type { AgentIdentity } from "../state_folder.ts";
import { checkControlPlane, checkSession, checkTrust } from "./control_plane_checks.ts";
import { checkDevice } from "./device_check.ts";
import { failed, type Finding, type Findings, skipped, together } from "./finding.ts";
import { checkDisk, checkEnrolment, checkFolder, checkSettings } from "./state_checks.ts";
import { checkSyslog } from "./syslog_check.ts";
import { checkDns, checkProxy, checkTls, tryWay } from "./way_checks.ts";

export { EXIT_CODES, showFindings } from "./finding.ts";

export interface Examination {
  readonly stateFolder: string;
  /** Where the control plane will be, for an agent that is not enrolled yet. */
  readonly url?: string | undefined;
  readonly device?: string | undefined;
}

/** Looks at everything that keeps an agent from working, from its folder to one device. Changes nothing. */
export async function examine({ stateFolder, url, device }: Examination): Promise<Findings> {
  const folder = await checkFolder(stateFolder);
  const { finding: read, settings } = await checkSettings(stateFolder);
  const { finding: enrolled, identity } = await checkEnrolment(stateFolder);
  const base = identity?.controlPlaneUrl ?? url;
  const way = settings && base !== undefined
    ? await checkWay(base, { stateFolder, settings, identity })
    : [skipped("control plane", settings ? "not enrolled: --url names it" : "no settings")];
  return together([
    folder,
    read,
    await checkDisk(stateFolder),
    enrolled,
    ...way,
    ...(settings?.syslog ? [await checkSyslog(settings.syslog, stateFolder)] : []),
    ...(device === undefined || !settings ? [] : [await checkDevice(device, settings)]),
  ]);
}

async function checkWay(
  base: string,
  { stateFolder, settings, identity }: {
    stateFolder: string;
    settings: AgentSettings;
    identity: AgentIdentity | undefined;
  },
): Promise<Finding[]> {
  try {
    const way = await tryWay(base, { stateFolder, settings });
    using _route = way.route;
    return [
      await checkDns(way),
      checkProxy(way),
      await checkTls(way),
      ...await checkControlPlane(way),
      ...(identity
        ? [await checkTrust(way, stateFolder, identity), await checkSession(way, identity)]
        : []),
    ];
  } catch (error) {
    return [
      failed("control plane", errorText(error), "Enrol again with an address that it takes."),
    ];
  }
}
