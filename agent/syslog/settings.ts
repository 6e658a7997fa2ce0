import { isIP } from "node:net";
import { z } from "zod";
import { sayObject } from "../say_settings.ts";

/** Where rsyslog and others listen that may not use port 514. */
const DEFAULT_PORT = 5514;
const PORT = "must be a whole number from 1 to 65535";
const BIND = 'must be an address of this machine, such as "0.0.0.0"';
const SOURCES = 'must be a list of networks such as ["10.0.0.0/8"]';
const RATE = "must be a whole number from 1 to 10000";
const FLAG = "must be true or false";
const NAMES = ["bind", "port", "privilegedPort", "udp", "tcp", "sources", "perSecond"];

/**
 * The syslog listener of the agent: absent, there is none. What it hears from `sources` may be a hint that a device has
 * changed, and nothing else.
 */
export const SyslogSettings = z.strictObject({
  bind: z.string(BIND).refine((text) => isIP(text) !== 0, BIND).default("0.0.0.0"),
  port: z.int(PORT).min(1, PORT).max(65_535, PORT).default(DEFAULT_PORT),
  /** Says that this process was given the right to ports below 1024. */
  privilegedPort: z.boolean(FLAG).default(false),
  udp: z.boolean(FLAG).default(true),
  tcp: z.boolean(FLAG).default(true),
  /** Who is heard: everybody else is dropped unread. */
  sources: z.array(z.union([z.cidrv4(), z.cidrv6()], SOURCES), SOURCES).min(1, SOURCES).max(
    1_000,
    "must be at most 1000 networks",
  ),
  /** How many messages of one source are read in a second; the others are dropped and counted. */
  perSecond: z.int(RATE).min(1, RATE).max(10_000, RATE).default(100),
}, { error: (issue) => sayObject(issue, NAMES) }).refine(
  ({ port, privilegedPort }) => port >= 1_024 || privilegedPort,
  {
    path: ["port"],
    message: "is below 1024, which needs a right of its own: take 1024 or more and let the " +
      "firewall redirect 514 to it, or give the right and set privilegedPort to true",
  },
).refine(({ udp, tcp }) => udp || tcp, {
  path: ["udp"],
  message: "is false, and tcp too: nothing would be heard",
});
export type SyslogSettings = z.infer<typeof SyslogSettings>;

/** `10.0.0.1:5514`, `[::]:5514`. */
export function placeOf({ bind, port }: Pick<SyslogSettings, "bind" | "port">): string {
  return `${isIP(bind) === 6 ? `[${bind}]` : bind}:${port}`;
}
