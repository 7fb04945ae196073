-- One call to a provider may be shared by several requests, of several agents of a tenant. Such an attempt names no agent, key and
-- request itself: they are its parts. An attempt of one request, which most are, stays one row.

ALTER TABLE attempts
    ALTER COLUMN agent_id DROP NOT NULL,
    ALTER COLUMN key_id DROP NOT NULL,
    ALTER COLUMN request_id DROP NOT NULL,
    ADD COLUMN inputs integer NOT NULL DEFAULT 0 CHECK (inputs >= 0),
    -- what the provider billed, where its price is not by token
    ADD COLUMN billed_units bigint CHECK (billed_units > 0),
    ADD CONSTRAINT of_one_request_or_shared CHECK (num_nulls(agent_id, key_id, request_id) IN (0, 3));

-- Never changed: an attempt's one row says how all of its parts ended.
CREATE TABLE attempt_parts (
    tenant_id         uuid NOT NULL,
    attempt_id        uuid NOT NULL,
    created_at        timestamptz NOT NULL,
    -- as it was asked for, from 0
    part              integer NOT NULL CHECK (part >= 0),
    request_id        text NOT NULL,
    agent_id          text COLLATE "C" NOT NULL,
    key_id            text NOT NULL,
    asked_nano_usd    bigint NOT NULL CHECK (asked_nano_usd >= 0),
    -- of the attempt's sum; nothing for a part that was refused
    reserved_nano_usd bigint NOT NULL GENERATED ALWAYS AS (CASE WHEN refusal IS NULL THEN asked_nano_usd ELSE 0 END) STORED,
    tokens_bound      bigint NOT NULL CHECK (tokens_bound >= 0),
    inputs            integer NOT NULL CHECK (inputs >= 0),
    -- why it was left out, for who asks again; absent for a part that was reserved
    refusal           jsonb,
    PRIMARY KEY (tenant_id, attempt_id, created_at, part)
) PARTITION BY RANGE (created_at);
ALTER TABLE attempt_parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE attempt_parts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON attempt_parts USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
CREATE POLICY of_sweeper ON attempt_parts FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');

-- As before, for the new table too.
CREATE OR REPLACE FUNCTION make_partitions(today date, ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE
    parent text;
    month  date;
    part   text;
    made   integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger.make_partitions'));
    FOR step IN -1..least(ahead, 24) LOOP
        month := (date_trunc('month', today::timestamp) + make_interval(months => step))::date;
        FOREACH parent IN ARRAY ARRAY ['attempts', 'attempt_parts', 'charges'] LOOP
            part := parent || to_char(month, '_YYYY_MM');
            IF to_regclass('ledger.' || part) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)', part, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, part,
                    month || ' 00:00+00', (month + interval '1 month')::date || ' 00:00+00');
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
-- the months that the other tables have, whatever the day is on which this runs
DO $$
DECLARE
    month date;
BEGIN
    FOR month IN
        SELECT to_date(right(inhrelid::regclass::text, 7), 'YYYY_MM') FROM pg_inherits
        WHERE inhparent = 'attempts'::regclass ORDER BY 1 OFFSET 1
    LOOP
        -- it, and the one before
        PERFORM make_partitions(month, 0);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON attempt_parts TO embermesh_app;
GRANT UPDATE (billed_units) ON attempts TO embermesh_app;
