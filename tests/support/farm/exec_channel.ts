import { makeOutput, type Output } from "./output.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import { isCapture, sceneOf, sendCapture, type Session } from "./session.ts";
import type { ServerChannel } from "ssh2";

/** Plays one command over an exec channel, with its exit status. */
export async function runExec(
  channel: ServerChannel,
  command: string,
  session: Session,
): Promise<void> {
  const output = makeOutput(channel, { ...session, lineEnd: "\n" });
  // A channel that nobody reads from never closes.
  channel.resume();
  session.recordCommand(command);
  const scene = { ...sceneOf(session, ""), socket: session.socket };
  await session.behaviour.opening?.(output, scene);
  output.finish(await answer(command, output, session));
}

/** Answers and returns the exit status. */
async function answer(command: string, output: Output, session: Session): Promise<number> {
  const { recording, behaviour } = session;
  if (isCapture(session, command) && behaviour.capture !== "refuse") {
    await sendCapture(session, output, { prompt: "", sendSoundly: output.write });
    return 0;
  }
  const text = recording.outputs.get(command);
  if (text !== undefined) {
    await output.write(text);
    return 0;
  }
  const refusal = PLATFORM_MANNERS[recording.platform].refusal(command);
  if (recording.platform !== "linux") {
    await output.write(refusal);
    return 1;
  }
  output.writeError(refusal);
  return 127;
}
