import { sha256 } from "@rookery/shared/canonical_json.ts";
import { capturesOf } from "@rookery/shared/drivers/mod.ts";
import type { SentOrder, SentReport } from "./messages.ts";

/**
 * What is wrong with a report that a session thread gave to an order; undefined when nothing is. Says nothing about the
 * truth of a text, which only the device knows: it says that nothing came that was not asked for.
 */
export async function whatIsWrong(
  { captures }: SentReport,
  { driver, captures: names, limits }: SentOrder,
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
