/** One run of a schedule. */
export interface Run {
  readonly at: Temporal.Instant;
  /**
   * What the run is called whenever it is computed: by its wall time and zone where the calendar rules, so that a
   * time zone whose rules change meanwhile moves the run and does not make a second one; else by its instant.
   */
  readonly key: string;
}
