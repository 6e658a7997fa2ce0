import assert from "node:assert/strict";
import { connectRaw } from "../farm/ssh_client.ts";
import { makeKeyPair } from "../farm/key_pair.ts";
import { skipUnless } from "../skip.ts";
import { startDropbear } from "./dropbear.ts";
import { startFrr } from "./frr.ts";
import { run } from "./keeper.ts";
import { liveReason } from "./live_reason.ts";

const noFrr = liveReason("frr");
const noDropbear = liveReason("dropbear");

async function assertGone(user: string): Promise<void> {
  await assert.rejects(run(["id", user]), /no such user/);
  await assert.rejects(run(["pgrep", "-U", user]));
}

skipUnless(!noFrr, noFrr ?? "")(
  "startFrr() is a vtysh behind sshd, and leaves nothing",
  async () => {
    let user = "";
    {
      await using device = await startFrr();
      user = device.login.username;
      await device.configure("hostname live-rr");
      await using client = await connectRaw(device, { ...device.login, methods: ["password"] });
      assert.ok(device.hostKeys.some(({ fingerprint }) => fingerprint === client.fingerprint));
      const shell = await client.shell();
      await shell.until(/live-rr# /);
      shell.send("terminal length 0\n");
      await shell.until(/live-rr# /);
      shell.send("show running-config\n");
      assert.match(await shell.until(/\r\nend\r\n/), new RegExp(`password ${device.secret}\r\n`));
      shell.send("exit\n");
      await shell.ended;
    }
    await assertGone(user);
  },
);

skipUnless(!noDropbear, noDropbear ?? "")(
  "startDropbear() is a Linux host, and leaves nothing",
  async () => {
    let user = "";
    {
      const keyPair = makeKeyPair("ed25519");
      await using device = await startDropbear({ publicKeys: [keyPair.publicKey] });
      user = device.login.username;
      const byKey = { username: user, methods: ["publickey"] as const, keyPair };
      await using client = await connectRaw(device, byKey);
      assert.ok(device.hostKeys.some(({ fingerprint }) => fingerprint === client.fingerprint));
      const { stdout, status } = await client.exec("uname -s");
      assert.deepEqual([stdout.toString(), status], ["Linux\n", 0]);
      const byPassword = { ...device.login, methods: ["password"] as const };
      await using other = await connectRaw(device, byPassword);
      assert.equal((await other.exec("exit 7")).status, 7);
    }
    await assertGone(user);
  },
);
