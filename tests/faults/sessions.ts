/** SSH sessions as the devices saw them. */
import type { FarmLine } from "./history.ts";

export interface DeviceSession {
  readonly port: number;
  readonly connection: number;
  /** By whom, where agents have names of their own. */
  readonly user: string | undefined;
  readonly openedAt: number;
  /** Logins and commands, in their order: nothing else is an act of an agent. */
  readonly actsAt: readonly number[];
  /** The configuration was sent to its end. */
  readonly sent: boolean;
}

export function sessionsOf(farm: readonly FarmLine[]): DeviceSession[] {
  const all = Map.groupBy(farm, ({ port, connection }) => `${port} ${connection}`).values();
  return [...all].map((lines) => {
    const [first] = lines;
    return {
      port: first?.port ?? 0,
      connection: first?.connection ?? 0,
      user: lines.find(({ user }) => user !== undefined)?.user,
      openedAt: first?.at ?? 0,
      actsAt: lines.filter(({ event }) => event === "login" || event === "command")
        .map(({ at }) => at),
      sent: lines.some(({ event }) => event === "sent"),
    };
  });
}
