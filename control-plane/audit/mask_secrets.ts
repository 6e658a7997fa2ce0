/** Names of fields whose text is a secret, wherever they stand: `password`, `newPassword`, `enableSecret`, `privateKey` … */
const SECRET = /(password|passphrase|secret|privatekey|apikey|community)$|^token$/i;
const MASK = "(masked)";

/**
 * What is written of a change, without the texts of secret fields. Writers leave them out themselves; this is for the one
 * that is added and forgets it.
 */
export function maskSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(maskSecrets);
  if (value === null || typeof value !== "object" || "toJSON" in value) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      typeof inner === "string" && SECRET.test(name) ? MASK : maskSecrets(inner),
    ]),
  );
}
