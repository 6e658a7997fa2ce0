/** The steps of `deno task keys:rotate`, each from the state of the keys to a sentence about the new one. */
import { setTimeout as delay } from "node:timers/promises";
import { insertTask } from "../tasks/store.ts";
import { changeKeys, type KeyChange, type KeyPlace, readCurrentKeys } from "./change_keys.ts";
import type { KeyFile } from "./key_file_schema.ts";
import type { KeyUse, RotateCommand } from "./rotate_command.ts";
import * as rotation from "./rotation.ts";
import { wrapsAnything } from "./wrapped_tables.ts";

/** Replicas look every two seconds, and one that cannot read the file has stopped by then. */
const SPREAD_MS = 10_000;

/** An installation's keys, and how its statements name it. */
export interface RotatePlace extends KeyPlace {
  readonly issuer: string;
  /** How long replicas are given to read a key before one of them uses it. Default 10,000. */
  readonly spreadMs?: number;
  readonly now?: Temporal.Instant;
}

type StepCommand = Extract<RotateCommand, { what: KeyUse }>;

/** Does one step and says what comes next. */
export async function rotateKeys(place: RotatePlace, command: StepCommand): Promise<string> {
  if (command.do === "retire") return await retire(place, command);
  if (command.do === "activate") return await activateSigning(place, command);
  if (command.do === "rewrap") return await rewrap(place);
  const add = { signing: addSigning, sealing: addSealing, kek: addKek };
  return await add[command.what](place);
}

function stepOptions({ now = Temporal.Now.instant() }: RotatePlace) {
  return { now };
}

async function change(place: RotatePlace, made: KeyChange): Promise<string> {
  return (await changeKeys(place, made)).key;
}

async function addSigning(place: RotatePlace): Promise<string> {
  const options = { ...stepOptions(place), issuer: place.issuer };
  const step = (file: KeyFile) => rotation.addSigningKey(file, options);
  const key = await change(place, { action: "keys.add_signing", step });
  return `The next signing key is ${key}. Agents learn of it from now on. In ${rotation.OVERLAP_DAYS} days: ` +
    "keys:rotate signing --activate";
}

async function activateSigning(place: RotatePlace, { force }: StepCommand): Promise<string> {
  const options = { ...stepOptions(place), force };
  const step = (file: KeyFile) => rotation.activateSigningKey(file, options);
  const key = await change(place, { action: "keys.activate_signing", step });
  return `Leases are signed with ${key} from now on. In ${rotation.OVERLAP_DAYS} days: ` +
    "keys:rotate signing --retire with the key before it (see keys:rotate status)";
}

async function addSealing(place: RotatePlace): Promise<string> {
  const step = (file: KeyFile) => rotation.addSealingKey(file, stepOptions(place));
  const key = await change(place, { action: "keys.add_sealing", step });
  return `Agents seal to ${key} as soon as they learn of it. In ${rotation.SEALING_DAYS} days: keys:rotate sealing ` +
    "--retire with the key before it (see keys:rotate status)";
}

/** Two changes with a pause between: what one replica wraps, the others must be able to unwrap. */
async function addKek(place: RotatePlace): Promise<string> {
  const options = stepOptions(place);
  await change(place, { action: "keys.add_kek", step: (file) => rotation.addKek(file, options) });
  await delay(place.spreadMs ?? SPREAD_MS);
  const step = (file: KeyFile) => rotation.activateKek(file, options);
  const key = await change(place, { action: "keys.activate_kek", task: "rewrap_keys", step });
  return `New secrets are wrapped by ${key}. The task rewrap_keys wraps the others anew while the control plane runs ` +
    "(GET /api/v1/tasks); when it has ended: keys:rotate kek --retire with the key before it";
}

async function rewrap({ db, path, issuer: _ }: RotatePlace): Promise<string> {
  await readCurrentKeys({ db, path });
  const id = await insertTask(db, { kind: "rewrap_keys", requestedBy: "keys:rotate" });
  return `Ordered: GET /api/v1/tasks/${id} tells how far it is`;
}

async function retire(
  place: RotatePlace,
  { what, key, force }: Extract<StepCommand, { do: "retire" }>,
): Promise<string> {
  const options = { ...stepOptions(place), force };
  const steps = {
    signing: (file: KeyFile) => rotation.retireSigningKey(file, { ...options, kid: key }),
    sealing: (file: KeyFile) => rotation.retireSealingKey(file, { ...options, kid: key }),
    kek: async (file: KeyFile) => {
      const step = rotation.retireKek(file, { ...options, id: key });
      if (!await wrapsAnything(place.db, key)) return step;
      throw new rotation.RotationRefusedError(
        `Refused: data keys are still wrapped by ${key}. The task rewrap_keys has to end first (GET /api/v1/tasks); ` +
          "if it failed or was cancelled: keys:rotate kek --rewrap",
      );
    },
  };
  await change(place, { action: `keys.retire_${what}`, step: steps[what] });
  return `${key} is gone from the key file. Older backups of it still have it: keep them as carefully, or destroy them.`;
}
