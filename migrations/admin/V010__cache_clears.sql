-- The last order of each kind to serve nothing that was kept before. Of all tenants: under the id of no tenant.
CREATE TABLE cache_clears (
    tenant_id   uuid NOT NULL,
    -- empty: of every agent
    agent_id    text COLLATE "C" NOT NULL,
    -- empty: of every space
    space_id    text COLLATE "C" NOT NULL,
    -- version of the change
    number      bigint NOT NULL,
    -- id of the key
    ordered_by  text NOT NULL,
    ordered_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, space_id)
);
ALTER TABLE cache_clears ENABLE ROW LEVEL SECURITY;
ALTER TABLE cache_clears FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON cache_clears USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
CREATE POLICY of_stream ON cache_clears FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');
GRANT SELECT, INSERT, DELETE ON cache_clears TO embermesh_app;
GRANT UPDATE (number, ordered_by, ordered_at) ON cache_clears TO embermesh_app;
