-- Vectors: one table per embedding space, partitioned by month, and the keys that make every row exist once.
-- The application role owns nothing and creates nothing: spaces and partitions are made by the owner's connections.

CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

-- Rows of a tenant are visible to that tenant alone, and to nobody when no tenant is set. The sub-select is evaluated once
-- per statement instead of once per row.
CREATE FUNCTION protect(relation regclass) RETURNS void LANGUAGE plpgsql SET search_path = store, public AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format('CREATE POLICY tenant ON %s USING '
        '(tenant_id = (SELECT nullif(current_setting(''app.tenant'', true), '''')::uuid))', relation);
END $$;

CREATE TABLE spaces (
    space_no    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id    text NOT NULL UNIQUE,
    dimensions  integer NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
    element     text NOT NULL CHECK (element IN ('half', 'float')),
    table_name  text NOT NULL GENERATED ALWAYS AS ('space_' || space_no::text) STORED,
    created_at  timestamptz NOT NULL
);
GRANT SELECT ON spaces TO embermesh_app;

-- A unique key of a table partitioned by time would have to contain the time, so deduplication has a table of its own.
-- Written in the transaction of the row it stands for; also finds a row by its id alone.
CREATE TABLE embedding_keys (
    tenant_id     uuid NOT NULL,
    shard_key     smallint NOT NULL,
    embedding_id  uuid NOT NULL,
    space_no      integer NOT NULL,
    created_at    timestamptz NOT NULL,
    dedup_hash    bytea NOT NULL CHECK (octet_length(dedup_hash) = 32),
    PRIMARY KEY (tenant_id, shard_key, embedding_id),
    UNIQUE (tenant_id, shard_key, space_no, dedup_hash)
) PARTITION BY HASH (tenant_id);
DO $$
BEGIN
    FOR leaf IN 0..15 LOOP
        EXECUTE format('CREATE TABLE embedding_keys_%s PARTITION OF embedding_keys '
            'FOR VALUES WITH (MODULUS 16, REMAINDER %s)', leaf, leaf);
    END LOOP;
END $$;
SELECT protect('embedding_keys');
GRANT SELECT, INSERT, DELETE ON embedding_keys TO embermesh_app;

-- Idempotency: which row a caller's request made. An entry whose row is gone, or that is too old, counts as absent.
CREATE TABLE requests (
    tenant_id     uuid NOT NULL,
    shard_key     smallint NOT NULL,
    request_id    text COLLATE "C" NOT NULL,
    agent_id      text NOT NULL,
    request_hash  bytea NOT NULL,
    embedding_id  uuid NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, shard_key, request_id)
);
CREATE INDEX requests_embedding ON requests (tenant_id, shard_key, embedding_id);
CREATE INDEX requests_created ON requests (created_at);
SELECT protect('requests');
GRANT SELECT, INSERT, UPDATE, DELETE ON requests TO embermesh_app;
-- expiry works through all tenants; the application role is no member of the owner
CREATE POLICY expiry ON requests TO CURRENT_USER USING (true);

-- Partitions of a space for the month of `moment`, the one before and the two after. ATTACH, unlike CREATE … PARTITION OF,
-- lets readers and writers of the space go on. Idempotent; returns the time that is covered.
CREATE FUNCTION add_partitions(
    space integer, moment timestamptz, OUT covered_from timestamptz, OUT covered_until timestamptz
) LANGUAGE plpgsql SET search_path = store, public SET timezone = 'UTC' AS $$
DECLARE
    parent text := 'space_' || space;
    month  timestamptz := date_trunc('month', moment) - interval '1 month';
    leaf   text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embermesh store partitions'), space);
    covered_from := month;
    FOR step IN 0..3 LOOP
        leaf := parent || to_char(month, '"_"YYYY"_"MM');
        IF to_regclass(leaf) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING CONSTRAINTS INCLUDING STORAGE)', leaf, parent);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                parent, leaf, month, month + interval '1 month');
        END IF;
        month := month + interval '1 month';
    END LOOP;
    covered_until := month;
END $$;

-- All spaces as one relation, for people at psql. Each arm is cast, because UNION ALL drops the length of a vector type
-- and turns `vector` beside `halfvec` into `halfvec`; the constant space_id lets the planner skip arms.
CREATE FUNCTION define_embeddings_view() RETURNS void LANGUAGE plpgsql SET search_path = store, public AS $$
DECLARE
    arms text;
BEGIN
    SELECT string_agg(format(
        'SELECT tenant_id, embedding_id, agent_id, context_id, content, metadata, model, provider, '
        '%L::text AS space_id, input_type, task_type, pii_policy_version, '
        'cost_nano_usd * 0.000000001 AS cost_usd, tokens AS tokens_used, created_at, '
        'embedding::vector AS embedding FROM %I', space_id, table_name), ' UNION ALL ' ORDER BY space_no)
    INTO arms FROM spaces;
    EXECUTE 'CREATE OR REPLACE VIEW embeddings WITH (security_invoker = true) AS ' || coalesce(arms,
        'SELECT NULL::uuid AS tenant_id, NULL::uuid AS embedding_id, NULL::text AS agent_id, NULL::text AS context_id, '
        'NULL::text AS content, NULL::json AS metadata, NULL::text AS model, NULL::text AS provider, '
        'NULL::text AS space_id, NULL::text AS input_type, NULL::text AS task_type, '
        'NULL::text AS pii_policy_version, NULL::numeric AS cost_usd, NULL::bigint AS tokens_used, '
        'NULL::timestamptz AS created_at, NULL::vector AS embedding WHERE false');
END $$;
SELECT define_embeddings_view();
GRANT SELECT ON embeddings TO embermesh_app;

-- The table of a space, made on its first use. Any number of replicas may call it at once; the first decides the element.
CREATE FUNCTION create_space(wanted text, length integer, kind text, moment timestamptz) RETURNS spaces
LANGUAGE plpgsql SET search_path = store, public AS $$
DECLARE
    space spaces;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embermesh store spaces'));
    SELECT * INTO space FROM spaces WHERE space_id = wanted;
    IF FOUND THEN
        RETURN space;
    END IF;
    INSERT INTO spaces (space_id, dimensions, element, created_at) VALUES (wanted, length, kind, moment)
        RETURNING * INTO space;
    -- nothing in it is mutable: an update would enter the row into its vector index once more
    EXECUTE format($table$
        CREATE TABLE %I (
            tenant_id           uuid NOT NULL,
            shard_key           smallint NOT NULL,
            created_at          timestamptz NOT NULL,
            embedding_id        uuid NOT NULL,
            agent_id            text NOT NULL,
            context_id          text,
            -- json keeps the text as it was given; jsonb would reorder keys and rewrite numbers
            metadata            json NOT NULL,
            model               text NOT NULL,
            provider            text NOT NULL,
            input_type          text NOT NULL,
            task_type           text NOT NULL,
            pii_policy_version  text NOT NULL,
            tokens              bigint NOT NULL,
            cost_nano_usd       bigint NOT NULL,
            content             text NOT NULL,
            embedding           %s(%s) NOT NULL,
            PRIMARY KEY (tenant_id, shard_key, created_at, embedding_id)
        ) PARTITION BY RANGE (created_at)$table$,
        space.table_name, CASE kind WHEN 'half' THEN 'halfvec' ELSE 'vector' END, length);
    -- an exact search reads every vector of its candidates: they stay beside the row as long as they fit
    EXECUTE format('ALTER TABLE %I ALTER COLUMN embedding SET STORAGE MAIN', space.table_name);
    EXECUTE format('CREATE INDEX %I ON %I (tenant_id, agent_id, created_at)',
        space.table_name || '_agent', space.table_name);
    PERFORM protect(space.table_name::regclass);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON %I TO embermesh_app', space.table_name);
    PERFORM add_partitions(space.space_no, moment);
    PERFORM define_embeddings_view();
    RETURN space;
END $$;

REVOKE ALL ON FUNCTION protect, add_partitions, define_embeddings_view, create_space FROM PUBLIC;
