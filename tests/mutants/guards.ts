/** Every guard that must not be lost, as the edit that takes it away and the tests that have to notice. */

/** `find` stands in `file` exactly once. */
export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Guard {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** Test files, from the root. */
  readonly tests: readonly string[];
  /** Of those files only the tests whose names match: a regular expression without its slashes, or part of a name. */
  readonly filter?: string;
  /** The guard stands in the schema: the tests need a database that is made by the changed migrations. */
  readonly inSchema?: boolean;
}

const ENGINE = [
  "tests/fleet/lease_guards_test.ts",
  "tests/fleet/lease_engine_test.ts",
  "tests/fleet/lease_races_test.ts",
  "tests/fleet/model/lease_model_test.ts",
];

function guard(
  name: string,
  [file, find, replace]: readonly [string, string, string],
  tests: readonly string[] = ENGINE,
  more: Partial<Guard> = {},
): Guard {
  return { name, edits: [{ file, find, replace }, ...more.edits ?? []], tests, ...omitEdits(more) };
}

function omitEdits({ edits: _, ...rest }: Partial<Guard>): Omit<Partial<Guard>, "edits"> {
  return rest;
}

const ACCEPT = "control-plane/jobs/accept.ts";
const ENDED = "control-plane/jobs/accept_ended.ts";
const CLAIM = "control-plane/jobs/claim.ts";
const HEARTBEAT = "control-plane/jobs/heartbeat.ts";
const REAP = "control-plane/jobs/reap.ts";
const RETURN = "control-plane/jobs/return_leases.ts";
const JOBS_TABLE = "migrations/0008_create_jobs.sql";
const GUARDS_TEST = ["tests/fleet/lease_guards_test.ts"];

