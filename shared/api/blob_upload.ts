import { z } from "zod";
import { Sha256 } from "../ids.ts";

/** What a configuration is sent as: as it is (or in a content coding), or sealed by the agent that kept it. */
export const BLOB_TYPES = ["application/octet-stream", "application/jose"] as const;
/** The content codings (RFC 9110, section 8.4) that a configuration is taken in, as `Accept-Encoding` names them. */
export const BLOB_CODINGS = ["zstd"] as const;

/** The header fields that say how an upload is coded, and where it goes on after it was cut. */
export const UPLOAD_ID = "upload-id";
export const UPLOAD_OFFSET = "upload-offset";
export const UPLOAD_LENGTH = "upload-length";

/** A number of bytes as a header field carries it. */
const ByteCount = z.string().regex(/^\d{1,9}$/, "must be a number of bytes")
  .transform(Number);

/**
 * The header fields of an upload. `upload-id` is the SHA-256 of the body as it travels: who sends it may go on after a cut,
 * with the bytes from `upload-offset` on, while the control plane keeps what came before. `upload-length` is how long the
 * whole body is.
 */
export const UploadHeaders = z.object({
  "content-type": z.string().transform((type) => type.split(";")[0]?.trim().toLowerCase() ?? "")
    .pipe(z.enum(BLOB_TYPES)),
  "content-encoding": z.enum(["identity", ...BLOB_CODINGS]).default("identity"),
  [UPLOAD_ID]: Sha256.optional(),
  [UPLOAD_OFFSET]: ByteCount.default(0),
  [UPLOAD_LENGTH]: ByteCount.optional(),
});
export type UploadHeaders = z.infer<typeof UploadHeaders>;

/** What a reply to HEAD says of an upload that was cut. */
export const UploadState = z.object({ [UPLOAD_ID]: Sha256, [UPLOAD_OFFSET]: ByteCount });
export type UploadState = z.infer<typeof UploadState>;
