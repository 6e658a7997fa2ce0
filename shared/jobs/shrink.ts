/** The sizes of two exact texts of a capture, and how much of the older one may be lost. */
export interface Shrinkage {
  readonly baselineBytes: number;
  readonly bytes: number;
  readonly shrinkPercent: number;
}

/**
 * Whether a text lost more than the threshold; exactly as much is no shrinkage. In whole numbers: agent and control
 * plane must agree at the edge, too, where `1 - 70 / 100` is a little more than it should be.
 */
export function hasShrunk({ baselineBytes, bytes, shrinkPercent }: Shrinkage): boolean {
  return bytes * 100 < baselineBytes * (100 - shrinkPercent);
}
