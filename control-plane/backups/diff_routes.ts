import type { Kysely } from "kysely";
import {
  diffDevice,
  diffRevision,
  readUnifiedDeviceDiff,
  readUnifiedDiff,
} from "@rookery/shared/api/backups.ts";
import type { HandlerInput } from "@rookery/shared/endpoint.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import { compareRevisions } from "./compare_revisions.ts";
import { nameReply } from "./name_reply.ts";
import { readCurrentRevision, readDevice, readRevision } from "./read_visible.ts";
import type { BackupsContext } from "./routes.ts";
import type { RevisionRow } from "./store.ts";
import { formatUnified } from "./unified_diff.ts";

/** Differences: between two revisions, between two devices, between what a device runs and what it would start with. */
export function mountDiffs(app: App, { db, ...services }: BackupsContext): void {
  const compareTwo = async ({ params, query }: RevisionDiff, scope: Scope) => {
    const sides = await readSides(db, { scope, revisionId: params.revisionId, ...query });
    return { ...await compareRevisions(db, { ...services, ...query, ...sides }), ...sides };
  };
  const compareCurrent = async ({ params, query }: DeviceDiff, scope: Scope) => {
    const sides = await readCurrentSides(db, { scope, deviceId: params.deviceId, ...query });
    return { ...await compareRevisions(db, { ...services, ...query, ...sides }), ...sides };
  };
  route(app, diffRevision, async (input, { scope }) => (await compareTwo(input, scope)).diff);
  route(app, diffDevice, async (input, { scope }) => (await compareCurrent(input, scope)).diff);
  route(app, readUnifiedDiff, async (input, context) => {
    const { diff, names, revision } = await compareTwo(input, context.scope);
    await nameReply(db, { context, revision, as: "inline", suffix: ".diff" });
    return formatUnified(diff, names);
  });
  route(app, readUnifiedDeviceDiff, async (input, context) => {
    const { diff, names, revision } = await compareCurrent(input, context.scope);
    await nameReply(db, { context, revision, as: "inline", suffix: ".diff" });
    return formatUnified(diff, names);
  });
}

type RevisionDiff = Pick<HandlerInput<typeof diffRevision>, "params" | "query">;
type DeviceDiff = Pick<HandlerInput<typeof diffDevice>, "params" | "query">;

/** What is compared, and with what; undefined for the revision before. */
interface Sides {
  readonly revision: RevisionRow;
  readonly before: RevisionRow | undefined;
}

async function readSides(
  db: Kysely<Database>,
  { scope, revisionId, against }:
    & RevisionDiff["params"]
    & Pick<RevisionDiff["query"], "against">
    & { readonly scope: Scope },
): Promise<Sides> {
  const revision = await readRevision(db, { scope, revisionId });
  return {
    revision,
    before: against === undefined
      ? undefined
      : await readRevision(db, { scope, revisionId: against }),
  };
}

async function readCurrentSides(
  db: Kysely<Database>,
  { scope, deviceId, against, capture, againstCapture }:
    & DeviceDiff["params"]
    & Pick<DeviceDiff["query"], "against" | "capture" | "againstCapture">
    & { readonly scope: Scope },
): Promise<Sides> {
  if (against === undefined && againstCapture === undefined) {
    await readDevice(db, { scope, deviceId });
    throw refuseNothing();
  }
  const revision = await readCurrentRevision(db, { scope, deviceId, capture });
  const before = await readCurrentRevision(db, {
    scope,
    deviceId: against ?? deviceId,
    capture: againstCapture,
  });
  return { revision, before };
}

function refuseNothing(): ProblemError {
  const detail =
    "name another device, or another capture of this one by againstCapture (such as startup)";
  return refusedField("?against", detail);
}
