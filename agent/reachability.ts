import type { Send } from "./control_plane.ts";

/** What a proxy answers in place of a control plane that is away, or one whose database is. */
const AWAY: readonly number[] = [502, 503, 504];

/** Sends with `send`, and tells once, at the first answer, that the control plane is back after it was away. */
export function tellReturn(send: Send, onBack: () => void): Send {
  let away = false;
  return async (request) => {
    try {
      const response = await send(request);
      if (AWAY.includes(response.status)) away = true;
      else if (away) {
        away = false;
        onBack();
      }
      return response;
    } catch (error) {
      // A request that the agent gave up itself says nothing; one that timed out does.
      if ((error as Error).name !== "AbortError") away = true;
      throw error;
    }
  };
}
