/** Sound but for orders for one port: then it stands still, without a processor, until long after it was given up. */
const STANDING_THREAD = `
import ${JSON.stringify(import.meta.resolve("../../agent/workers/session_worker.ts"))};
const sound = globalThis.onmessage;
const cell = new Int32Array(new SharedArrayBuffer(4));
globalThis.onmessage = (event) => {
  if (event.data.order?.target.port === 2) Atomics.wait(cell, 0, 0, 2_000);
  else sound(event);
};`;

/** A session thread that a device blocks, and the limit by which it counts as blocked for good. */
export const STANDING = {
  url: `data:text/javascript,${encodeURIComponent(STANDING_THREAD)}`,
  target: { host: "127.0.0.1", port: 2 },
  stallMs: 500,
} as const;
