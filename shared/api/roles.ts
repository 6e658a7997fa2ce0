import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, PermissionId, RoleId } from "../ids.ts";
import { listOf, Name, Page } from "./page.ts";
import { Description } from "./permissions.ts";

/** A set of permissions that users are given together. */
export const Role = z.object({
  id: RoleId,
  name: z.string(),
  description: z.string(),
  permissionIds: z.array(PermissionId),
  /** Came with the installation and stays as it is. */
  builtIn: z.boolean(),
  createdAt: Instant,
}).meta({ id: "Role" });
export type Role = z.infer<typeof Role>;

const RoleFields = {
  name: Name,
  description: Description,
  /** The permissions that the role is made of, instead of those that it had. */
  permissionIds: z.array(PermissionId).max(200),
};

const RoleParams = z.strictObject({ roleId: RoleId });

export const listRoles = endpoint({
  method: "GET",
  path: "/api/v1/roles",
  access: "roles:read",
  summary: "List roles",
  query: Page,
  reply: listOf(Role),
});

export const getRole = endpoint({
  method: "GET",
  path: "/api/v1/roles/:roleId",
  access: "roles:read",
  summary: "Read one role",
  params: RoleParams,
  reply: Role,
});

export const createRole = endpoint({
  method: "POST",
  path: "/api/v1/roles",
  access: "roles:write",
  summary: "Create a role of permissions that one has oneself",
  body: z.strictObject({
    ...RoleFields,
    description: Description.default(""),
    permissionIds: RoleFields.permissionIds.default([]),
  }),
  reply: Role,
  status: 201,
});

export const updateRole = endpoint({
  method: "PATCH",
  path: "/api/v1/roles/:roleId",
  access: "roles:write",
  summary: "Change a role, and with it what everybody may do who has it",
  params: RoleParams,
  body: z.strictObject(RoleFields).partial(),
  reply: Role,
});

export const deleteRole = endpoint({
  method: "DELETE",
  path: "/api/v1/roles/:roleId",
  access: "roles:write",
  summary: "Delete a role that no user has",
  params: RoleParams,
});
