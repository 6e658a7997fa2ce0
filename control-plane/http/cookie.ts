import type { Context } from "hono";
import { getCookie } from "hono/cookie";
import { parse, serialize } from "hono/utils/cookie";

/** How the session cookie is set: its name and flags depend on whether browsers reach us by TLS. */
export interface SessionCookie {
  readonly name: string;
  read(context: Context): string | undefined;
  /** The value of a `Set-Cookie` header. */
  set(secret: string, maxAgeSeconds: number): string;
  clear(): string;
  /** What the browser keeps of an earlier login, over a logout as well. */
  readBrowser(request: Request): string | undefined;
  setBrowser(secret: string, maxAgeSeconds: number): string;
  /** What ties a sign-in at an OpenID provider to this browser. */
  readOidc(request: Request): string | undefined;
  setOidc(secret: string, maxAgeSeconds: number): string;
}

/** The cookie for an installation at `publicUrl`. `__Host-` binds it to this very host and needs TLS. */
export function sessionCookie(publicUrl: string): SessionCookie {
  const secure = publicUrl.startsWith("https:");
  const name = secure ? "__Host-rookery" : "rookery";
  const browser = `${name}-browser`;
  const oidc = `${name}-oidc`;
  const flags = { path: "/", httpOnly: true, sameSite: "Lax", secure } as const;
  return {
    name,
    read: (context) => getCookie(context, name),
    set: (secret, maxAge) => serialize(name, secret, { ...flags, maxAge }),
    readBrowser: (request) => parse(request.headers.get("cookie") ?? "", browser)[browser],
    setBrowser: (secret, maxAge) => serialize(browser, secret, { ...flags, maxAge }),
    readOidc: (request) => parse(request.headers.get("cookie") ?? "", oidc)[oidc],
    setOidc: (secret, maxAge) => serialize(oidc, secret, { ...flags, maxAge }),
    clear: () => serialize(name, "", { ...flags, maxAge: 0 }),
  };
}
