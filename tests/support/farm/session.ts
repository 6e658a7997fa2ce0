import type { Socket } from "node:net";
import type { Behaviour, Scene } from "./behaviour.ts";
import type { Login } from "./login.ts";
import type { Output } from "./output.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import type { Recording } from "./recording.ts";

/** What one channel of a device needs to play its part. */
export interface Session {
  readonly recording: Recording;
  readonly login: Login;
  readonly behaviour: Behaviour;
  readonly socket: Socket;
  readonly signal: AbortSignal;
  readonly pager: { readonly sticky: boolean; readonly erase: "backspaces" | "blanks" };
  /** Makes the text of a capture, with the lines that change at each call. */
  readonly makeCapture: (change: (text: string) => string) => string;
  /** Called when a capture has been sent to its end. */
  readonly recordSent: (text: string) => void;
  readonly recordCommand: (command: string) => void;
  readonly recordEnable: () => void;
}

export function sceneOf({ recording }: Session, prompt: string): Scene {
  return { platform: recording.platform, hostname: recording.hostname, prompt };
}

export function isCapture({ recording }: Session, command: string): boolean {
  return PLATFORM_MANNERS[recording.platform].captureCommands.includes(command);
}

/** Sends the configuration as the fault orders; `sendSoundly` is how a sound device would. */
export async function sendCapture(
  session: Session,
  output: Output,
  { prompt, sendSoundly }: {
    readonly prompt: string;
    readonly sendSoundly: (text: string) => Promise<void>;
  },
): Promise<void> {
  const { behaviour } = session;
  const scene = sceneOf(session, prompt);
  const text = session.makeCapture((stable) => behaviour.text?.(stable, scene) ?? stable);
  if (behaviour.send) await behaviour.send(output, text, scene);
  else await sendSoundly(text);
  if (!behaviour.send || behaviour.sendsAll) session.recordSent(text);
}
