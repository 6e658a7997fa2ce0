import { createHash, createHmac } from "node:crypto";

/** One host of one line of a known_hosts file, or why the line cannot be used. */
export type KnownHost =
  | {
    readonly line: number;
    readonly host: string;
    readonly keyType: string;
    readonly fingerprint: string;
    readonly revoked: boolean;
  }
  | { readonly line: number; readonly host: string; readonly unreadable: string };

/** Reads a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT); only blank lines and comments say nothing. */
export function readKnownHosts(text: string): KnownHost[] {
  return text.split(/\r?\n/).flatMap((content, index) => {
    const trimmed = content.trim();
    return trimmed === "" || trimmed.startsWith("#") ? [] : readLine(trimmed, index + 1);
  });
}

function readLine(content: string, line: number): KnownHost[] {
  const fields = content.split(/[ \t]+/);
  const marker = fields[0]?.startsWith("@") ? fields.shift() : undefined;
  const [hosts = "", keyType = "", blob = ""] = fields;
  const refuse = (unreadable: string): KnownHost[] => [{ line, host: hosts, unreadable }];
  if (marker !== undefined && marker !== "@revoked") {
    return refuse(`${marker} is not supported: only keys of hosts are`);
  }
  const fingerprint = fingerprintOf(blob, keyType);
  if (fingerprint === undefined) return refuse("it has no key of the type that it names");
  return hosts.split(",").map((host) =>
    /[*?!]/.test(host)
      ? { line, host, unreadable: "a pattern names no single device" }
      : { line, host, keyType, fingerprint, revoked: marker === "@revoked" }
  );
}

/** OpenSSH's SHA256:… of a key in base64; undefined when it is none of that type (RFC 4253, section 6.6). */
function fingerprintOf(base64: string, keyType: string): string | undefined {
  if (!/^[a-z0-9@.-]{1,60}$/.test(keyType)) return undefined;
  let blob: Uint8Array;
  try {
    blob = Uint8Array.fromBase64(base64);
  } catch {
    return undefined;
  }
  const length = blob.length > 4 ? new DataView(blob.buffer).getUint32(0) : 0;
  const named = new TextDecoder("latin1").decode(blob.subarray(4, 4 + length));
  if (named !== keyType || blob.length <= 4 + length) return undefined;
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** How known_hosts writes an address: the port in brackets unless it is 22. */
export function hostName({ host, port }: { host: string; port: number }): string {
  const name = host.toLowerCase();
  return port === 22 ? name : `[${name}]:${port}`;
}

/** Whether a hashed host (`|1|salt|hash`, HMAC-SHA1) is one of the names; undefined when it is no hashed host. */
export function findHashed(host: string, names: Iterable<string>): string | null | undefined {
  const [, salt, hash] = /^\|1\|([A-Za-z0-9+/]+=*)\|([A-Za-z0-9+/]+=*)$/.exec(host) ?? [];
  if (salt === undefined || hash === undefined) return undefined;
  const key = atob(salt);
  const bytes = Uint8Array.from(key, (char) => char.charCodeAt(0));
  for (const name of names) {
    if (createHmac("sha1", bytes).update(name).digest("base64") === hash) return name;
  }
  return null;
}
