import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { listSites } from "@rookery/shared/api/sites.ts";
import { postmasterPid } from "../database/cluster_process.ts";
import { Installation } from "../support/installation.ts";
import { ProcessGroup } from "../support/processes.ts";

const KILLS = 4;
const CLIENTS = 8;
const LONGEST_MS = 15_000;
const STOP_MS = 5_000;
/** After a refusal: often enough to ask in every state, and no contest for the processor that PostgreSQL starts on. */
const REST_MS = 50;

Deno.test("the control plane gets over crashes of its PostgreSQL while it is used", async () => {
  await using group = await ProcessGroup.create("rookery-crash-");
  const installation = await Installation.start(group);
  await installation.setUpAdministrator();
  const use = startClients(installation);
  for (let kill = 0; kill < KILLS; kill++) {
    await answersAgain(installation, use.answers);
    await delay(Math.random() * 100);
    Deno.kill(await postmasterPid(installation.dataFolder), "SIGKILL");
  }
  await answersAgain(installation, use.answers);
  const longestMs = await use.stop();
  assert.ok(longestMs < LONGEST_MS, `a request waited ${longestMs} ms`);
  assert.ok(use.answers() > 0);
  await assertWholePool(installation);
  const { controlPlane } = installation;
  const started = performance.now();
  controlPlane.kill("SIGTERM");
  assert.equal((await controlPlane.status).code, 0, controlPlane.tail());
  assert.ok(performance.now() - started < STOP_MS, "SIGTERM took too long");
});

/** Clients that ask again and again; a refusal is an answer too, for a client that waits is what must not happen. */
function startClients(installation: Installation) {
  let stopped = false;
  let answers = 0;
  let longestMs = 0;
  const ask = async () => {
    while (!stopped) {
      const started = performance.now();
      await installation.api(listSites, { query: {} }).then(() => answers++, () => delay(REST_MS));
      longestMs = Math.max(longestMs, performance.now() - started);
    }
  };
  const clients = Array.from({ length: CLIENTS }, ask);
  const stop = async () => {
    stopped = true;
    await Promise.all(clients);
    return longestMs;
  };
  return { answers: () => answers, stop };
}

/** Waits until every client had an answer, some more than once. */
async function answersAgain(installation: Installation, answers: () => number): Promise<void> {
  const wanted = answers() + 2 * CLIENTS;
  const deadline = performance.now() + LONGEST_MS;
  while (answers() < wanted) {
    if (performance.now() > deadline) {
      throw new Error(`It does not answer:\n${installation.controlPlane.tail()}`);
    }
    await delay(5);
  }
}

/** More requests at once than the pool has connections, each answered. */
async function assertWholePool(installation: Installation): Promise<void> {
  await Promise.all(Array.from({ length: 60 }, () => installation.api(listSites, { query: {} })));
}
