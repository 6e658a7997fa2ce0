import { randomBytes } from "node:crypto";
import { Buffer } from "node:buffer";
import { fingerprintOf } from "../farm/key_pair.ts";
import type { Login, LoginMethod } from "../farm/login.ts";
import type { Keeper } from "./keeper.ts";

/** A real daemon of a real system, on loopback, with a temporary user. */
export interface LiveDevice extends AsyncDisposable {
  readonly host: "127.0.0.1";
  readonly port: number;
  readonly platform: "frr" | "linux";
  readonly login: Pick<Login, "username"> & { readonly password: string };
  /** Every host key it has; which one a client sees is the client's choice. */
  readonly hostKeys: readonly { readonly type: string; readonly fingerprint: string }[];
}

export interface LiveOptions {
  /** What the server accepts; `publickey` needs `publicKeys`. */
  readonly methods?: readonly LoginMethod[];
  /** Lines of `authorized_keys`. */
  readonly publicKeys?: readonly string[];
}

/** A password of letters that no dictionary check of PAM minds. */
export function makePassword(): string {
  return `Live-${randomBytes(12).toString("base64url")}`;
}

/** Reads the second field of a `.pub` line. */
export function describePublicKey(line: string): LiveDevice["hostKeys"][number] {
  const [type = "", blob = ""] = line.trim().split(" ");
  return { type, fingerprint: fingerprintOf(Buffer.from(blob, "base64")) };
}

/** Writes the keys that let the user in, as root, readable for the server acting as the user. */
export async function authorize(
  { folder }: Pick<Keeper, "folder">,
  { publicKeys = [] }: LiveOptions,
): Promise<string> {
  const path = `${folder}/home/.ssh/authorized_keys`;
  await Deno.writeTextFile(path, `${publicKeys.join("\n")}\n`);
  const { uid } = await Deno.stat(`${folder}/home`);
  await Deno.chown(path, uid, null);
  return path;
}
