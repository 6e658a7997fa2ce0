import type { ReportBody } from "@rookery/shared/api/agent_protocol.ts";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import type { Delivery } from "./deliver.ts";
import type { Spool } from "./spool.ts";
import type { SpoolContents, SpoolEntry } from "./spool_entry.ts";
import { compress } from "./zstd.ts";

/** A configuration as it travels. */
export interface WireBody {
  readonly type: "application/octet-stream" | "application/jose";
  readonly coding: "identity" | "zstd";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What is delivered of one lease: its configurations first, then the result that names them. */
export interface Parcel {
  readonly leaseId: LeaseId;
  readonly captures: readonly {
    readonly sha256: Sha256;
    /** Gives the body in a coding that the control plane takes; every time the same bytes. */
    readonly body: (takes: { zstd: boolean }) => Promise<WireBody>;
  }[];
  readonly report: () => Promise<ReportBody>;
}

/** What is in memory, as the control plane likes it best. */
export function clearParcel({ leaseId, result, uploads }: Delivery): Parcel {
  return {
    leaseId,
    captures: uploads.map(({ sha256, bytes }) => {
      let compressed: Uint8Array<ArrayBuffer> | undefined;
      return {
        sha256: sha256 as Sha256,
        body: ({ zstd }) => {
          const type = "application/octet-stream";
          if (!zstd) return Promise.resolve({ type, coding: "identity", bytes });
          compressed ??= compress(bytes);
          return Promise.resolve({ type, coding: "zstd", bytes: compressed });
        },
      };
    }),
    report: () => Promise.resolve({ result }),
  };
}

/** What the spool holds, as it is: sealed, since nothing here opens it. */
export function sealedParcel(spool: Spool, entry: SpoolEntry, contents: SpoolContents): Parcel {
  return {
    leaseId: entry.leaseId,
    captures: contents.captures.map((part) => ({
      sha256: part.sha256,
      body: async () => ({
        type: "application/jose",
        coding: "identity",
        bytes: await spool.read(entry, part),
      }),
    })),
    report: async () => {
      const bytes = await spool.read(entry, contents.result);
      return { sealed: new TextDecoder().decode(bytes) };
    },
  };
}
