/** What a request of an agent is about, as far as it can be read on its way. */
import { createHash } from "node:crypto";

export interface Heard {
  /** `POST claim`, `POST result`; of people: `POST /api/v1/jobs`. */
  readonly call: string;
  /** The public key of its proof. */
  readonly key: string | undefined;
  readonly agentId?: string | undefined;
  readonly bootId?: string;
  readonly claimId?: string;
  readonly leaseId?: string;
  readonly envelope?: string;
}

export function callOf(method = "", url = ""): string {
  const path = url.split("?")[0] ?? "";
  const [, rest] = /^\/agent\/v1\/(?:leases\/[^/]+\/)?(.*)$/.exec(path) ?? [];
  return `${method} ${rest?.replace(/^blobs\/.*/, "blob") ?? path}`;
}

/** Agents are known by the keys of their proofs (RFC 9449), which stand in their heads. */
export function keyOf(proof: string | string[] | undefined): string | undefined {
  if (typeof proof !== "string") return undefined;
  const { jwk } = parse(fromBase64url(proof.split(".")[0] ?? ""));
  return typeof jwk === "object" && jwk !== null && "x" in jwk ? String(jwk.x) : undefined;
}

export function readCall(
  call: string,
  url: string | undefined,
  body: Uint8Array,
): Pick<Heard, "bootId" | "claimId" | "leaseId" | "envelope"> {
  const leaseId = /\/leases\/([^/]+)\//.exec(url ?? "")?.[1];
  const lease = leaseId === undefined ? {} : { leaseId };
  if (call === "POST result") {
    return { ...lease, envelope: createHash("sha256").update(body).digest("hex") };
  }
  if (!["POST claim", "POST heartbeat", "POST session"].includes(call)) return lease;
  const { bootId, claimId } = parse(new TextDecoder().decode(body));
  return {
    ...lease,
    ...(typeof bootId === "string" ? { bootId } : {}),
    ...(typeof claimId === "string" ? { claimId } : {}),
  };
}

/** An object, whatever the text is. */
function parse(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

export function fromBase64url(text: string): string {
  return new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: "base64url" }));
}
