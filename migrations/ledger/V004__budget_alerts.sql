-- Which shares of a limit were passed in a period. A row is written once, by whichever replica sees it first, and whoever writes it
-- tells of it.
CREATE TABLE budget_alerts (
    tenant_id      uuid NOT NULL,
    scope          text COLLATE "C" NOT NULL CHECK (scope IN ('tenant', 'agent', 'key', 'provider')),
    subject        text COLLATE "C" NOT NULL,
    period         text COLLATE "C" NOT NULL CHECK (period IN ('day', 'month')),
    period_start   date NOT NULL,
    percent        integer NOT NULL CHECK (percent BETWEEN 1 AND 100),
    -- as they were then
    limit_nano_usd bigint NOT NULL CHECK (limit_nano_usd > 0),
    used_nano_usd  bigint NOT NULL CHECK (used_nano_usd >= 0),
    reached_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, scope, subject, period, period_start, percent)
);
CREATE INDEX budget_alerts_by_period ON budget_alerts (tenant_id, period_start);
ALTER TABLE budget_alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_alerts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON budget_alerts USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
GRANT SELECT, INSERT ON budget_alerts TO embermesh_app;

-- Whoever watches the budgets of all tenants, or looks for tenants to verify, says so like the sweeper.
CREATE POLICY of_watcher ON balances FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');
