-- One row for each call of the API, from the gateways, and audit_logs over these and the changes.
--
-- Replicas of the release before may still run: they do not know the tables, and read and write nothing of what is changed here.

CREATE TABLE api_requests (
    tenant_id  uuid NOT NULL,
    api_key_id text COLLATE "C" NOT NULL,
    -- the agent that the key is bound to, else the key
    user_id    text COLLATE "C" NOT NULL,
    method     text COLLATE "C" NOT NULL,
    -- template of the route, or name of the gRPC method
    endpoint   text COLLATE "C" NOT NULL,
    -- 499: the client went away before the answer
    status     smallint NOT NULL,
    cost_usd   numeric NOT NULL,
    created_at timestamptz NOT NULL,
    -- of all calls at the time; below 1, a row stands for 1 / share of them
    share      real NOT NULL CHECK (share > 0 AND share <= 1)
) PARTITION BY RANGE (created_at);
-- written in about the order of time, so a few pages are enough
CREATE INDEX api_requests_by_time ON api_requests USING brin (created_at);

-- How far the journals of gateways are kept. A journal's batches come in order, so one that is sent again is known by its number.
CREATE TABLE api_request_journals (
    tenant_id  uuid NOT NULL,
    session_id uuid NOT NULL,
    last_batch bigint NOT NULL CHECK (last_batch > 0),
    kept_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY ['api_requests', 'api_request_journals'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)',
            name);
    END LOOP;
END $$;
-- for the function that forgets old ones
CREATE POLICY of_owner ON api_request_journals TO CURRENT_USER USING (true);

-- Makes the months from `first` to `last` where they are missing, at most 60. Runs as the owner, so that the application needs no
-- right to define tables. Attaching does not lock out readers and writers, creating in place would.
CREATE FUNCTION make_request_partitions(first timestamptz, last timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = admin, pg_temp AS $$
DECLARE
    month date := date_trunc('month', first AT TIME ZONE 'UTC')::date;
    part  text;
    made  integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('admin.request_partitions'));
    FOR step IN 1..60 LOOP
        EXIT WHEN month > (last AT TIME ZONE 'UTC')::date;
        part := 'api_requests' || to_char(month, '_YYYY_MM');
        IF to_regclass('admin.' || part) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE api_requests INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
            EXECUTE format('ALTER TABLE api_requests ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part,
                month || ' 00:00+00', (month + interval '1 month')::date || ' 00:00+00');
            made := made + 1;
        END IF;
        month := (month + interval '1 month')::date;
    END LOOP;
    RETURN made;
END $$;

-- Drops the months that end before `before`, and forgets journals of which nothing was kept since. Gives up after two seconds where
-- somebody reads for longer: whoever calls calls again.
CREATE FUNCTION drop_request_partitions(before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = admin, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    part    regclass;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('admin.request_partitions'));
    FOR part IN
        SELECT inhrelid::regclass FROM pg_inherits
        WHERE inhparent = 'api_requests'::regclass
          AND to_date(right(inhrelid::regclass::text, 7), 'YYYY_MM') + interval '1 month' <= before AT TIME ZONE 'UTC'
    LOOP
        EXECUTE format('DROP TABLE %s', part);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM api_request_journals WHERE kept_at < before;
    RETURN dropped;
END $$;
REVOKE EXECUTE ON FUNCTION make_request_partitions, drop_request_partitions FROM PUBLIC;
SELECT make_request_partitions(now() - interval '1 month', now() + interval '3 months');

-- For people at psql and the runbook's queries: who called what, and who changed what.
CREATE OR REPLACE VIEW audit_logs WITH (security_invoker = true) AS
SELECT tenant_id, changed_by AS user_id, action AS endpoint, subject, details, NULL::integer AS status,
       0::numeric AS cost_usd, changed_at AS created_at, number AS audit_number,
       changed_by AS api_key_id, NULL::text COLLATE "C" AS method
FROM audit_records
UNION ALL
SELECT tenant_id, user_id, endpoint, NULL::text COLLATE "C", NULL::json, status::integer,
       cost_usd, created_at, NULL::bigint,
       api_key_id, method
FROM api_requests;

-- on the parent alone: a partition reached directly would have no policy; rows are never changed
GRANT SELECT, INSERT ON api_requests, api_request_journals TO embermesh_app;
GRANT UPDATE (last_batch, kept_at) ON api_request_journals TO embermesh_app;
GRANT EXECUTE ON FUNCTION make_request_partitions, drop_request_partitions TO embermesh_app;

-- Rotation that is handed over: a key that is old enough gets a successor when its holder asks for one, and ends once that is used.
-- A replica of the release before leaves keys that are due as they are.
ALTER TABLE api_keys
    -- since when its holder is told to take a successor
    ADD COLUMN rotation_due_at timestamptz,
    -- the successor that was given out and, as far as is known, not used; it becomes successor_id with its first use
    ADD COLUMN handover_id text UNIQUE REFERENCES api_keys,
    ADD COLUMN handed_over_at timestamptz,
    ADD CONSTRAINT handed_over_at_a_time CHECK ((handover_id IS NULL) = (handed_over_at IS NULL)),
    ADD CONSTRAINT handed_over_into_another CHECK (handover_id <> id);
CREATE INDEX api_keys_by_age ON api_keys (created_at) WHERE successor_id IS NULL AND revoked_at IS NULL;

GRANT UPDATE (rotation_due_at, handover_id, handed_over_at) ON api_keys TO embermesh_app;
