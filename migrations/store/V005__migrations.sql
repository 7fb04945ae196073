-- Migrations between spaces: a row may have a vector in more than one space, under one id.

-- Rebuilding the primary key locks the keys until it is done, a few seconds for each million rows.
ALTER TABLE embedding_keys DROP CONSTRAINT embedding_keys_pkey;
ALTER TABLE embedding_keys ADD PRIMARY KEY (tenant_id, shard_key, embedding_id, space_no);
-- Marks a copy, whose row lives in another space, with the migration that made it.
ALTER TABLE embedding_keys ADD COLUMN migration_id uuid;
GRANT UPDATE (migration_id) ON embedding_keys TO embermesh_app;
-- which spaces hold rows of a tenant that are no copies
CREATE INDEX embedding_keys_native ON embedding_keys (tenant_id, shard_key, space_no) WHERE migration_id IS NULL;
-- the copies of a migration, in the order of their hashes: any beginning is a sample
CREATE INDEX embedding_keys_copies ON embedding_keys (tenant_id, shard_key, migration_id, space_no, dedup_hash)
    WHERE migration_id IS NOT NULL;

CREATE TABLE migrations (
    tenant_id                uuid NOT NULL,
    shard_key                smallint NOT NULL,
    migration_id             uuid NOT NULL,
    -- empty: every agent
    agent_id                 text COLLATE "C" NOT NULL,
    from_space               integer NOT NULL REFERENCES spaces,
    to_space                 integer NOT NULL REFERENCES spaces,
    to_model                 text NOT NULL,
    -- of the key that began it, which its costs are booked to
    key_id                   text NOT NULL,
    state                    text NOT NULL CHECK (state IN ('running', 'ready', 'cutting_over', 'cut_over', 'finishing',
                                 'finished', 'rolling_back', 'rolled_back', 'paused')),
    -- where a paused one goes on
    paused_from              text,
    activity                 text,
    reason                   text,
    message                  text,
    failing_since            timestamptz,
    on_too_long              text NOT NULL,
    min_overlap              double precision NOT NULL,
    budget_nano_usd          bigint,
    requests_per_minute      integer NOT NULL,
    tokens_per_minute        bigint NOT NULL,
    estimated_rows           bigint NOT NULL,
    estimated_tokens         bigint NOT NULL,
    estimated_cost_nano_usd  bigint NOT NULL,
    rows_there               bigint NOT NULL,
    -- the last row that the copying has passed
    cursor_id                uuid,
    rows_copied              bigint NOT NULL DEFAULT 0,
    rows_failed              bigint NOT NULL DEFAULT 0,
    rows_left                bigint NOT NULL,
    tokens                   bigint NOT NULL DEFAULT 0,
    cost_nano_usd            bigint NOT NULL DEFAULT 0,
    -- texts are being embedded, or were when their worker died
    in_flight                boolean NOT NULL DEFAULT false,
    -- smoothed over a minute, whatever the time went by with; from `committed_at` on the next rows count
    rows_per_second          double precision,
    committed_at             timestamptz,
    parity                   json,
    -- agents and task types whose pins the cut-over has moved
    moved                    json NOT NULL DEFAULT '[]',
    created_at               timestamptz NOT NULL,
    ready_at                 timestamptz,
    cut_over_at              timestamptz,
    ended_at                 timestamptz,
    -- who works on it, and until when, by the clock of the database, nobody else may
    worker                   uuid,
    claimed_until            timestamptz,
    next_at                  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, shard_key, migration_id)
);
CREATE INDEX migrations_due ON migrations (next_at) WHERE state NOT IN ('finished', 'rolled_back', 'paused');
SELECT protect('migrations');
GRANT SELECT, INSERT, UPDATE ON migrations TO embermesh_app;
-- workers take migrations of all tenants; the application role is no member of the owner
CREATE POLICY work ON migrations TO CURRENT_USER USING (true);

-- Rows that could not be embedded, without their texts.
CREATE TABLE migration_failures (
    tenant_id     uuid NOT NULL,
    shard_key     smallint NOT NULL,
    migration_id  uuid NOT NULL,
    embedding_id  uuid NOT NULL,
    code          text NOT NULL,
    message       text NOT NULL,
    failed_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, shard_key, migration_id, embedding_id)
);
SELECT protect('migration_failures');
GRANT SELECT, INSERT, DELETE ON migration_failures TO embermesh_app;

-- A row goes from every space that holds a vector of it. Its key goes first: a copy that is being made holds on to that, so that what
-- is looked for afterwards is all there will be.
CREATE OR REPLACE FUNCTION delete_through_view() RETURNS trigger LANGUAGE plpgsql SET search_path = store, public AS $$
DECLARE
    space spaces;
BEGIN
    SELECT * INTO STRICT space FROM spaces WHERE space_id = OLD.space_id;
    EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND created_at = $2 AND embedding_id = $3', space.table_name)
        USING OLD.tenant_id, OLD.created_at, OLD.embedding_id;
    DELETE FROM embedding_keys
        WHERE tenant_id = OLD.tenant_id AND embedding_id = OLD.embedding_id AND space_no = space.space_no;
    FOR space IN SELECT s.* FROM spaces s JOIN embedding_keys k USING (space_no)
        WHERE k.tenant_id = OLD.tenant_id AND k.embedding_id = OLD.embedding_id
    LOOP
        EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND created_at = $2 AND embedding_id = $3', space.table_name)
            USING OLD.tenant_id, OLD.created_at, OLD.embedding_id;
        DELETE FROM embedding_keys
            WHERE tenant_id = OLD.tenant_id AND embedding_id = OLD.embedding_id AND space_no = space.space_no;
    END LOOP;
    RETURN OLD;
END $$;
