/** What keeps a request from reaching the control plane, and what to do about it. */
const REASONS = {
  proxy_unresolved: "Nothing knows the proxy's name: check proxy.url in settings.json, and DNS.",
  proxy_unreachable: "Nothing answers at the proxy: check proxy.url in settings.json.",
  proxy_authentication:
    "The proxy wants a user and a password: set proxy.user and proxy.password in settings.json, or check them.",
  proxy_refused:
    "The proxy does not let this through: have CONNECT to the control plane allowed there, or name the control plane " +
    "in proxy.noProxy of settings.json.",
  unknown_issuer:
    "Its certificate is signed by a CA that this agent does not trust: put the CA's certificate (PEM) into the state " +
    "folder and name it as caFile in settings.json. If it is no CA of yours, somebody sits in between.",
  wrong_name:
    "Its certificate is for another name: enrol with a name that the certificate carries, or have it reissued.",
  expired:
    "Its certificate is over, or this machine's clock is wrong: check the clock, then renew it.",
  not_yet_valid: "Its certificate begins later: check this machine's clock.",
  bad_certificate: "Its certificate cannot be used: have it reissued.",
  not_tls: "What answers there does not speak TLS: check the address and the port.",
  unresolved: "Nothing knows its name: check the address, and this machine's DNS.",
  unreachable: "Nothing answers there: check the address, the port, and the firewalls on the way.",
  forbidden: "This process may not connect there: check --allow-net and --deny-net of its start.",
} as const;
export type ReachReason = keyof typeof REASONS;

/** What the HTTP client says, in the order in which it is looked for. */
const SIGNS: readonly (readonly [RegExp, ReachReason])[] = [
  [/proxy authentication required/, "proxy_authentication"],
  [/unsuccessful tunnel|while tunneling/, "proxy_refused"],
  [/UnknownIssuer/, "unknown_issuer"],
  [/not valid for name|NotValidForName/, "wrong_name"],
  [/certificate expired|invalid peer certificate: Expired/, "expired"],
  [/not valid yet|NotValidYet/, "not_yet_valid"],
  [/invalid peer certificate/, "bad_certificate"],
  [/corrupt message|tls handshake eof/, "not_tls"],
  [/dns error|failed to lookup address/, "unresolved"],
  [/Requires net access/, "forbidden"],
];

interface Way {
  readonly base: string;
  /** The proxy's address. */
  readonly proxy: string | undefined;
  /** What went wrong on the way to the proxy itself, where that is known apart. */
  readonly atProxy: string | undefined;
}

/** No request reached the control plane. The message names the way that was tried, what was seen, and the remedy. */
export class ReachError extends Error {
  override name = "ReachError";
  readonly reason: ReachReason;
  /** What was seen, without the remedy. */
  readonly seen: string;

  constructor(error: Error, way: Way) {
    const said = way.atProxy ?? lastWords(error);
    const reason = reasonOf(said, way.proxy !== undefined);
    const where = way.proxy === undefined ? way.base : `${way.base} through the proxy ${way.proxy}`;
    super(`Cannot reach ${where}: ${said}. ${REASONS[reason]}`);
    this.reason = reason;
    this.seen = said;
  }

  get remedy(): string {
    return REASONS[this.reason];
  }
}

/** The HTTP client repeats the address in front of what it has to say. */
function lastWords({ message, cause }: Error): string {
  const text = cause instanceof Error ? cause.message : message;
  return text.replace(/^.*client error \(\w+\): /, "").slice(0, 400);
}

function reasonOf(said: string, proxied: boolean): ReachReason {
  const found = SIGNS.find(([sign]) => sign.test(said))?.[1] ?? "unreachable";
  if (!proxied) return found;
  // The client looks up and connects to the proxy only: what lies behind is the proxy's to say.
  if (found === "unresolved") return "proxy_unresolved";
  return found === "unreachable" ? "proxy_unreachable" : found;
}
