/**
 * What a device says in its shell when it wants a new password before anything else. Nothing is ever typed
 * into these questions: the session ends with `password_expired`. Tried on every line before the first prompt.
 */
export const PASSWORD_EXPIRED: readonly string[] = [
  String.raw`(?i:\byou (?:must|are required to) change your password\b)`,
  String.raw`(?i:\b(?:your )?password has expired\b)`,
  String
    .raw`(?i:^\W*(?:enter |type |please enter )?(?:a |your |the )?new (?:unix )?password\b.*[:>]\s*$)`,
  String.raw`(?i:^\W*(?:\(current\) unix|current|old) password\s*[:>]\s*$)`,
  String.raw`(?i:\bpassword change required\b)`,
  String.raw`(?i:\bpassword (?:needs to|must|should) be (?:changed|modified)\b)`,
];
