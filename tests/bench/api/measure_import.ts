import { setTimeout as delay } from "node:timers/promises";
import { applyImport, getImport, previewImport } from "@rookery/shared/api/imports.ts";
import type { ImportId } from "@rookery/shared/ids.ts";
import type { Row } from "../agents/table.ts";
import type { Asker } from "./ask.ts";

/** A CSV file of new devices, from its upload to the last of them being there. */
export async function measureImport(asker: Asker, devices: number): Promise<Row[]> {
  const lines = Array.from(
    { length: devices },
    (_, n) => `new-${n},172.16.${n >> 8}.${n & 255},frr,site-${n % 4},imported`,
  );
  const text = ["name,address,platform,site,tags", ...lines, ""].join("\n");
  const startedAt = performance.now();
  const { id: importId } = await asker.call(previewImport, { body: { format: "csv", text } });
  const previewedAt = performance.now();
  await asker.call(applyImport, { params: { importId } });
  await untilApplied(asker, importId, devices);
  const endedAt = performance.now();
  const of = `import of ${devices.toLocaleString("en")} devices`;
  const seconds = (from: number) => (endedAt - from) / 1_000;
  return [
    { what: `${of}: preview`, unit: "s", measured: (previewedAt - startedAt) / 1_000 },
    { what: `${of}: application`, unit: "s", measured: seconds(previewedAt) },
    { what: `${of}: in all`, unit: "s", measured: seconds(startedAt), aim: { atMost: 20 } },
  ];
}

async function untilApplied(
  asker: Asker,
  importId: ImportId,
  devices: number,
): Promise<void> {
  while (true) {
    const { state, outcomes } = await asker.call(getImport, { params: { importId } });
    if (state === "applied" && outcomes.applied === devices) return;
    if (state !== "applying") throw new Error(`Cannot import: it is ${state}, not applied`);
    await delay(100);
  }
}
