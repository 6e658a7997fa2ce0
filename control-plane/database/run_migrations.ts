/** `deno task migrate`: brings the database up to date and says what it did. */
import { connectDatabase } from "./connect.ts";
import { useEmbeddedPostgres } from "./embedded.ts";
import { migrate } from "./migrate.ts";

async function main(): Promise<void> {
  const url = Deno.env.get("DATABASE_URL");
  await using embedded = url
    ? undefined
    : await useEmbeddedPostgres({ dataDir: Deno.env.get("ROOKERY_DATA") || "./data" });
  await using database = connectDatabase(url || (embedded?.connection ?? ""), { poolSize: 1 });
  const applied = await migrate(database.sql);
  await say(applied.length ? `Applied ${applied.join(", ")}` : "The database is up to date");
}

async function say(line: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) await main();
