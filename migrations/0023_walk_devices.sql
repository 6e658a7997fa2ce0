-- The devices of a site one after the other, as runs of policies take them.
create index devices_of_site on devices (site_id, id) where archived_at is null;
