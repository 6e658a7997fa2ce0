import { join } from "node:path";
import { z } from "zod";
import {
  LocalCredentialName,
  type LoginCredential,
  type SealedCredential,
} from "@rookery/shared/jobs/lease.ts";
import { DeviceError } from "./ssh/ssh_failure.ts";

const FILE = "local_credentials.json";

const LocalCredential = z.strictObject({
  username: z.string().min(1).max(200),
  password: z.string().min(1).optional(),
  privateKey: z.string().min(1).optional(),
  passphrase: z.string().min(1).optional(),
  enableSecret: z.string().min(1).optional(),
}).refine((own) => own.password !== undefined || own.privateKey !== undefined);

/** `local_credentials.json`: what this agent alone knows, by the name that leases use. */
const LocalCredentials = z.record(LocalCredentialName, LocalCredential);

/**
 * What to log in with: what the lease brought or, when it only names a credential, what this agent's own file has under
 * that name. The file is read each time, so that a change counts at once, and nothing of it is kept, logged or reported.
 * Throws a DeviceError that says what to do.
 */
export async function loginFor(
  sealed: SealedCredential,
  stateFolder: string,
): Promise<LoginCredential> {
  if ("noLogin" in sealed) {
    const { noLogin: _, ...sealedFor } = sealed;
    return { ...sealedFor, username: "" };
  }
  if (!("localName" in sealed)) return sealed;
  const { localName, ...sealedFor } = sealed;
  const own = (await readFile(stateFolder))[localName];
  if (!own) throw missing(`there is no "${localName}" in ${FILE}`);
  return { ...sealedFor, ...own };
}

async function readFile(stateFolder: string): Promise<z.infer<typeof LocalCredentials>> {
  const path = join(stateFolder, FILE);
  const { mode } = await Deno.stat(path).catch((error: unknown) => {
    if (error instanceof Deno.errors.NotFound) throw missing(`there is no ${FILE}`);
    throw error;
  });
  if (mode !== null && (mode & 0o077) !== 0) {
    throw missing(`others can read ${FILE}; run chmod 600 on it`);
  }
  const parsed = LocalCredentials.safeParse(parseJson(await Deno.readTextFile(path)));
  if (parsed.success) return parsed.data;
  // Fields and never values: it is a file of secrets.
  const fields = parsed.error.issues.map((issue) => issue.path.join(".") || "its root").join(", ");
  throw missing(`${FILE} is wrong at ${fields.slice(0, 500)}`);
}

function missing(why: string): DeviceError {
  return new DeviceError(
    "credential_missing_on_agent",
    `Cannot log in with the agent's own credential: ${why}`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
