import { showPaged } from "./pager.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import { isCapture, sceneOf, sendCapture, type Session } from "./session.ts";
import { makeTerminal, type Terminal } from "./terminal.ts";
import type { ServerChannel } from "ssh2";

/** What a command line remembers during a session. */
interface Line {
  privileged: boolean;
  pageLines: number;
}

const ENABLE_ATTEMPTS = 3;
// readline switches bracketed paste on before it reads and off after it, also on a vt100.
const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l\r";

/** Plays a command line (Cisco's, or FRR's vtysh) until the peer leaves. */
export async function runShell(channel: ServerChannel, session: Session): Promise<void> {
  const terminal = makeTerminal(channel, session);
  const { recording, behaviour, login, socket } = session;
  const isVtysh = recording.platform === "frr";
  const line: Line = {
    privileged: isVtysh || login.enableSecret === undefined,
    pageLines: isVtysh ? 0 : 24,
  };
  await behaviour.opening?.(terminal, { ...sceneOf(session, promptOf(session, line)), socket });
  await terminal.write(recording.banner);
  for (;;) {
    await terminal.write(`${isVtysh ? PASTE_ON : ""}${promptOf(session, line)}`);
    const command = (await terminal.readLine({ echo: behaviour.echo ?? true })).trim();
    if (isVtysh) await terminal.write(PASTE_OFF);
    if (command === "") continue;
    session.recordCommand(command);
    if (["exit", "quit", "logout"].includes(command)) return terminal.finish(0);
    await obey(command, terminal, { session, line });
  }
}

function promptOf({ recording, behaviour }: Session, { privileged }: Line): string {
  if (behaviour.prompt !== undefined) return behaviour.prompt;
  const mark = privileged ? "#" : ">";
  return `${recording.hostname}${mark}${recording.platform === "frr" ? " " : ""}`;
}

interface Obeying {
  readonly session: Session;
  readonly line: Line;
}

async function obey(command: string, terminal: Terminal, at: Obeying): Promise<void> {
  const { session, line } = at;
  const { recording, behaviour } = session;
  const length = /^terminal length (\d+)$/.exec(command)?.[1];
  if (length !== undefined) {
    if (!session.pager.sticky) line.pageLines = Number(length);
    return;
  }
  if (/^terminal width \d+$/.test(command)) return;
  if (command === "enable") return await enable(terminal, at);
  if (isCapture(session, command) && line.privileged && behaviour.capture !== "refuse") {
    return await showCapture(terminal, at);
  }
  const text = recording.outputs.get(command) ??
    PLATFORM_MANNERS[recording.platform].refusal(command);
  await showPaged(terminal, text, pagerOf(at));
}

function pagerOf({ session, line }: Obeying) {
  return { lines: line.pageLines, erase: session.pager.erase, endless: false };
}

async function showCapture(terminal: Terminal, at: Obeying): Promise<void> {
  const { session, line } = at;
  const pager = { ...pagerOf(at), endless: session.behaviour.pager === "endless" };
  await sendCapture(session, terminal, {
    prompt: promptOf(session, line),
    sendSoundly: (text) => showPaged(terminal, text, pager),
  });
}

async function enable(terminal: Terminal, { session, line }: Obeying): Promise<void> {
  if (line.privileged) return;
  const { behaviour, login } = session;
  for (let attempt = 0; attempt < ENABLE_ATTEMPTS; attempt++) {
    await terminal.write("Password: ");
    const answer = await terminal.readLine({ echo: false });
    session.recordEnable();
    if (behaviour.enable === "refuse") return await terminal.write("% Access denied\n\n");
    line.privileged = answer === login.enableSecret;
    if (line.privileged) return;
  }
  await terminal.write("% Bad secrets\n\n");
}
