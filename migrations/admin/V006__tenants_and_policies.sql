-- One tenant is the operator's, tenants have a state and models of their own, and policies about personal data; models can be retired.
--
-- Replicas of the release before may still run: every new column has a default. They know of no tenant that is suspended, but the
-- keys of one that is closed are revoked, which they obey.

ALTER TABLE tenants
    -- the tenant of the first start
    ADD COLUMN operator       boolean NOT NULL DEFAULT false,
    ADD COLUMN suspended      boolean NOT NULL DEFAULT false,
    ADD COLUMN closed_at      timestamptz,
    -- empty: every model
    ADD COLUMN allowed_models text[] NOT NULL DEFAULT '{}',
    -- empty: the installation's
    ADD COLUMN default_models text[] NOT NULL DEFAULT '{}',
    ADD COLUMN version        bigint NOT NULL DEFAULT 1 CHECK (version > 0),
    ADD COLUMN updated_at     timestamptz,
    -- nobody could take it back
    ADD CONSTRAINT the_operator_stays CHECK (NOT operator OR (NOT suspended AND closed_at IS NULL));
CREATE UNIQUE INDEX one_operator ON tenants (operator) WHERE operator;

-- the owner is under the policies of the table too
ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY;
UPDATE tenants SET operator = true
WHERE tenant_id = (SELECT tenant_id FROM tenants ORDER BY created_at, tenant_id LIMIT 1);
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;

-- What happens to personal data in a tenant's texts, under what its agents say themselves.
CREATE TABLE pii_policies (
    tenant_id  uuid PRIMARY KEY REFERENCES tenants,
    version    bigint NOT NULL CHECK (version > 0),
    policy     json NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
ALTER TABLE pii_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE pii_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON pii_policies USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
CREATE POLICY of_stream ON pii_policies FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');

-- A retired model is streamed to nobody; its row and its prices stay for what was booked, and its id for the space.
ALTER TABLE models ADD COLUMN retired_at timestamptz;

-- who the operator is is missing here: it cannot be changed
GRANT UPDATE (name, suspended, closed_at, allowed_models, default_models, version, updated_at) ON tenants TO embermesh_app;
GRANT SELECT, INSERT, DELETE ON pii_policies TO embermesh_app;
GRANT UPDATE (version, policy, updated_at) ON pii_policies TO embermesh_app;
GRANT UPDATE (retired_at) ON models TO embermesh_app;
