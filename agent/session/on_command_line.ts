import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { NegotiatedAlgorithms } from "../ssh/transport.ts";
import { type CommandLine, openCommandLine } from "./command_line.ts";
import { connectTo, type DeviceOrder, type SessionOptions, withinLimits } from "./order.ts";

/** What came of a session, and behind which key and algorithms. */
export interface SessionResult<Result> {
  readonly result: Result;
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

/** Logs in, brings the device to where its driver's commands are run, and leaves it again, all within the order's limits. */
export function onCommandLine<Result>(
  order: DeviceOrder,
  options: SessionOptions,
  work: (line: CommandLine) => Promise<Result>,
): Promise<SessionResult<Result>> {
  const { driver, credential: secrets, limits: { idleSeconds } } = order;
  return withinLimits(order, options, async (signal) => {
    const connection = await connectTo(order, { ...options, signal });
    try {
      const line = await openCommandLine(connection, { driver, secrets, idleSeconds, signal });
      const result = await work(line);
      options.onStep?.("logging out", 95);
      await line.logOut();
      const { hostKey, algorithms } = connection;
      return { result, hostKey, algorithms };
    } finally {
      await connection.close();
    }
  });
}
