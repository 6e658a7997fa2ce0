-- What happened to a device that its history has to be read with: it was moved to another site, or replaced by another piece
-- of hardware. Append only.
create table device_marks (
  id uuid primary key,
  device_id uuid not null references devices on delete cascade,
  kind text not null check (kind in ('moved', 'replaced')),
  at timestamptz not null default clock_timestamp(),
  marked_by uuid,
  -- Of a move: where it was before, and where its jobs stay.
  from_site_id uuid,
  -- Of a replacement.
  serial_number text,
  fingerprint text
);
create index device_marks_device on device_marks (device_id, id);
