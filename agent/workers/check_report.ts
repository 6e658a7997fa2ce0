import { sha256 } from "@rookery/shared/canonical_json.ts";
import { capturesOf } from "@rookery/shared/drivers/mod.ts";
import { MOST_OUTPUT_BYTES } from "@rookery/shared/jobs/run_commands.ts";
import type { SentOrder, SentReport } from "./messages.ts";

/**
 * What is wrong with a report that a session thread gave to an order; undefined when nothing is. Says nothing about the
 * truth of a text, which only the device knows: it says that nothing came that was not asked for.
 */
export async function whatIsWrong(
  report: SentReport,
  order: SentOrder,
): Promise<string | undefined> {
  if (report.kind === "backup_config" && order.kind === "backup_config") {
    return await whatIsWrongWithBackup(report, order);
  }
  if (report.kind === "run_commands" && order.kind === "run_commands") {
    return whatIsWrongWithOutputs(report, order);
  }
  if (report.kind === "detect_platform" && order.kind === "detect_platform") {
    return report.answers.every(({ command }, index) => command === order.probes[index])
      ? undefined
      : "its answers are not to the commands of the order";
  }
  return report.kind === order.kind ? undefined : "it is of another kind than the order";
}

function whatIsWrongWithOutputs(
  { outputs }: Of<SentReport, "run_commands">,
  { commands }: Of<SentOrder, "run_commands">,
): string | undefined {
  if (outputs.map(({ command }) => command).join("\n") !== commands.join("\n")) {
    return "its outputs are not those of the order";
  }
  const size = outputs.reduce((sum, { text }) => sum + text.length, 0);
  return size > MOST_OUTPUT_BYTES ? "it is larger than the limit" : undefined;
}

type Of<Union, Kind> = Extract<Union, { readonly kind: Kind }>;

async function whatIsWrongWithBackup(
  { captures }: Of<SentReport, "backup_config">,
  { driver, captures: names, limits }: Of<SentOrder, "backup_config">,
): Promise<string | undefined> {
  const asked = capturesOf(driver, names).map(({ name }) => name);
  if (captures.map(({ outcome }) => outcome.name).join() !== asked.join()) {
    return "its captures are not those of the order";
  }
  if (captures.reduce((sum, { raw }) => sum + raw.length, 0) > limits.maxBytes) {
    return "it is larger than the limit";
  }
  for (const { outcome, raw } of captures) {
    if (outcome.bytes !== raw.length) return `${outcome.name} has another size than it says`;
    if (await sha256(raw) !== outcome.rawSha256) {
      return `${outcome.name} has another digest than it says`;
    }
  }
  return undefined;
}
