import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, TenantId } from "../ids.ts";
import { listOf, Name, Page } from "./page.ts";

/** A managed service provider's customer. */
export const Tenant = z.object({ id: TenantId, name: z.string(), createdAt: Instant })
  .meta({ id: "Tenant" });
export type Tenant = z.infer<typeof Tenant>;

const TenantParams = z.strictObject({ tenantId: TenantId });
const TenantBody = z.strictObject({ name: Name });

export const listTenants = endpoint({
  method: "GET",
  path: "/api/v1/tenants",
  access: "tenants:read",
  summary: "List tenants",
  query: Page,
  reply: listOf(Tenant),
});

export const createTenant = endpoint({
  method: "POST",
  path: "/api/v1/tenants",
  access: "tenants:write",
  summary: "Create a tenant",
  body: TenantBody,
  reply: Tenant,
  status: 201,
});

export const getTenant = endpoint({
  method: "GET",
  path: "/api/v1/tenants/:tenantId",
  access: "tenants:read",
  summary: "Read one tenant",
  params: TenantParams,
  reply: Tenant,
});

export const updateTenant = endpoint({
  method: "PATCH",
  path: "/api/v1/tenants/:tenantId",
  access: "tenants:write",
  summary: "Rename a tenant",
  params: TenantParams,
  body: TenantBody,
  reply: Tenant,
});

export const deleteTenant = endpoint({
  method: "DELETE",
  path: "/api/v1/tenants/:tenantId",
  access: "tenants:write",
  summary: "Delete a tenant that has no sites, no credentials and no working agents",
  params: TenantParams,
});
