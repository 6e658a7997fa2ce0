import { errorText } from "../log.ts";
import { StateFolder } from "../state_folder.ts";
import { readStatusFile } from "../status_file.ts";
import { placeOf, type SyslogSettings } from "../syslog/settings.ts";
import { hearTcp, hearUdp } from "../syslog/sockets.ts";
import { failed, type Finding, ok, warning } from "./finding.ts";

const NOBODY = { intake: { admits: () => false, take: () => {} }, onMessage: () => {} };

/** Whether the port can be listened at; where the agent runs, what it says of it. */
export async function checkSyslog(settings: SyslogSettings, stateFolder: string): Promise<Finding> {
  const check = "syslog";
  const kinds = [settings.udp ? "UDP" : [], settings.tcp ? "TCP" : []].flat().join(" and ");
  const where = `${placeOf(settings)} (${kinds}), sources ${settings.sources.join(", ")}`;
  if (await StateFolder.read(stateFolder).isLocked()) {
    const { syslog = null } = await readStatusFile(stateFolder) ?? {};
    return syslog?.listening
      ? ok(check, `the running agent listens at ${where}: ${syslog.messages} messages heard`)
      : warning(
        check,
        `the running agent does not listen at ${where}`,
        "Restart it after a change of the settings; else its log says why (syslog_not_listening).",
      );
  }
  try {
    const close = settings.udp ? await hearUdp(settings, NOBODY) : undefined;
    try {
      if (settings.tcp) await hearTcp(settings, NOBODY)();
    } finally {
      await close?.();
    }
    return ok(check, `free to listen at ${where}`);
  } catch (error) {
    const remedy = error instanceof Deno.errors.PermissionDenied
      ? "Take a port from 1024 on, or give the agent the right to this one (README, Change hints)."
      : "Take a free port and an address of this machine in settings.json, under syslog.";
    return failed(check, `cannot listen at ${where}: ${errorText(error)}`, remedy);
  }
}
