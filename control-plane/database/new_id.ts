import { v7 } from "uuid";

/** A new UUIDv7 (RFC 9562), as any of our branded ids: ids are made by the application and sort by time. */
export function newId<Id extends string>(): Id {
  return v7() as Id;
}
