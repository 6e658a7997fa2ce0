import type { Kysely, Selectable } from "kysely";
import { type AgentHint, sendChangeHints } from "@rookery/shared/api/agent_protocol.ts";
import {
  type ChangeHint,
  createChangeHint,
  listChangeHints,
} from "@rookery/shared/api/change_hints.ts";
import { DeviceId, type SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { siteIdsOf } from "../agents/store.ts";
import { actorOf } from "../audit/store.ts";
import type { ChangeHintsTable, Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import type { UserCaller } from "../http/caller.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { isSiteVisible } from "../jobs/job_queries.ts";
import type { Scope } from "../permissions/scope.ts";
import { findNamedDevices, type NamedDevice, noteHints, selectHints } from "./store.ts";
import { BATCH_LIMIT, HINT_LIMIT, HintThrottle } from "./throttle.ts";

/**
 * What is said of devices, by people, programs and agents. No audit row for each, of which anybody in reach of an agent could
 * make thousands: the job that follows says what it was ordered for.
 */
export function mountChangeHints(app: App, { db }: { readonly db: Kysely<Database> }): void {
  const ofCallers = new HintThrottle(HINT_LIMIT);
  const ofAgents = new HintThrottle(BATCH_LIMIT);

  route(app, createChangeHint, async ({ params: { siteId }, body }, context) => {
    ofCallers.take(`${throttleKey(context.caller)} ${siteId}`);
    await refuseUnseen(db, { siteId, scope: context.scope });
    const { address, user, text } = body;
    const names = [{ host: address, address }];
    const devices = await findNamedDevices(db, { siteIds: [siteId], names });
    if (devices.length === 0) throw unknownAddress();
    const { kind: via, name: reporter } = actorOf(context);
    const report = { user, text, reporter, via: via === "user" ? via : "api_token" as const };
    const hints = devices.map((device) => ({ ...device, count: 1, report }));
    const noted = await inTransaction(db, (tx) => noteHints(tx, hints));
    return {
      devices: noted.map(({ deviceId, dueAt }) => ({ deviceId, dueAt: dueAt.toString() })),
    };
  });

  route(app, listChangeHints, async ({ params: { siteId }, query }, { scope }) => {
    await refuseUnseen(db, { siteId, scope });
    const { limit, cursor } = query;
    const after = readCursor(cursor, DeviceId);
    const rows = await selectHints(db, { siteId, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: hintOf, position: (row) => row.deviceId });
  });

  route(app, sendChangeHints, async ({ body: { hints } }, { caller }) => {
    ofAgents.take(caller.agentId);
    const siteIds = await siteIdsOf(db, caller.agentId);
    const names = hints.map(namesOf);
    const found = await findNamedDevices(db, { siteIds, names });
    const known = new Set(found.map(({ place }) => place));
    return {
      devices: await noteOfAgent(db, { found, hints, reporter: caller.name }),
      unknown: [...hints.keys()].filter((place) => !known.has(place)),
    };
  });
}

function namesOf({ host, address }: AgentHint) {
  return { host: host.toLowerCase(), address: address.toLowerCase() };
}

async function noteOfAgent(
  db: Kysely<Database>,
  said: {
    readonly found: readonly NamedDevice[];
    readonly hints: readonly AgentHint[];
    readonly reporter: string;
  },
): Promise<number> {
  const { found, hints, reporter } = said;
  const ofDevices = found.flatMap(({ place, ...device }) => {
    const { user, text, count } = hints[place] ?? {};
    if (user === undefined || text === undefined || count === undefined) return [];
    return [{ ...device, count, report: { user, text, via: "agent" as const, reporter } }];
  });
  if (ofDevices.length === 0) return 0;
  return (await inTransaction(db, (tx) => noteHints(tx, ofDevices))).length;
}

function throttleKey({ via, userId }: UserCaller): string {
  return via.kind === "api_token" ? via.tokenId : userId;
}

async function refuseUnseen(
  db: Kysely<Database>,
  site: { readonly siteId: SiteId; readonly scope: Scope },
): Promise<void> {
  if (!await isSiteVisible(db, site)) throw new ProblemError("not-found", "There is no such site.");
}

/** Told and not only counted: whoever sets up a relay sees by it that an address is not the one that is stored. */
function unknownAddress(): ProblemError {
  const detail = "no device of this site has this address or name";
  return new ProblemError("not-found", `address: ${detail}`, {
    errors: [{ detail, pointer: "#/address" }],
  });
}

function hintOf({ siteId: _, ...row }: Selectable<ChangeHintsTable>): ChangeHint {
  return {
    ...row,
    firstAt: row.firstAt.toString(),
    lastAt: row.lastAt.toString(),
    dueAt: row.dueAt.toString(),
  };
}
