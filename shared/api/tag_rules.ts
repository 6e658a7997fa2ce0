import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { DeviceId, id, Instant, TenantId } from "../ids.ts";
import { listOf, Page, text } from "./page.ts";
import { Tag } from "./tags.ts";

export const TagRuleId = id("TagRuleId");
export type TagRuleId = z.infer<typeof TagRuleId>;

const MOST_STARS = 10;

/** `*` stands for any characters, `?` for one; all of the value must fit, large and small letters make no difference. */
export const Pattern = text(100).min(1, "must not be empty").refine(
  (pattern) => pattern.split("*").length - 1 <= MOST_STARS,
  `must have at most ${MOST_STARS} *`,
).meta({ id: "Pattern", example: "oslo-*-sw?" });

const Patterns = {
  name: Pattern.nullable(),
  address: Pattern.nullable(),
  platform: Pattern.nullable(),
  /** As the device named its model in its last backup that did. */
  model: Pattern.nullable(),
};

/** Devices of a tenant that fit every pattern that is there get the tag. */
export const TagRule = z.object({
  id: TagRuleId,
  tenantId: TenantId,
  tag: z.string(),
  ...Patterns,
  createdAt: Instant,
  updatedAt: Instant,
}).meta({ id: "TagRule" });
export type TagRule = z.infer<typeof TagRule>;

interface GivenPatterns {
  readonly name?: string | null | undefined;
  readonly address?: string | null | undefined;
  readonly platform?: string | null | undefined;
  readonly model?: string | null | undefined;
}

function checkPatterns(given: GivenPatterns, context: z.core.$RefinementCtx): void {
  const { name, address, platform, model } = given;
  if (name || address || platform || model) return;
  const message = "give a pattern: name, address, platform or model";
  context.addIssue({ code: "custom", path: ["name"], message, input: undefined });
}

const RuleParams = z.strictObject({ ruleId: TagRuleId });
const NewPatterns = {
  name: Patterns.name.default(null),
  address: Patterns.address.default(null),
  platform: Patterns.platform.default(null),
  model: Patterns.model.default(null),
};

export const listTagRules = endpoint({
  method: "GET",
  path: "/api/v1/tag-rules",
  access: "tags:read",
  summary: "List the rules that tag devices by patterns",
  query: Page,
  reply: listOf(TagRule),
});

export const getTagRule = endpoint({
  method: "GET",
  path: "/api/v1/tag-rules/:ruleId",
  access: "tags:read",
  summary: "Read one rule that tags devices",
  params: RuleParams,
  reply: TagRule,
});

export const createTagRule = endpoint({
  method: "POST",
  path: "/api/v1/tag-rules",
  access: "tags:write",
  summary: "Make a rule that tags devices by patterns, those that are there and those to come",
  description:
    "A rule gives a tag and takes none: who takes it from a device that still fits gives it back with the device's next change",
  body: z.strictObject({
    tag: Tag,
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    ...NewPatterns,
  }).superRefine(checkPatterns),
  reply: TagRule,
  status: 201,
});

export const updateTagRule = endpoint({
  method: "PATCH",
  path: "/api/v1/tag-rules/:ruleId",
  access: "tags:write",
  summary: "Change a rule, which tags the devices that fit it now; nothing loses its tag",
  params: RuleParams,
  body: z.strictObject({ tag: Tag, ...Patterns }).partial(),
  reply: TagRule,
});

export const deleteTagRule = endpoint({
  method: "DELETE",
  path: "/api/v1/tag-rules/:ruleId",
  access: "tags:write",
  summary: "Delete a rule; devices keep the tags that it gave",
  params: RuleParams,
});

/** What a rule would do. Examples are of the devices that the caller sees. */
export const TagRulePreview = z.object({
  fits: z.int(),
  /** Of those: how many have the tag already. */
  tagged: z.int(),
  examples: z.array(z.object({
    deviceId: DeviceId,
    name: z.string(),
    host: z.string(),
    tagged: z.boolean(),
  })),
}).meta({ id: "TagRulePreview" });

export const previewTagRule = endpoint({
  method: "POST",
  path: "/api/v1/tag-rules/previews",
  access: "tags:write",
  summary: "Say which devices a rule would tag, without making it",
  body: createTagRule.body,
  reply: TagRulePreview,
});