/** The engine of leases, in SQL. */
const ENGINE_GUARDS: readonly Guard[] = [
  guard("epoch: an end settles only the lease it was given under", [
    ENDED,
    "and l.id = g.lease_id\n        and l.epoch = g.epoch and l.agent_id = g.agent_id\n",
    "and l.agent_id = g.agent_id\n",
  ]),
  guard("epoch: a failure settles only the lease it was given under", [
    ACCEPT,
    "and job_id = ${attempt.jobId} and id = ${attempt.leaseId}\n      and epoch = ${attempt.epoch} and agent_id",
    "and job_id = ${attempt.jobId}\n      and agent_id",
  ]),
  guard(
    "epoch: a late result is of the newest epoch",
    [
      ACCEPT,
      "and r.epoch = ${attempt.epoch} and r.late_agent_id",
      "and r.late_agent_id",
    ],
    ENGINE,
    {
      edits: [{ file: ACCEPT, find: "and g.epoch = r.epoch and", replace: "and" }],
    },
  ),
  guard("agent: only the holder ends a lease", [
    ENDED,
    "and l.epoch = g.epoch and l.agent_id = g.agent_id\n",
    "and l.epoch = g.epoch\n",
  ]),
  guard("agent: only the holder's failure settles a lease", [
    ACCEPT,
    "and epoch = ${attempt.epoch} and agent_id = ${attempt.agentId}\n    returning",
    "and epoch = ${attempt.epoch}\n    returning",
  ]),
  guard("agent: late is only what was lost, and by its last holder", [
    ACCEPT,
    " and r.late_agent_id = ${attempt.agentId}",
    "",
  ]),
  guard("answers: the same envelope gets the same answer", [
    ACCEPT,
    "if (rows[0]) return { answer: rows[0].answer, duplicate: true };",
    "",
  ]),
  guard("answers: a superseded envelope is recorded once", [
    ACCEPT,
    "where lease_id = ${attempt.leaseId} for no key update`",
    "where lease_id = ${attempt.leaseId}`",
  ]),
  guard("cancelled is never overwritten by a success", [
    ENDED,
    "case when l.cancel_requested then 'cancelled' else g.outcome end as outcome",
    "g.outcome as outcome",
  ]),
  guard("cancelled is never overwritten by a failure", [
    ACCEPT,
    'taken.cancelRequested ? { status: "cancelled" } : result.verdict',
    "result.verdict",
  ]),
  guard("cancelled is never overwritten by a loss", [
    RETURN,
    "case when c.cancel_requested then 'cancelled'",
    "case when false then 'cancelled'",
  ]),
  guard(
    "boot: only the boot of the session claims",
    [
      CLAIM,
      "and boot_id = ${bootId} and expires_at > clock_timestamp()) as live",
      "and expires_at > clock_timestamp()) as live",
    ],
    ENGINE,
    {
      edits: [{
        file: CLAIM,
        find: "where agent_id = ${order.agentId} and boot_id = ${order.bootId}\n",
        replace: "where agent_id = ${order.agentId}\n",
      }],
    },
  ),
  guard("boot: only the boot of the session renews it", [
    HEARTBEAT,
    "where agent_id = ${beat.agentId} and boot_id = ${beat.bootId}\n        and expires_at",
    "where agent_id = ${beat.agentId}\n        and expires_at",
  ]),
  guard(
    "session: one that died claims nothing",
    [
      CLAIM,
      "and boot_id = ${bootId} and expires_at > clock_timestamp()) as live",
      "and boot_id = ${bootId}) as live",
    ],
    ENGINE,
    {
      edits: [{
        file: CLAIM,
        find: "and boot_id = ${order.bootId}\n      and expires_at > clock_timestamp()\n",
        replace: "and boot_id = ${order.bootId}\n",
      }],
    },
  ),
  guard("session: one that died is not renewed", [
    HEARTBEAT,
    "\n        and expires_at > clock_timestamp()\n",
    "\n",
  ]),
  guard("session lock: claims of one agent come one after the other", [
    CLAIM,
    "and expires_at > clock_timestamp()\n    for no key update`",
    "and expires_at > clock_timestamp()`",
  ]),
  guard(
    "claim id: a repeated claim gets the same leases",
    [
      CLAIM,
      "if (isRetry) return await findClaimed(db, order);",
      "",
    ],
    ENGINE,
    {
      edits: [{
        file: CLAIM,
        find: "if (again.length > 0) return { leases: again };",
        replace: "",
      }],
    },
  ),
  guard("claim id: one claim by two requests at once is one claim", [
    CLAIM,
    "if (again.length > 0) return { leases: again };",
    "",
  ]),
  guard("capacity: an agent holds no more than it can run", [
    CLAIM,
    "capacity - atAgent, ",
    "",
  ]),
  guard("site lock: claims at one site come one after the other", [
    "control-plane/jobs/site_limits.ts",
    "from installation where maintenance)\n    for no key update`",
    "from installation where maintenance)`",
  ]),
  guard("limit: a site has no more leases than it may", [
    CLAIM,
    "site.maxLive - atSite, ",
    "",
  ]),
  guard("backoff: what waits for its next attempt is not granted", [
    CLAIM,
    " and r.due_at <= now()\n      returning r.*",
    "\n      returning r.*",
  ]),
  guard("device: a busy one is not claimed", [
    "control-plane/jobs/claim_candidates.ts",
    "and not exists (\n        select 1 from leases l where l.site_id = r.site_id and l.device_id = r.device_id)\n      and not exists (\n        select 1 from credential_refusals",
    "and not exists (\n        select 1 from credential_refusals",
  ]),
  guard("floor: it is dropped when work was put before it", [
    "control-plane/jobs/claim_floor.ts",
    "floor.queueVersion !== queueVersion || ",
    "",
  ]),
  guard("open job: a device has one of a kind", [
    "control-plane/jobs/enqueue.ts",
    "select w.* from opened join wanted w using (device_id, job_id)",
    "select w.* from wanted w",
  ]),
  guard("open job: it is closed when its job ends", [
    ENDED,
    "delete from open_jobs o using taken t where o.site_id = t.site_id and o.job_id = t.job_id",
    "select 1",
  ]),
  guard("open job: it is closed when its job fails", [
    ACCEPT,
    "delete from open_jobs where site_id = ${siteId} and job_id = ${jobId}\n",
    "delete from open_jobs where false\n",
  ]),
  guard("queue: a full one takes no more", [
    "control-plane/jobs/enqueue.ts",
    'if (open > maxQueued) throw queueFull("of this site", maxQueued, open);',
    "",
  ]),
  guard("reaper: a session that lives again keeps its leases", [
    REAP,
    "if (dead.rows.length === 0) return 0;",
    "",
  ]),
  guard("reaper: an offer that was started meanwhile stays", [
    RETURN,
    "order by l.site_id, l.device_id for update\n",
    "order by l.site_id, l.device_id\n",
  ]),
  guard("reaper: only offers that were not started come back", [
    REAP,
    "sql`not l.running and l.offer_until < clock_timestamp()`",
    "sql`l.offer_until < clock_timestamp()`",
  ]),
  guard("offer_until: an offer stands for half a minute", [
    REAP,
    "sql`not l.running and l.offer_until < clock_timestamp()`",
    "sql`not l.running`",
  ]),
  guard("deadline: only what passed it comes back", [
    REAP,
    "sql`l.running and l.deadline_at < clock_timestamp()`",
    "sql`l.running`",
  ]),
  guard("release: a started lease is not given back", [
    REAP,
    "and l.agent_id = ${lease.agentId}\n      and not l.running`",
    "and l.agent_id = ${lease.agentId}`",
  ]),
  guard("forgotten: a young lease that a heartbeat does not name stays", [
    HEARTBEAT,
    "(l.running\n    and l.granted_at < clock_timestamp() - make_interval(secs => ${FORGOTTEN_SECONDS}::int)\n",
    "(l.running\n",
  ]),
  guard("retries: a refused password is never tried again", [
    "shared/jobs/failure.ts",
    "authentication: { attempts: 1,",
    "authentication: { attempts: 2,",
  ]),
  guard(
    "device: the database refuses a second lease",
    [
      JOBS_TABLE,
      "last_failure text,\n  primary key (site_id, device_id)\n)",
      "last_failure text\n)",
    ],
    GUARDS_TEST,
    { inSchema: true },
  ),
  guard(
    "epoch: the database refuses to grant one twice",
    [
      JOBS_TABLE,
      "granted_at timestamptz not null default clock_timestamp(),\n  unique (site_id, job_id, epoch)\n",
      "granted_at timestamptz not null default clock_timestamp()\n",
    ],
    GUARDS_TEST,
    { inSchema: true },
  ),
  guard("credential: its version is locked while leases of it are counted", [
    "control-plane/jobs/claim_credentials.ts",
    "order by v.credential_id, v.version for no key update of v`",
    "order by v.credential_id, v.version`",
  ], ["tests/fleet/lease_guards_test.ts", "tests/fleet/credential_ramp_test.ts"]),
  guard(
    "device status: its clock is read behind its lock",
    [
      "control-plane/backups/device_status.ts",
      "with locked as materialized (\n      select from device_status where device_id = ${deviceId} for update\n    )\n    select clock_timestamp() as at from locked`",
      "select clock_timestamp() as at from device_status where device_id = ${deviceId} for update`",
    ],
    ["tests/api/backups_ingest_test.ts"],
    { filter: "lockDeviceStatus" },
  ),
  guard("occurrence: a run of a policy is made once", [
    "control-plane/jobs/enqueue.ts",
    "let missing = await withoutOccurrence(tx, order);",
    "let missing: readonly DeviceId[] = order.deviceIds;\n  void withoutOccurrence;",
  ], [...GUARDS_TEST, "tests/api/policies_tick_test.ts"]),
];

