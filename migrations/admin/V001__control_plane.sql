-- The control plane: who may do what, and what is configured.
--
-- Every table with a tenant_id is under forced row-level security and fails closed: without the setting app.tenant it shows and
-- takes nothing. The one reader of all tenants is the configuration stream; it says so with the setting app.all_tenants = on,
-- which opens SELECT and nothing else.

CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE CHECK (name <> ''),
    created_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
    id         text PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants,
    name       text NOT NULL,
    -- of the whole key; the key itself is nowhere
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32),
    scopes     text[] NOT NULL CHECK (cardinality(scopes) > 0),
    agent_id   text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT bound_keys_hold_no_admin CHECK (agent_id IS NULL OR NOT 'admin' = ANY (scopes))
);
CREATE INDEX api_keys_page ON api_keys (tenant_id, created_at, id);

CREATE TABLE agents (
    tenant_id  uuid NOT NULL REFERENCES tenants,
    agent_id   text COLLATE "C" NOT NULL,
    version    bigint NOT NULL CHECK (version > 0),
    -- json, not jsonb: metadata is given back as it was written
    config     json NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id)
);

-- Every configuration that ever was in force; config is null where the agent was deleted.
CREATE TABLE agent_versions (
    tenant_id  uuid NOT NULL REFERENCES tenants,
    agent_id   text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    config     json,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, version)
);

-- The space of an agent's task type. Written once; an agent that is deleted leaves it, because its vectors stay.
CREATE TABLE pins (
    tenant_id uuid NOT NULL REFERENCES tenants,
    agent_id  text COLLATE "C" NOT NULL,
    task_type text COLLATE "C" NOT NULL,
    space_id  text NOT NULL,
    model     text NOT NULL,
    pinned_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, task_type)
);

CREATE TABLE models (
    id                        text COLLATE "C" PRIMARY KEY,
    family                    text NOT NULL,
    revision                  text NOT NULL,
    native_dimensions         integer NOT NULL CHECK (native_dimensions BETWEEN 1 AND 16000),
    allowed_dimensions        integer[] NOT NULL,
    any_dimensions            boolean NOT NULL,
    max_input_tokens          integer NOT NULL CHECK (max_input_tokens > 0),
    max_batch                 integer NOT NULL CHECK (max_batch > 0),
    tokenizer                 text NOT NULL,
    distinguishes_input_type  boolean NOT NULL,
    provider_kinds            text[] NOT NULL,
    created_at                timestamptz NOT NULL
);

-- A price holds from its date until the next one of the model; none is ever changed.
CREATE TABLE prices (
    model_id                    text COLLATE "C" NOT NULL REFERENCES models,
    effective_from              timestamptz NOT NULL,
    per_million_tokens_nano_usd bigint NOT NULL CHECK (per_million_tokens_nano_usd >= 0),
    source                      text NOT NULL,
    created_at                  timestamptz NOT NULL,
    PRIMARY KEY (model_id, effective_from)
);

-- One row. Whoever changes configuration locks it first and until the commit: so versions become visible in their order, and a
-- reader that has seen version n has seen everything below it.
CREATE TABLE change_counter (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO change_counter (version) VALUES (0);

-- What to read again: the rows themselves are in their tables.
CREATE TABLE changes (
    version   bigint NOT NULL,
    -- numbers of the contract's Section
    section   smallint NOT NULL,
    -- null for the catalog
    tenant_id uuid,
    key       text[] NOT NULL,
    PRIMARY KEY (version, section, key)
);

DO $$
DECLARE
    name text;
    ours CONSTANT text := 'tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid';
    streaming CONSTANT text := 'current_setting(''app.all_tenants'', true) = ''on''';
BEGIN
    FOREACH name IN ARRAY ARRAY ['tenants', 'api_keys', 'agents', 'agent_versions', 'pins', 'changes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY of_tenant ON %I USING (%s)', name, ours);
        EXECUTE format('CREATE POLICY of_stream ON %I FOR SELECT USING (%s)', name, streaming);
    END LOOP;
END $$;
CREATE POLICY of_catalog ON changes FOR INSERT WITH CHECK (tenant_id IS NULL);

-- what is missing here cannot be done: history and prices are append-only, pins are final
GRANT SELECT, INSERT ON tenants, agent_versions, pins, models, prices, changes TO embermesh_app;
GRANT SELECT, INSERT, DELETE ON agents TO embermesh_app;
GRANT UPDATE (version, config, updated_at) ON agents TO embermesh_app;
GRANT SELECT, INSERT ON api_keys TO embermesh_app;
GRANT UPDATE (revoked_at) ON api_keys TO embermesh_app;
GRANT SELECT ON change_counter TO embermesh_app;
GRANT UPDATE (version) ON change_counter TO embermesh_app;
