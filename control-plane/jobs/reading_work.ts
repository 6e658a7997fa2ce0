/** What is kept of the kinds of job whose whole outcome is their report. */
import { guessPlatforms } from "@rookery/shared/drivers/probe.ts";
import { DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { CheckReachabilityOutcome } from "@rookery/shared/jobs/check_reachability.ts";
import { DetectPlatformOutcome } from "@rookery/shared/jobs/detect_platform.ts";
import { RunCommandsOutcome, RunCommandsPayload } from "@rookery/shared/jobs/run_commands.ts";
import { redactBytes } from "../backups/render_text.ts";
import { TextTooSlowError } from "../backups/text_thread.ts";
import { loginVerdict } from "../credentials/credential_state.ts";
import type { Grant, Judged, KindWork, Settlement } from "./kinds.ts";

/** That a device cannot be reached is the answer that was asked for; a refused login is a refusal all the same. */
export const reachWork: KindWork = {
  judge(_by, _grant, reported) {
    const report = CheckReachabilityOutcome.parse(reported);
    const { failure, hostKey } = report;
    const passed = report.stages.some(({ stage }) => stage === "login");
    const login = failure
      ? loginVerdict(failure.code)
      : passed
      ? { accepted: true } as const
      : undefined;
    return Promise.resolve({ verdict: { status: "completed", report }, login, hostKey });
  },
};

/** Kept as it may be read: with every secret taken out that the driver of the device knows of. */
export const commandsWork: KindWork = {
  async judge(by, grant, reported) {
    const { outputs, hostKey, algorithms } = RunCommandsOutcome.parse(reported);
    const order = await readOrder(by, grant);
    const { commands } = RunCommandsPayload.parse(order.payload);
    if (outputs.map(({ command }) => command).join("\n") !== commands.join("\n")) {
      return failed("result_invalid", "Its outputs are not those of the commands of the job.");
    }
    return await inTime(async () => {
      const redacted = [];
      for (const output of outputs) {
        redacted.push({
          ...output,
          text: await redactText(by, { grant, order, text: output.text }),
        });
      }
      return { report: { outputs: redacted, hostKey, algorithms }, hostKey };
    });
  },
};

export const detectWork: KindWork = {
  async judge(by, grant, reported) {
    const { answers, ...seen } = DetectPlatformOutcome.parse(reported);
    const order = await readOrder(by, grant);
    const guesses = guessPlatforms({ ...seen, answers }, DRIVERS.values());
    return await inTime(async () => {
      const redacted = [];
      for (const { command, text } of answers) {
        redacted.push({ command, text: await redactText(by, { grant, order, text }) });
      }
      return { report: { ...seen, answers: redacted, guesses }, hostKey: seen.hostKey };
    });
  },
};

interface Order {
  readonly platform: string;
  readonly payload: unknown;
}

async function readOrder({ db }: Settlement, { siteId, jobId }: Grant): Promise<Order> {
  return await db.selectFrom("jobs").innerJoin("devices", "devices.id", "jobs.deviceId")
    .select(["devices.platform", "jobs.payload"])
    .where("jobs.siteId", "=", siteId).where("jobs.id", "=", jobId).executeTakeFirstOrThrow();
}

/** An empty text needs no thread to read it. */
async function redactText(
  by: Settlement,
  { grant, order, text }: { readonly grant: Grant; readonly order: Order; readonly text: string },
): Promise<string> {
  if (text === "") return text;
  const { deviceId } = grant;
  const { platform } = order;
  const bytes = new TextEncoder().encode(text);
  return await redactBytes(bytes, { ...by, deviceId, platform, capture: "output" });
}

/** A text that is made to be slow to read is no better than one that is too large. */
async function inTime(
  read: () => Promise<{ readonly report: unknown; readonly hostKey: Judged["hostKey"] }>,
): Promise<Judged> {
  try {
    const { report, hostKey } = await read();
    return { verdict: { status: "completed", report }, login: { accepted: true }, hostKey };
  } catch (error) {
    if (!(error instanceof TextTooSlowError)) throw error;
    return {
      ...failed("output_too_large", `It takes too long to read: ${error.message}.`),
      login: { accepted: true },
    };
  }
}

function failed(code: "result_invalid" | "output_too_large", detail: string): Judged {
  return { verdict: { status: "failed", failure: { code, detail } } };
}
