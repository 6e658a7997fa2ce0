/** A text as LIKE and ILIKE take it for itself: their wild cards stand for no others. */
export function escapeLike(text: string): string {
  return text.replaceAll(/[\\%_]/g, "\\$&");
}
