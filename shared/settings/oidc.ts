import { text } from "../api/page.ts";
import { setting } from "./setting.ts";

const Issuer = text(500).refine(isIssuer, "must be https://…, without query or fragment, or empty")
  .meta({ example: "https://id.example.org" });

/** Plain http goes to this machine alone: what is sent there opens sessions. */
function isIssuer(issuer: string): boolean {
  if (issuer === "") return true;
  const url = URL.parse(issuer);
  if (!url || url.search || url.hash || url.username) return false;
  return url.protocol === "https:" || isLoopback(url);
}

/** Whether it is plain http to this machine. */
export function isLoopback(url: URL): boolean {
  return url.protocol === "http:" && ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
}

/** `group = role; group = role` → pairs; undefined when it has another form. */
export function readRoleMapping(
  mapping: string,
): (readonly [group: string, role: string])[] | undefined {
  const pairs: (readonly [string, string])[] = [];
  for (const part of mapping.split(";").map((entry) => entry.trim()).filter(Boolean)) {
    // A role's name may hold "=", a group's may not.
    const [, group, role] = /^([^=]+?)\s*=\s*(.+)$/.exec(part) ?? [];
    if (group === undefined || role === undefined) return undefined;
    pairs.push([group, role]);
  }
  return pairs;
}

/** Sign-in at an OpenID provider. The client's secret is none of them: `PUT /api/v1/oidc/client-secret`. */
export const OIDC = {
  "oidc.issuer": setting({
    schema: Issuer,
    default: "",
    description: "The OpenID provider at which people sign in; empty: none",
    unit: null,
  }),
  "oidc.client_id": setting({
    schema: text(200).meta({ example: "rookery" }),
    default: "rookery",
    description: "What the provider knows this installation by",
    unit: null,
  }),
  "oidc.scopes": setting({
    schema: text(500).refine((scopes) => scopes.split(" ").includes("openid"), "must hold openid")
      .meta({ example: "openid profile email" }),
    default: "openid profile email",
    description: "What the provider is asked for, with blanks between",
    unit: null,
  }),
  "oidc.groups_claim": setting({
    schema: text(100).min(1, "must not be empty").meta({ example: "groups" }),
    default: "groups",
    description: "The claim in which the provider lists a person's groups",
    unit: null,
  }),
  "oidc.roles": setting({
    schema: text(10_000).refine(
      (mapping) => readRoleMapping(mapping) !== undefined,
      "must be `group = role; group = role`",
    ).meta({ example: "noc = Viewer; netops = Operator" }),
    default: "",
    description:
      "Roles by group, `group = role; group = role`; who has no such group gets in nowhere",
    unit: null,
  }),
} as const;
