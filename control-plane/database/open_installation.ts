/** How commands on the server reach the database, beside a running control plane and without one. */
import { connectDatabase, type ConnectedDatabase } from "./connect.ts";
import { hasCluster } from "./data_folder.ts";
import { useEmbeddedPostgres } from "./embedded.ts";

export interface DatabasePlace {
  /** Absent: the embedded PostgreSQL in `dataDir`. */
  readonly databaseUrl: string | undefined;
  readonly dataDir: string;
}

/** Opens the database of an installation that is there; `cannot` begins the error when there is none ("Cannot recover"). */
export async function openInstallation(
  place: DatabasePlace,
  cannot: string,
): Promise<ConnectedDatabase> {
  const { databaseUrl, dataDir } = place;
  // Starting the embedded PostgreSQL would make one, in a folder that may just be mistyped.
  if (databaseUrl === undefined && !await hasCluster(`${dataDir}/postgres`)) {
    throw new Error(
      `${cannot}: there is no installation in ROOKERY_DATA="${dataDir}". Name its data folder`,
    );
  }
  return await openPlace(place);
}

/** Opens a database, and makes an embedded one where there is none yet. One connection is all that a command needs. */
export async function openPlace(
  { databaseUrl, dataDir }: DatabasePlace,
): Promise<ConnectedDatabase> {
  await using stack = new AsyncDisposableStack();
  const address = databaseUrl ?? stack.use(await useEmbeddedPostgres({ dataDir })).connection;
  const database = stack.use(connectDatabase(address, { poolSize: 1 }));
  const life = stack.move();
  const close = () => life.disposeAsync();
  return { ...database, close, [Symbol.asyncDispose]: close };
}
