import type { Socket } from "node:net";
import type { Output } from "./output.ts";
import type { FarmPlatform } from "./recording.ts";

/** What a fault may look at. */
export interface Scene {
  readonly platform: FarmPlatform;
  readonly hostname: string;
  /** The prompt of the running shell; empty in exec. */
  readonly prompt: string;
}

/** How one session differs from that of a sound device, stage by stage; nothing set means soundly. */
export interface Behaviour {
  /** Takes the raw TCP connection in place of the SSH server. */
  readonly socket?: (
    socket: Socket,
    options: { readonly ident: string; readonly signal: AbortSignal },
  ) => Promise<void>;
  readonly server?: "other_host_key" | "legacy_algorithms";
  readonly login?: "reject" | "hang";
  readonly channel?: "refuse";
  /** Takes the channel before the first prompt, or before the command is run. */
  readonly opening?: (output: Output, scene: Scene & { readonly socket: Socket }) => Promise<void>;
  readonly enable?: "refuse";
  readonly prompt?: string;
  readonly echo?: (line: string) => string;
  readonly capture?: "refuse";
  readonly pager?: "endless";
  /** Changes the text of the capture. */
  readonly text?: (text: string, scene: Scene) => string;
  /** Sends the capture in another way. */
  readonly send?: (output: Output, text: string, scene: Scene) => Promise<void>;
  /** Whether `send` sends all of it and nothing else. */
  readonly sendsAll?: true;
}
