-- Idempotency: the whole answer under a caller's key, so that a repeat gets what the first call got. Takes the place of the note of
-- which row a key had made.

DROP TABLE requests;

CREATE TABLE answers (
    tenant_id      uuid NOT NULL,
    shard_key      smallint NOT NULL,
    -- the agent that the caller's API key is bound to; empty: none
    agent_id       text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    body_hash      bytea NOT NULL CHECK (octet_length(body_hash) = 32),
    holder         uuid NOT NULL,
    created_at     timestamptz NOT NULL,
    -- a key that has no answer by then is free: whoever held it is gone
    locked_until   timestamptz NOT NULL,
    answer         bytea,
    -- the rows that the answer names; once one of them is gone the key is free
    embedding_ids  uuid[] NOT NULL,
    PRIMARY KEY (tenant_id, shard_key, agent_id, key)
);
-- vectors do not compress
ALTER TABLE answers ALTER COLUMN answer SET STORAGE EXTERNAL;
-- every row is written twice and gone after a day: the second time in place, and swept sooner than by default
ALTER TABLE answers SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX answers_created ON answers (created_at);
SELECT protect('answers');
GRANT SELECT, INSERT, UPDATE, DELETE ON answers TO embermesh_app;
-- expiry works through all tenants; the application role is no member of the owner
CREATE POLICY expiry ON answers TO CURRENT_USER USING (true);
