import { z } from "zod";

/** How a failed attempt is retried; see `RETRY_POLICIES`. */
export type FailureClass =
  | "transport"
  | "busy"
  | "driver"
  | "session"
  | "authentication"
  | "renewed"
  | "never";

/** Every reason for which an attempt on a device can fail: its retry class and a sentence for people. */
export const FAILURES = {
  address_unresolved: ["transport", "The device's name could not be resolved."],
  unreachable: ["transport", "Nothing answered at the device's address."],
  connection_refused: ["transport", "The device refused the TCP connection."],
  connection_lost: ["transport", "The connection to the device broke off during the session."],
  connect_timed_out: ["transport", "The device did not answer in time while connecting."],
  banner_timed_out: [
    "transport",
    "The device accepted the connection but never sent an SSH banner.",
  ],
  login_timed_out: ["transport", "The device did not finish the login in time."],
  idle_timed_out: ["transport", "The device stopped sending in the middle of the session."],
  total_timed_out: ["transport", "The session took longer than its limit."],
  not_ssh: ["transport", "What answers at that port does not speak SSH 2."],
  handshake_failed: ["transport", "The SSH key exchange failed."],
  device_busy: ["busy", "The device has no free session; it will be tried again."],
  channel_refused: ["busy", "The device refused to open a shell or to run a command."],
  legacy_algorithms_only: [
    "never",
    "The device offers only legacy SSH algorithms; allow them on the device with legacyAlgorithms.",
  ],
  auth_rejected: ["authentication", "The device refused the user name, password or key."],
  password_expired: [
    "authentication",
    "The device asks for a new password before it lets anybody in.",
  ],
  enable_rejected: ["authentication", "The device refused the enable secret."],
  enable_secret_missing: [
    "never",
    "The device asks for an enable secret and the credential has none.",
  ],
  credential_missing: ["never", "No credential is assigned to the device."],
  credential_missing_on_agent: [
    "never",
    "The agent has no such credential; add it to local_credentials.json in the agent's state folder.",
  ],
  credential_quarantined: [
    "never",
    "Several devices refused the credential and none accepted it; check it, then release it or save new secrets.",
  ],
  credential_quarantined_on_device: [
    "never",
    "The device refused the credential again and again; correct one of the two, then release it for the device.",
  ],
  credential_unusable: ["never", "The credential's private key cannot be used."],
  host_key_changed: [
    "never",
    "The device shows another host key than the pinned one; accept it or find out why.",
  ],
  host_key_renewed: [
    "renewed",
    "The device shows a new host key that was authorised beforehand; it is tried again with that one.",
  ],
  host_key_unknown: [
    "never",
    "The site is strict and no host key of the device has been accepted.",
  ],
  prompt_not_found: ["driver", "The device never showed a prompt of its platform."],
  mode_not_reached: ["driver", "The device did not enter the mode that the backup needs."],
  pager_stuck: ["driver", "The device's pager never ended."],
  command_rejected: ["driver", "The device refused a command that the backup needs."],
  command_failed: ["driver", "A command that the backup needs ended with an error on the device."],
  transient_text: ["busy", "The device answered that it was busy; its text was not stored."],
  configuration_truncated: ["driver", "The configuration ended before its end."],
  configuration_interleaved: ["driver", "A prompt came in the middle of the configuration."],
  configuration_empty: ["driver", "The device sent no configuration."],
  configuration_too_short: [
    "driver",
    "The configuration lacks sections that every complete one has.",
  ],
  configuration_hidden: [
    "never",
    "The login may not see all of the configuration; give it the permission to.",
  ],
  configuration_unstable: [
    "driver",
    "Two readings in a row differed, so neither could be proven complete.",
  ],
  configuration_too_large: ["never", "The configuration is larger than the limit."],
  configuration_binary: ["never", "The configuration contains NUL bytes; it is no text."],
  platform_unsupported: [
    "never",
    "The agent has no driver of that platform and digest; update the agent.",
  ],
  refused_by_agent_policy: ["never", "The agent's local policy forbids this address, port or job."],
  lease_invalid: ["never", "The agent refused the lease: a field does not match what it knows."],
  lease_lost: ["session", "The agent lost its lease and stopped the session by itself."],
  deadline_passed: ["session", "The attempt passed its deadline."],
  output_too_large: ["never", "The commands gave more output than a job may keep."],
  not_begun_in_time: ["never", "The job had not begun by its deadline."],
  session_lost: ["session", "The agent was not heard of any more."],
  blob_missing: ["transport", "The configuration was reported but never arrived."],
  result_invalid: ["driver", "The configuration that arrived is not the one that was reported."],
  session_disruptive: [
    "driver",
    "The session blocked, crashed or overfilled the agent's session thread; it was ended.",
  ],
  cancelled: ["never", "Cancelled."],
  agent_fault: ["transport", "The agent failed in an unforeseen way; see its log."],
  control_plane_fault: [
    "transport",
    "The control plane could not make the job's lease; see its log.",
  ],
} as const satisfies Record<string, readonly [FailureClass, string]>;

export type FailureCode = keyof typeof FAILURES;
export const FailureCode = z.enum(Object.keys(FAILURES) as [FailureCode, ...FailureCode[]])
  .meta({ id: "FailureCode" });

/**
 * Text that a device or an error said. What PostgreSQL cannot store in it (NUL, half of a surrogate pair) is replaced, so
 * that no device can make the report about it impossible to deliver.
 */
export function toldText(max: number) {
  return z.string().overwrite((value) => value.replaceAll("\0", "\ufffd").toWellFormed()).max(max);
}

/** Why an attempt failed. `detail` is for people, names no secret, and is at most 2,000 characters. */
export const Failure = z.strictObject({
  code: FailureCode,
  detail: toldText(2_000),
}).meta({ id: "Failure" });
export type Failure = z.infer<typeof Failure>;

export interface RetryPolicy {
  /** Attempts in all, the first one included. */
  readonly attempts: number;
  /** `exponential`: full jitter over base × 2^n, capped; `fixed`: base ± half of it. */
  readonly backoff: "exponential" | "fixed";
  readonly baseSeconds: number;
  readonly capSeconds: number;
}

/**
 * Retries by failure class (DESIGN section 5): a refused credential is never tried twice. The attempts of some classes are
 * defaults of settings (`jobs.transport_attempts`). A job has one count of its
 * failures: one that failed in different ways gets no more attempts than the class of its last failure allows.
 */
export const RETRY_POLICIES: Record<FailureClass, RetryPolicy> = {
  transport: { attempts: 5, backoff: "exponential", baseSeconds: 30, capSeconds: 1_800 },
  busy: { attempts: 5, backoff: "fixed", baseSeconds: 60, capSeconds: 90 },
  driver: { attempts: 2, backoff: "fixed", baseSeconds: 30, capSeconds: 60 },
  session: { attempts: 5, backoff: "exponential", baseSeconds: 10, capSeconds: 1_800 },
  renewed: { attempts: 5, backoff: "fixed", baseSeconds: 2, capSeconds: 4 },
  authentication: { attempts: 1, backoff: "fixed", baseSeconds: 0, capSeconds: 0 },
  never: { attempts: 1, backoff: "fixed", baseSeconds: 0, capSeconds: 0 },
};

/** The retry class of a failure code. */
export function failureClass(code: FailureCode): FailureClass {
  return FAILURES[code][0];
}

/** The sentence that tells people what a failure code means. */
export function failureSentence(code: FailureCode): string {
  return FAILURES[code][1];
}