const VERIFY = "agent/verify_lease.ts";
const FIELDS = ["tests/fleet/verify_lease_test.ts"];

function field(name: string, [find, replace = ""]: readonly [string, string?]): Guard {
  return guard(`field: the agent compares ${name}`, [VERIFY, find, replace], FIELDS);
}

/** What an agent compares by itself, although the signature is good. */
const FIELD_GUARDS: readonly Guard[] = [
  field("iss", ['    claims.iss !== expected.issuer && "iss",\n']),
  field("aud", ['    claims.aud !== expected.agentId && "aud",\n']),
  field("bootId", ['    claims.bootId !== expected.bootId && "bootId",\n']),
  field("claimId", ['    claims.claimId !== expected.claimId && "claimId",\n']),
  field("siteId", ['    !expected.siteIds.includes(claims.siteId) && "siteId",\n']),
  field("incarnation", ['    claims.incarnation !== expected.incarnation && "incarnation",\n']),
  field("epoch with what it has seen", [
    'if (!expected.epochs.accept(claims.sub, claims.epoch)) throw mismatch(claims, "epoch");',
  ]),
  field("the lease in the credential", ['    credential.leaseId !== claims.jti && "jti",\n']),
  field("the address in the credential", [
    '    credential.host !== claims.device.host && "device.host",\n',
  ]),
  field("the digest of the credential", [
    "if (await sha256(granted.credential) !== claims.credentialSha256) {",
    "if (false) {",
  ]),
  field("the digest of the commands", [
    "!== claims.commandsSha256) {",
    "!== claims.commandsSha256 && false) {",
  ]),
  field("the deadline with its own limit", [
    '    claims.deadlineSeconds > MAX_DEADLINE_SECONDS && "deadlineSeconds",\n',
  ]),
];

