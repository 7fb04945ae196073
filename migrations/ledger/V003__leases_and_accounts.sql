-- Every attempt counts in four accounts: the tenant's, its agent's, its key's and its provider entry's, each by day and by month.
-- Beside single reservations there are leases: slices of these accounts that a router spends by itself and reports afterwards.

-- What an account has in a day or a month. The row is the lock that budgets are decided under:
-- spent + reserved + leased + presumed never passes its limit.
ALTER TABLE balances RENAME TO balances_of_agents;
ALTER TABLE balances_of_agents RENAME CONSTRAINT balances_pkey TO balances_of_agents_pkey;
CREATE TABLE balances (
    tenant_id    uuid NOT NULL,
    scope        text COLLATE "C" NOT NULL CHECK (scope IN ('tenant', 'agent', 'key', 'provider')),
    -- empty for the tenant
    subject      text COLLATE "C" NOT NULL,
    period       text COLLATE "C" NOT NULL CHECK (period IN ('day', 'month')),
    period_start date NOT NULL,
    spent        bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    -- the bounds of open attempts that were reserved one by one
    reserved     bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    -- what remains of open leases, and of those whose router is silent
    leased       bigint NOT NULL DEFAULT 0 CHECK (leased >= 0),
    presumed     bigint NOT NULL DEFAULT 0 CHECK (presumed >= 0),
    PRIMARY KEY (tenant_id, scope, subject, period, period_start)
    -- room for the next version on the same page: the indexes then need no update
) WITH (fillfactor = 50);

-- The migrating user owns the tables, but may be no superuser: then forced policies would hide every row from it.
ALTER TABLE balances_of_agents NO FORCE ROW LEVEL SECURITY;
ALTER TABLE attempts NO FORCE ROW LEVEL SECURITY;
ALTER TABLE attempt_parts NO FORCE ROW LEVEL SECURITY;
ALTER TABLE charges NO FORCE ROW LEVEL SECURITY;
INSERT INTO balances (tenant_id, scope, subject, period, period_start, spent, reserved)
SELECT tenant_id, 'agent', agent_id, period, period_start, spent, reserved FROM balances_of_agents;
INSERT INTO balances (tenant_id, scope, subject, period, period_start, spent, reserved)
SELECT move.tenant_id, account.scope, account.subject, span.period, span.start, sum(move.spent), sum(move.reserved)
FROM (
    SELECT tenant_id, key_id, provider, day, amount_nano_usd AS spent, 0 AS reserved
    FROM charges WHERE amount_nano_usd > 0
    UNION ALL
    SELECT tenant_id, key_id, provider, day, 0, reserved_nano_usd
    FROM attempts WHERE state = 'reserved' AND agent_id IS NOT NULL AND reserved_nano_usd > 0
    UNION ALL
    SELECT a.tenant_id, p.key_id, a.provider, a.day, 0, p.reserved_nano_usd
    FROM attempts a JOIN attempt_parts p USING (tenant_id, attempt_id, created_at)
    WHERE a.state = 'reserved' AND p.reserved_nano_usd > 0
) AS move,
    LATERAL (VALUES ('tenant', ''), ('key', move.key_id), ('provider', move.provider)) AS account (scope, subject),
    LATERAL (VALUES ('day', move.day), ('month', date_trunc('month', move.day::timestamp)::date)) AS span (period, start)
GROUP BY 1, 2, 3, 4, 5;
ALTER TABLE attempts FORCE ROW LEVEL SECURITY;
ALTER TABLE attempt_parts FORCE ROW LEVEL SECURITY;
ALTER TABLE charges FORCE ROW LEVEL SECURITY;
DROP TABLE balances_of_agents;

-- A slice that a router spends on requests of one key and agent at one provider entry, on one day.
CREATE TABLE leases (
    tenant_id  uuid NOT NULL,
    lease_id   uuid NOT NULL,
    session_id uuid NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    key_id     text NOT NULL,
    provider   text NOT NULL,
    -- UTC, by this service's clock when it granted: the day whose budgets pay
    day        date NOT NULL,
    granted    bigint NOT NULL CHECK (granted > 0),
    -- what its attempts were charged
    spent      bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    -- the bounds of its attempts that have no end yet
    under_way  bigint NOT NULL DEFAULT 0 CHECK (under_way >= 0),
    -- what is free again
    returned   bigint NOT NULL DEFAULT 0 CHECK (returned >= 0),
    -- presumed: its router is silent, so what remains may be spent or not
    state      text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'presumed', 'closed')),
    -- what its open attempts leave is free as they end, and then it is closed
    closing    boolean NOT NULL DEFAULT false,
    called_back boolean NOT NULL DEFAULT false,
    granted_at timestamptz NOT NULL,
    -- what it holds of each of its accounts
    remaining  bigint NOT NULL GENERATED ALWAYS AS
        (CASE WHEN state = 'closed' THEN 0 ELSE greatest(granted - spent - returned, 0) END) STORED,
    PRIMARY KEY (tenant_id, lease_id)
) WITH (fillfactor = 50);
CREATE INDEX leases_held ON leases (tenant_id) WHERE state <> 'closed';
CREATE INDEX leases_of_session ON leases (session_id) WHERE state <> 'closed';

-- A router's process, and when it was last heard of. Names no tenant: a router serves them all.
CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    last_seen  timestamptz NOT NULL,
    -- lost: silent for too long; closed: it said that it was done
    state      text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'lost', 'closed'))
) WITH (fillfactor = 50);
CREATE INDEX sessions_by_state ON sessions (state, last_seen);

ALTER TABLE attempts
    -- the router's process, where it keeps a journal
    ADD COLUMN session_id uuid,
    -- what it was reserved from; absent for one that was reserved by itself, or is free, or shared
    ADD COLUMN lease_id uuid;
ALTER TABLE attempt_parts ADD COLUMN lease_id uuid;
CREATE INDEX attempts_open_of_session ON attempts (session_id) WHERE state = 'reserved' AND session_id IS NOT NULL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY ['balances', 'leases'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)',
            name);
    END LOOP;
END $$;
CREATE POLICY of_sweeper ON leases FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');

GRANT SELECT, INSERT ON balances, leases, sessions TO embermesh_app;
GRANT UPDATE (spent, reserved, leased, presumed) ON balances TO embermesh_app;
GRANT UPDATE (spent, under_way, returned, state, closing, called_back) ON leases TO embermesh_app;
GRANT UPDATE (last_seen, state) ON sessions TO embermesh_app;
GRANT DELETE ON sessions TO embermesh_app;
