/**
 * A program for the tests of the embedded PostgreSQL: runs the cluster of the folder it is given, says so in a line of
 * JSON, and stays. On SIGINT it asks the database once more, as a draining control plane does, and ends.
 */
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { startEmbeddedPostgres } from "../../control-plane/database/embedded.ts";

const cluster = await startEmbeddedPostgres({ dataDir: Deno.args[0] ?? "", durable: false });

async function drain(): Promise<void> {
  // Long enough for a signal to reach PostgreSQL too, if it did.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const database = connectDatabase(cluster.connection, { poolSize: 1 });
  const [row] = await database.sql<{ answer: number }[]>`select 42 as answer`;
  await database.close();
  await cluster.stop();
  await say({ answer: row?.answer });
  Deno.exit(0);
}

async function say(value: unknown): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(`${JSON.stringify(value)}\n`));
}

Deno.addSignalListener("SIGINT", () => void drain());
await say({ connection: cluster.connection });
