-- Every job pays for every index of the tables that it passes through, and these gave nothing for it.

-- Newest first is read backwards from an ascending index, which grows at its right end: a descending one splits its pages
-- in the middle as ids rise. What counts by site is served by the primary key of open_jobs.
drop index open_jobs_site;
drop index done_outcome;
create index done_outcome on done (outcome, job_id);

-- Equal keys share an entry; of an agent's few leases a claim finds its own.
drop index leases_agent;
create index leases_agent on leases (agent_id);

-- A lease that uses no credential is looked for by none.
drop index leases_credential;
create index leases_credential on leases (credential_id, credential_version)
  where credential_id is not null;
