-- Work that goes on after its request was answered. Any replica may take a job, and takes over one whose worker has not been heard of.
CREATE TABLE jobs (
    tenant_id      uuid NOT NULL,
    shard_key      smallint NOT NULL,
    job_id         uuid NOT NULL,
    kind           text NOT NULL,
    -- what is to be done; without texts or vectors
    request        json NOT NULL,
    state          text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    done           bigint NOT NULL DEFAULT 0,
    total          bigint,
    changed        bigint NOT NULL DEFAULT 0,
    note           text,
    created_at     timestamptz NOT NULL,
    started_at     timestamptz,
    finished_at    timestamptz,
    -- who works on it, and until when, by the clock of the database, nobody else may
    worker         uuid,
    claimed_until  timestamptz,
    attempts       integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, shard_key, job_id)
);
CREATE INDEX jobs_open ON jobs (created_at) WHERE state IN ('queued', 'running');
SELECT protect('jobs');
GRANT SELECT, INSERT ON jobs TO embermesh_app;
-- workers take jobs of all tenants; the application role is no member of the owner
CREATE POLICY work ON jobs TO CURRENT_USER USING (true);

-- How often the text of a row was put again. Counted beside the requests and losable; decides only what a cache is warmed with.
CREATE TABLE row_uses (
    tenant_id     uuid NOT NULL,
    shard_key     smallint NOT NULL,
    embedding_id  uuid NOT NULL,
    space_no      integer NOT NULL,
    agent_id      text NOT NULL,
    uses          bigint NOT NULL,
    -- a day: a row that is used all the time is updated in place
    last_used     date NOT NULL,
    PRIMARY KEY (tenant_id, shard_key, embedding_id)
) WITH (fillfactor = 80);
CREATE INDEX row_uses_last ON row_uses (last_used);
SELECT protect('row_uses');
GRANT SELECT, INSERT ON row_uses TO embermesh_app;
GRANT UPDATE (uses, last_used) ON row_uses TO embermesh_app;
CREATE POLICY expiry ON row_uses TO CURRENT_USER USING (true);
