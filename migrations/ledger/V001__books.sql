-- The books. Amounts are whole nano-USD; nothing here is ever a float.
--
-- Every table is under forced row-level security and fails closed: without the setting app.tenant it shows and takes nothing. The
-- sweeper of overdue attempts looks at all tenants; it says so with app.all_tenants = on, which opens SELECT and nothing else.

-- One row for each call to a provider. It is written before the call's bytes leave, and gets one terminal state.
CREATE TABLE attempts (
    tenant_id                  uuid NOT NULL,
    -- a UUIDv7, and created_at is the time in it: so the key, which must hold the partition's column, is unique by attempt_id
    attempt_id                 uuid NOT NULL,
    created_at                 timestamptz NOT NULL,
    agent_id                   text COLLATE "C" NOT NULL,
    key_id                     text NOT NULL,
    request_id                 text NOT NULL,
    provider                   text NOT NULL,
    deployment                 text NOT NULL,
    model                      text NOT NULL,
    space_id                   text NOT NULL,
    state                      text NOT NULL CHECK (state IN ('reserved', 'settled', 'voided', 'presumed')),
    reserved_nano_usd          bigint NOT NULL CHECK (reserved_nano_usd >= 0),
    amount_nano_usd            bigint CHECK (amount_nano_usd >= 0),
    tokens_bound               bigint NOT NULL CHECK (tokens_bound >= 0),
    tokens                     bigint CHECK (tokens >= 0),
    price_per_million_nano_usd bigint NOT NULL CHECK (price_per_million_nano_usd >= 0),
    -- UTC, by this service's clock when it reserved: the day whose budget pays, whenever the answer comes
    day                        date NOT NULL,
    reserved_at                timestamptz NOT NULL,
    settled_at                 timestamptz,
    PRIMARY KEY (tenant_id, attempt_id, created_at),
    CONSTRAINT terminal_or_reserved CHECK ((state = 'reserved') = (amount_nano_usd IS NULL)),
    CONSTRAINT voided_is_free CHECK (state <> 'voided' OR amount_nano_usd = 0)
) PARTITION BY RANGE (created_at);
CREATE INDEX attempts_open ON attempts (reserved_at) WHERE state = 'reserved';

-- An attempt split over the requests that shared it; a cache hit is a charge of nothing without an attempt.
CREATE TABLE charges (
    tenant_id       uuid NOT NULL,
    charge_id       uuid NOT NULL,
    -- when the attempt was reserved, or the hit booked
    created_at      timestamptz NOT NULL,
    day             date NOT NULL,
    attempt_id      uuid,
    request_id      text NOT NULL,
    agent_id        text COLLATE "C" NOT NULL,
    key_id          text NOT NULL,
    provider        text NOT NULL,
    model           text NOT NULL,
    tokens          bigint NOT NULL CHECK (tokens >= 0),
    inputs          integer NOT NULL CHECK (inputs >= 0),
    amount_nano_usd bigint NOT NULL CHECK (amount_nano_usd >= 0),
    -- what a hit would have cost
    saved_nano_usd  bigint NOT NULL DEFAULT 0 CHECK (saved_nano_usd >= 0),
    presumed        boolean NOT NULL DEFAULT false,
    cached          boolean NOT NULL GENERATED ALWAYS AS (attempt_id IS NULL) STORED,
    PRIMARY KEY (tenant_id, charge_id, created_at),
    CONSTRAINT hits_are_free CHECK (attempt_id IS NOT NULL OR amount_nano_usd = 0)
) PARTITION BY RANGE (created_at);
CREATE INDEX charges_by_agent ON charges (tenant_id, agent_id, created_at);
CREATE INDEX charges_by_time ON charges (tenant_id, created_at);

-- What an agent has spent and set aside in a day or a month. The row is the lock that budgets are decided under.
CREATE TABLE balances (
    tenant_id    uuid NOT NULL,
    agent_id     text COLLATE "C" NOT NULL,
    period       text COLLATE "C" NOT NULL CHECK (period IN ('day', 'month')),
    period_start date NOT NULL,
    spent        bigint NOT NULL CHECK (spent >= 0),
    reserved     bigint NOT NULL CHECK (reserved >= 0),
    PRIMARY KEY (tenant_id, agent_id, period, period_start)
    -- room for the next version on the same page: the indexes then need no update
) WITH (fillfactor = 50);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY ['attempts', 'charges', 'balances'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)',
            name);
    END LOOP;
END $$;
CREATE POLICY of_sweeper ON attempts FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');

-- Makes the months around `today` where they are missing: the one before, its own, and `ahead` more. Runs as the owner, so that
-- the application needs no right to define tables. Attaching does not lock out readers and writers, creating in place would.
CREATE FUNCTION make_partitions(today date, ahead integer) RETURNS integer
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
        FOREACH parent IN ARRAY ARRAY ['attempts', 'charges'] LOOP
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
REVOKE EXECUTE ON FUNCTION make_partitions FROM PUBLIC;
SELECT make_partitions((now() AT TIME ZONE 'UTC')::date, 3);

-- For people at psql and the runbook's queries.
CREATE VIEW embedding_metrics WITH (security_invoker = true) AS
SELECT tenant_id, agent_id, key_id, request_id, attempt_id, provider, model, tokens, inputs, cached, presumed,
       -- a product is exact, a quotient would be rounded
       amount_nano_usd * 0.000000001::numeric AS cost_usd,
       saved_nano_usd * 0.000000001::numeric AS saved_usd,
       created_at
FROM charges;

-- on the parents alone: a partition reached directly would have no policy
GRANT SELECT, INSERT ON attempts, charges, balances TO embermesh_app;
GRANT UPDATE (state, amount_nano_usd, tokens, settled_at) ON attempts TO embermesh_app;
GRANT UPDATE (spent, reserved) ON balances TO embermesh_app;
GRANT SELECT ON embedding_metrics TO embermesh_app;
GRANT EXECUTE ON FUNCTION make_partitions TO embermesh_app;