const FENCE_TEST = ["tests/fleet/agent_fence_test.ts"];
const FENCED = { filter: "is fenced while its session thread" };

/** The agent's own restraint, and who may speak at all. */
const AGENT_GUARDS: readonly Guard[] = [
  guard(
    "self-fence: an agent that is not heard touches no device",
    [
      "agent/heartbeat.ts",
      'leases.abortAll("lease_lost");\n    options.sessions.wipe();',
      "",
    ],
    ["tests/fleet/agent_life_test.ts"],
    { filter: "fences itself before its lease is over" },
  ),
  guard(
    "self-fence: threads end, with what they know",
    [
      "agent/heartbeat.ts",
      "    options.sessions.wipe();\n",
      "",
    ],
    FENCE_TEST,
    FENCED,
  ),
  guard(
    "self-fence: a blocked thread says nothing more when it comes round",
    [
      "agent/workers/session_worker.ts",
      "if (pulse.isGivenUp) throw",
      "if (false) throw",
    ],
    FENCE_TEST,
    FENCED,
  ),
  guard(
    "self-fence: not even good-bye",
    [
      "agent/ssh/connect.ts",
      "    mark();\n    return write(...args);",
      "    return write(...args);",
    ],
    FENCE_TEST,
    FENCED,
  ),
  guard(
    "self-fence: from its first moment on",
    [
      "agent/workers/session_threads.ts",
      "      thread.giveUp();\n",
      "",
    ],
    ["tests/fleet/session_worker_test.ts"],
    { filter: "another word" },
  ),
  guard(
    "heartbeat first: no device before a named lease was answered",
    [
      "agent/run_lease.ts",
      "    await untilConfirmed(lease, work);\n",
      "    void untilConfirmed;\n",
    ],
    ["tests/fleet/agent_life_test.ts"],
    { filter: "no device is touched before a heartbeat" },
  ),
  guard(
    "rotation: the former sealing key opens what was on its way",
    [
      "agent/agent_keys.ts",
      "[imported.sealKey, ...this.#sealKeys]",
      "[imported.sealKey]",
    ],
    ["tests/fleet/identity_rotation_test.ts"],
    { filter: "sealed to the former" },
  ),
  guard("nonce: a proof needs a fresh one", [
    "control-plane/agents/proof.ts",
    "if (nonce === undefined || !await nonces.accepts(nonce)) {",
    "if (false) {",
  ], [
    "tests/fleet/second_client_test.ts",
    "tests/fleet/identity_proofs_test.ts",
    "tests/fleet/agent_protocol_test.ts",
  ]),
  guard(
    "proof: one opens one session",
    [
      "control-plane/agents/used_proofs.ts",
      "return rows.length > 0;",
      "return rows.length >= 0;",
    ],
    ["tests/fleet/identity_proofs_test.ts"],
    { filter: "a proof opens one session" },
  ),
  guard("revoked: its results are not taken", [
    "control-plane/jobs/settle_result.ts",
    "    await holdActiveAgent(tx, grant.agentId);\n",
    "    void holdActiveAgent;\n",
  ], ["tests/fleet/identity_revocation_test.ts"]),
  guard("revoked: it is sent no credential", [
    "control-plane/jobs/build_grants.ts",
    " and a.status = 'active'\n      for share of a",
    "",
  ], ["tests/fleet/identity_revocation_test.ts"]),
  guard(
    "boot: a new one frees the leases of the one before",
    [
      "control-plane/agents/open_session.ts",
      "  await returnOtherBoots(tx, boot);\n",
      "  void returnOtherBoots;\n",
    ],
    ["tests/fleet/agent_life_test.ts"],
    { filter: "the next boot has the job back" },
  ),
  guard("result: it is of the lease that it names", [
    "control-plane/jobs/settle_result.ts",
    '    claims.epoch !== grant.epoch && "epoch",\n',
    "",
  ], ["tests/fleet/agent_protocol_test.ts"]),
];

export const GUARDS: readonly Guard[] = [...ENGINE_GUARDS, ...FIELD_GUARDS, ...AGENT_GUARDS];
