-- The unique index of the id is read backwards as well as this one was.
drop index jobs_newest;

-- For the pages that people wait for: history of a policy, of a person, of a kind that is rare, of a reason.
create index jobs_policy on jobs (policy_id, id) where policy_id is not null;
create index jobs_requester on jobs (requested_by, id) where requested_by is not null;
-- Most jobs are backups: finding those by their kind needs no index, and a full one would cost every enqueue.
create index jobs_rare_kind on jobs (kind, id) where kind <> 'backup_config';
create index done_failure on done (failure_code, job_id) where failure_code is not null;
-- Rows come in the order of their time, nearly: a span is found by blocks, and an insert costs nothing.
create index done_ended on done using brin (ended_at) with (pages_per_range = 16, autosummarize = on);
