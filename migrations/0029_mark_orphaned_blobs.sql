-- Since when no revision is known to refer to it: it is deleted days later, unless something did again in the meantime.
alter table blobs add column orphaned_at timestamptz;

-- A revision that is deleted looks for the current text that would go with it, and each list asks which one is current.
create index current_texts_revision on current_texts (revision_id);
