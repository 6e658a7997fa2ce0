import type { Access, Due, Permission } from "@rookery/shared/api/access.ts";
import type { AgentId, ApiTokenId, BootId, SiteId, TenantId, UserId } from "@rookery/shared/ids.ts";

/** Which sites a permission reaches. Tag selectors will be a third form. */
export type Scope = { readonly all: true } | {
  readonly all: false;
  readonly siteIds: readonly SiteId[];
  /** Tenants that are reached as a whole, sites to come included; what sites they have stands in `siteIds` too. */
  readonly tenantIds?: readonly TenantId[];
};

/** Each permission that somebody holds, and how far it reaches. */
export type Grants = ReadonlyMap<Permission, Scope>;

export const EVERYTHING: Scope = { all: true };
export const NOTHING: Scope = { all: false, siteIds: [] };

/** A person, through a browser session or an API token. */
export interface UserCaller {
  readonly kind: "user";
  readonly userId: UserId;
  readonly username: string;
  /** Each permission the person holds, and how far it reaches. */
  readonly grants: Grants;
  /** What they have to do before anything else. */
  readonly due?: Due | undefined;
  readonly via:
    | { readonly kind: "session"; readonly sessionId: string }
    | {
      readonly kind: "api_token";
      readonly tokenId: ApiTokenId;
      readonly tokenName: string;
      /** Made for certain permissions and nothing else. */
      readonly isLimited: boolean;
    };
}

/** An enrolled agent that has proven to hold its key. */
export interface AgentCaller {
  readonly kind: "agent";
  readonly agentId: AgentId;
  readonly name: string;
  /** RFC 7638 thumbprint of its signing key. */
  readonly thumbprint: string;
  /** The id of the proof of this request. */
  readonly jti: string;
  /** The boot its access token was made for; absent where the endpoint opens the session. */
  readonly bootId?: BootId;
}

export interface AnonymousCaller {
  readonly kind: "anonymous";
}

export type Caller = UserCaller | AgentCaller | AnonymousCaller;

/** Who can be calling an endpoint with this `access`. */
export type CallerFor<A extends Access> = A extends "public" ? AnonymousCaller
  : A extends "agent" ? AgentCaller
  : UserCaller;

/** How far a caller's permission reaches; `NOTHING` without it. */
export function reachOf(caller: Caller, permission: Permission): Scope {
  return caller.kind === "user" ? caller.grants.get(permission) ?? NOTHING : NOTHING;
}

/** Whether a caller holds a permission at all, for whichever sites. */
export function can(caller: Caller, permission: Permission): boolean {
  return caller.kind === "user" && caller.grants.has(permission);
}
