-- Since when an agent is refused for its version: it is shown as too old, and its jobs say so, until it was updated.
alter table agents add column too_old_since timestamptz;
