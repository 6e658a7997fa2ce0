import type { FarmPlatform } from "./recording.ts";
import { PLATFORM_MANNERS } from "./platform.ts";

/** Everything that can be wrong with a device of the farm: where it applies, and what it does. */
export const FAULTS = {
  refuse: ["any", "Nothing listens: the TCP connection is refused."],
  hang_before_banner: ["any", "Accepts the connection and never says a word."],
  hang_after_banner: ["any", "Sends its SSH identification, then never a word more."],
  garbage: ["any", "Answers with random bytes instead of SSH."],
  garbage_after_login: ["any", "Sends random bytes in place of encrypted packets after the login."],
  changed_host_key: ["any", "Shows another host key than the one it is known by."],
  legacy_algorithms: ["any", "Offers only group14-sha1, ssh-rsa, aes-cbc and hmac-md5."],
  reject_password: ["any", "Refuses every credential, by whatever method."],
  hang_in_login: ["any", "Never answers a login attempt."],
  password_expired: ["any", "Lets one in, only to ask for a new password."],
  busy: ["any", "Refuses to open a channel."],
  busy_text: ["shell", "Says that all lines are taken, and closes."],
  wrong_enable: ["cisco_iosxe", "Refuses every enable secret."],
  unknown_prompt: ["shell", "Shows a prompt that no driver of its platform knows."],
  syslog_noise: ["shell", "A log line comes in the middle of the echo of the capture command."],
  command_rejected: ["any", "Refuses the capture command."],
  endless_pager: [
    "shell",
    "The pager starts again at the top, for ever, although it was turned off.",
  ],
  die_mid_configuration: ["any", "Resets the TCP connection after half of the configuration."],
  close_mid_configuration: ["any", "Closes the channel with status 0 after half of it."],
  stall_mid_configuration: ["any", "Sends half of the configuration, then nothing more."],
  prompt_mid_configuration: [
    "shell",
    "A prompt at the end of a write in the middle; the rest follows.",
  ],
  stop_at_prompt_mid_configuration: ["shell", "Half of the configuration, then a real prompt."],
  prompt_lookalikes: ["shell", "Lines of the configuration equal the prompt; all of it comes."],
  slow_drip: ["any", "Sends a few bytes at a time, and completes."],
  binary: ["any", "NUL bytes stand in the configuration."],
  huge: ["any", "The configuration is 50 MB long."],
  empty_configuration: ["any", "The capture command succeeds and shows nothing."],
  error_text_in_configuration: ["any", "A harmless description contains the text of an error."],
  shrunk: ["any", "Only a third of the configuration is left, and it is complete."],
} as const satisfies Record<string, readonly ["any" | "shell" | FarmPlatform, string]>;

/** What is wrong with a device. */
export type Fault = keyof typeof FAULTS;

/** Whether a fault means anything on a platform: an exec channel, for one, has no pager. */
export function appliesTo(fault: Fault, platform: FarmPlatform): boolean {
  const where: string = FAULTS[fault][0];
  return where === "any" || where === platform || where === PLATFORM_MANNERS[platform].transport;
}

/** Narrows text from outside, such as an order on standard input. */
export function isFault(text: string): text is Fault {
  return Object.hasOwn(FAULTS, text);
}
