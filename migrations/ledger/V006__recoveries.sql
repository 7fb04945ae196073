-- The books may be brought back to an earlier time. Then routers know of more than the ledger does: leases that it granted and attempts
-- that it booked in what was lost. Budgets are closed until every router has told again what it has on disk.
CREATE TABLE recoveries (
    recovery_id   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- the time that the books were brought back to
    restored_to   timestamptz NOT NULL,
    marked_at     timestamptz NOT NULL,
    -- absent: budgets are closed
    reconciled_at timestamptz
);
CREATE UNIQUE INDEX recoveries_open ON recoveries ((true)) WHERE reconciled_at IS NULL;

-- Granted before such a time, and held then. What its attempts leave of it may have been spent in what was lost, so none of that is free
-- again but what its router says it has not spent.
ALTER TABLE leases ADD COLUMN recovered boolean NOT NULL DEFAULT false;

-- When backups and restore drills last came to a good end, for the metrics.
CREATE TABLE backup_runs (
    kind         text COLLATE "C" PRIMARY KEY CHECK (kind IN ('logical', 'base', 'redis', 'drill')),
    succeeded_at timestamptz NOT NULL,
    bytes        bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    -- of a drill
    rpo_seconds  double precision,
    rto_seconds  double precision
);

GRANT SELECT, INSERT, UPDATE (reconciled_at) ON recoveries TO embermesh_app;
GRANT SELECT, INSERT, UPDATE ON backup_runs TO embermesh_app;
GRANT UPDATE (recovered) ON leases TO embermesh_app;
