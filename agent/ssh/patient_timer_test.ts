import assert from "node:assert/strict";
import { startPatientTimer } from "./patient_timer.ts";

/** Blocks the event loop, as a slow key exchange does. */
function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

Deno.test("startPatientTimer() lets what arrived during a blocked event loop be read first", async () => {
  const order: string[] = [];
  const fired = Promise.withResolvers<void>();
  startPatientTimer(40, () => {
    order.push("due");
    fired.resolve();
  });
  // Due long before the timer, but both are looked at only after the block.
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = listener.accept().then((connection) => {
    order.push("arrived");
    connection.close();
  });
  const { port } = listener.addr;
  const client = await Deno.connect({ hostname: "127.0.0.1", port });
  block(200);
  await fired.promise;
  await accepted;
  assert.deepEqual(order, ["arrived", "due"]);
  client.close();
  listener.close();
});

Deno.test("startPatientTimer() fires though the event loop is blocked again and again", async () => {
  const fired = Promise.withResolvers<void>();
  let blocks = 0;
  const blocking = setInterval(() => {
    blocks++;
    block(80);
  }, 1);
  startPatientTimer(30, () => fired.resolve());
  await fired.promise;
  clearInterval(blocking);
  assert.ok(blocks < 20, `${blocks} blocks`);
});

Deno.test("startPatientTimer() never fires once it is cancelled", async () => {
  let fired = false;
  const timer = startPatientTimer(5, () => fired = true);
  timer.cancel();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(fired, false);
});
