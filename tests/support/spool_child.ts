/** An agent in a process of its own that stands still at an operation of its spool, to be killed there. */
import { Agent } from "../../agent/agent.ts";
import { jsonLog } from "../../agent/log.ts";
import { AgentSettings } from "../../agent/settings.ts";
import { diskFiles, type SpoolFiles } from "../../agent/spool_files.ts";
import { StateFolder } from "../../agent/state_folder.ts";

const [path = "", standAt = ""] = Deno.args;
const done: string[] = [];

/** Says so on standard output instead of doing the operation `standAt` (`sync 2` is the second one), and stays there. */
function stand<Args extends unknown[]>(
  name: string,
  run: (...args: Args) => Promise<void>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    done.push(name);
    if (`${name} ${done.filter((one) => one === name).length}` === standAt) {
      Deno.stdout.writeSync(new TextEncoder().encode("STANDS\n"));
      await new Promise(() => {});
    }
    await run(...args);
  };
}

const files: SpoolFiles = {
  ...diskFiles,
  write: stand("write", diskFiles.write),
  sync: stand("sync", diskFiles.sync),
  rename: stand("rename", diskFiles.rename),
  remove: stand("remove", diskFiles.remove),
};

const state = await StateFolder.open(path);
const identity = await state.readIdentity();
if (!identity) throw new Error(`${path} holds no enrolled agent`);
const settings = AgentSettings.parse({ policy: { networks: ["127.0.0.0/8"] } });
const agent = await Agent.start({ state, identity, settings, log: jsonLog(), spoolFiles: files });
await agent.finished;
