-- What a tenant, and an agent, a key or a provider of it, may spend in a period, beside the limits in the agents' configurations.
--
-- Replicas of the release before may still run: they neither read nor write this table, and skip its changes.

CREATE TABLE budgets (
    tenant_id      uuid NOT NULL REFERENCES tenants,
    id             uuid NOT NULL,
    scope          text COLLATE "C" NOT NULL CHECK (scope IN ('tenant', 'agent', 'key', 'provider')),
    -- the agent, the id of the key or the name of the provider entry. No foreign key: agents and providers need no row here
    subject        text COLLATE "C" NOT NULL,
    period         text COLLATE "C" NOT NULL CHECK (period IN ('day', 'month', 'request')),
    limit_nano_usd bigint NOT NULL CHECK (limit_nano_usd >= 0),
    alert_percents integer[] NOT NULL CHECK (cardinality(alert_percents) BETWEEN 1 AND 10),
    version        bigint NOT NULL CHECK (version > 0),
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT one_budget_of_each_period UNIQUE (tenant_id, scope, subject, period),
    CONSTRAINT only_the_tenant_has_no_subject CHECK ((scope = 'tenant') = (subject = ''))
);

ALTER TABLE budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE budgets FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON budgets USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
CREATE POLICY of_stream ON budgets FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');

-- whose budget it is, and over which period, is missing here: another one is another budget
GRANT SELECT, INSERT, DELETE ON budgets TO embermesh_app;
GRANT UPDATE (limit_nano_usd, alert_percents, version, updated_at) ON budgets TO embermesh_app;
