import { HEARTBEATS_PER_SECOND, HEARTBEATS_PER_TTL } from "./open_session.ts";

/**
 * The shortest time that a session must live between heartbeats, whatever its sites say: with so many agents they come
 * seldom, and a lease must survive two that are lost.
 */
export function minTtlSeconds(agents: number): number {
  return Math.ceil(HEARTBEATS_PER_TTL * agents / HEARTBEATS_PER_SECOND);
}
