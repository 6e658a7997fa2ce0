import { z } from "zod";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import type { App } from "./app_type.ts";

/**
 * Registers every schema that has a name, as it is by itself. The generator would otherwise take a name's first use for
 * its meaning, and one that may be null there would be null everywhere.
 */
export function registerComponents(
  registry: App["openAPIRegistry"],
  endpoints: readonly AnyEndpoint[],
): void {
  const found = new Map<string, z.ZodType>();
  for (const { params, query, body, reply } of endpoints) {
    for (const schema of [params, query, body, reply]) if (schema) collectNamed(schema, found);
  }
  // A copy, because only schemas that were made after the generator was loaded have what it needs.
  for (const [id, schema] of found) registry.register(id, schema.clone());
}

function collectNamed(schema: z.ZodType, found: Map<string, z.ZodType>): void {
  z.toJSONSchema(schema, {
    unrepresentable: "any",
    override: ({ zodSchema }) => {
      const id = z.globalRegistry.get(zodSchema)?.id;
      if (id !== undefined && zodSchema instanceof z.ZodType) found.set(id, zodSchema);
    },
  });
}

/**
 * Says "this or null" where the generator says "this and, at once, a text or null", which null never is: `anyOf` in
 * place of `allOf`, throughout a document.
 */
export function mendNullable(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(mendNullable);
  if (typeof node !== "object" || node === null) return node;
  const mended = Object.fromEntries(
    Object.entries(node).map(([name, value]) => [name, mendNullable(value)]),
  );
  const { allOf, ...rest } = mended;
  const [reference, other, ...more] = Array.isArray(allOf) ? allOf : [];
  if (!reference?.$ref || more.length > 0 || !allowsNull(other)) return mended;
  return { anyOf: [reference, { type: "null" }], ...rest };
}

function allowsNull(schema: unknown): boolean {
  return typeof schema === "object" && schema !== null && "type" in schema &&
    Array.isArray(schema.type) && schema.type.includes("null");
}
