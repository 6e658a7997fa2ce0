/**
 * The one form in which user names are compared. They are ASCII, so only its capitals have two: `toLowerCase()` and
 * PostgreSQL's `lower()` disagree about others (`İ`), and a name must not be one account here and another one there.
 */
export function canonicalUsername(username: string): string {
  return username.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}
