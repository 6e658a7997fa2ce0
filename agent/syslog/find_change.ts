import { MAX_HINT_TEXT, MAX_HINT_USER, visibleText } from "@rookery/shared/api/change_hints.ts";
import { CHANGE_MESSAGES, type ChangeMessage } from "./change_messages.ts";
import type { SyslogMessage } from "./parse_message.ts";

/** What a message says of a change, in a form that is safe to show. */
export interface FoundChange {
  readonly vendor: string;
  readonly host: string;
  readonly user: string;
  readonly text: string;
}

/** Whether a message says that a configuration has changed, and what it says of it; undefined for all others. */
export function findChange({ host, text }: SyslogMessage): FoundChange | undefined {
  const kind = CHANGE_MESSAGES.find((known) => isOf(known, text));
  if (!kind) return undefined;
  const told = kind.until === undefined ? text : text.split(kind.until, 1)[0] ?? "";
  return {
    vendor: kind.vendor,
    host: safe(groupOf(kind.host, text) ?? host, 255),
    user: safe(groupOf(kind.user, text) ?? "", MAX_HINT_USER),
    text: safe(told, MAX_HINT_TEXT),
  };
}

function isOf({ marker, also, except }: ChangeMessage, text: string): boolean {
  return text.includes(marker) && (also?.test(text) ?? true) && !(except?.test(text) ?? false);
}

function groupOf(pattern: RegExp | undefined, text: string): string | undefined {
  return pattern?.exec(text)?.slice(1).find((group) => group !== undefined);
}

/** Text that anybody may have sent: no control character, no half of a pair, nothing that turns a line round. */
function safe(text: string, max: number): string {
  // deno-lint-ignore no-control-regex -- replacing them is what it is for
  const plain = visibleText(text).replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
  return visibleText(plain.slice(0, max).toWellFormed());
}
