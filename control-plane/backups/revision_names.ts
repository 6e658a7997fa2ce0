import type { RevisionRow } from "./store.ts";

/** A revision and what its device is called. */
export interface NamedRevision {
  readonly device: string;
  readonly revision: Pick<RevisionRow, "capture" | "number">;
}

/** `core-1-running-3`: the beginning of a file's name. */
export function fileNameOf({ device, revision: { capture, number } }: NamedRevision): string {
  return `${safe(device)}-${safe(capture)}-${number}`;
}

/** `core-1/running revision 3`: a side of a diff. */
export function diffNameOf({ device, revision: { capture, number } }: NamedRevision): string {
  return `${safe(device)}/${safe(capture)} revision ${number}`;
}

/** `oslo/core-1-running-3.masked.cfg`: a file of an export. */
export function exportNameOf(
  { site, ...revision }: NamedRevision & { readonly site: string },
): string {
  return `${safe(site)}/${fileNameOf(revision)}.masked.cfg`;
}

/**
 * People choose the names of devices, and these go into headers and file names: only what means nothing in either
 * stays, and no file is hidden, leads out of its folder or looks like an option.
 */
function safe(name: string): string {
  return name.replace(/[^A-Za-z0-9._\-]/g, "_").replace(/^[.\-]/, "_").slice(0, 100);
}
