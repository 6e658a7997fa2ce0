/** A cluster that nobody has used, for tests that need a PostgreSQL of their own: copied in a moment, made in seconds. */
import { join } from "node:path";
import { openDataFolder } from "../../control-plane/database/data_folder.ts";
import { startEmbeddedPostgres } from "../../control-plane/database/embedded.ts";

/** Names the seed's data folder; the test runner sets it. */
const VARIABLE = "ROOKERY_TEST_CLUSTER";

/** Makes the seed of a run and of the runs inside it, unless there is one. */
export async function makeSeed(dataDir: string): Promise<Record<string, string>> {
  const given = Deno.env.get(VARIABLE);
  if (given) return { [VARIABLE]: given };
  await (await startEmbeddedPostgres({ dataDir, durable: false })).stop();
  Deno.env.set(VARIABLE, dataDir);
  return { [VARIABLE]: dataDir };
}

/** Puts the cluster into a new data folder. Without a seed nothing is there, and whoever starts it makes one. */
export async function plantCluster(dataDir: string): Promise<void> {
  const seed = Deno.env.get(VARIABLE);
  if (!seed) return;
  const { cluster } = await openDataFolder(dataDir);
  const args = ["-a", "--", join(seed, "postgres"), cluster];
  const { success, stderr } = await new Deno.Command("cp", { args, stdin: "null" }).output();
  if (!success) throw new Error(`Cannot copy a cluster: ${new TextDecoder().decode(stderr)}`);
}
