-- Keys are changed, rotated, and known by when they were last used.
--
-- Replicas of the release before may still run: they name the columns that they read and write, and every new one may be null. A
-- key that was rotated ends for them too, because its expires_at says so.

ALTER TABLE api_keys
    -- the key that was made from this one by rotation, the last of them if there were several
    ADD COLUMN successor_id text UNIQUE REFERENCES api_keys,
    -- when the overlap of that rotation ends; expires_at never lies beyond it
    ADD COLUMN overlap_ends_at timestamptz,
    -- what expires_at was before the first rotation
    ADD COLUMN own_expires_at timestamptz,
    -- the key that all versions come from; null in that one itself
    ADD COLUMN first_id text REFERENCES api_keys,
    -- to about a minute, from the gateways
    ADD COLUMN last_used_at timestamptz,
    ADD CONSTRAINT rotated_keys_end CHECK (
        (successor_id IS NULL) = (overlap_ends_at IS NULL)
        AND (successor_id IS NULL OR coalesce(expires_at <= overlap_ends_at, false))
    ),
    ADD CONSTRAINT rotated_into_another CHECK (successor_id <> id AND first_id <> id);
CREATE INDEX api_keys_versions ON api_keys (first_id) WHERE first_id IS NOT NULL;

-- whom a key is for, what it may do and its secret are missing here: with others it is another key
GRANT UPDATE (name, expires_at, successor_id, overlap_ends_at, own_expires_at, last_used_at) ON api_keys TO embermesh_app;
