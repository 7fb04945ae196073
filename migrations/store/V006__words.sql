-- Words of texts, for hybrid search: kept beside new rows, read from the text where they are not. Nothing is rewritten: the columns of rows
-- that were there stay empty until they leave with their month.

-- The words that are kept of a text, as SQL. Of a text as long as no model takes the beginning counts: the words of more would not fit.
CREATE FUNCTION words_of_text(language text) RETURNS text IMMUTABLE LANGUAGE sql
    RETURN format('to_tsvector(%L::regconfig, left(content, 65536))', language);

-- The words of a row, as SQL. Indexes and queries must be written alike. What was kept in another language is not asked.
CREATE FUNCTION words_of_row(language text) RETURNS text IMMUTABLE LANGUAGE sql SET search_path = store
    RETURN format('CASE WHEN text_language = %L THEN lexemes ELSE %s END', language, words_of_text(language));

CREATE FUNCTION add_words(relation regclass) RETURNS void LANGUAGE plpgsql SET search_path = store, public AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ADD COLUMN text_language text, ADD COLUMN lexemes tsvector', relation);
    -- the owner works through all tenants; the application role is no member of the owner
    EXECUTE format('CREATE POLICY maintenance ON %s TO CURRENT_USER USING (true)', relation);
END $$;
SELECT add_words(table_name::regclass) FROM spaces;

-- The tenant's rows that hold any of the words. Runs as the owner, because row-level security keeps `@@`, which is not leakproof, from an
-- index; so the tenant is what row-level security takes it for, and no caller can name another.
CREATE FUNCTION rows_with_words(
    space integer, language text, any_word tsquery, shard smallint,
    of_agent text, in_context text, not_before timestamptz, older_than timestamptz
) RETURNS TABLE (created_at timestamptz, embedding_id uuid, lexemes tsvector)
LANGUAGE plpgsql STABLE SECURITY DEFINER
-- a notice could tell of other tenants' rows
SET search_path = store, public, pg_temp SET client_min_messages = error AS $$
BEGIN
    -- planned for each call: what is null restricts nothing
    RETURN QUERY EXECUTE format(
        'SELECT created_at, embedding_id, %2$s FROM store.%1$I WHERE tenant_id = $1 AND shard_key = $2 '
        'AND ($3 IS NULL OR agent_id = $3) AND ($4 IS NULL OR context_id = $4) '
        'AND ($5 IS NULL OR created_at >= $5) AND ($6 IS NULL OR created_at < $6) AND %2$s @@ $7',
        'space_' || space, words_of_row(language))
        USING nullif(current_setting('app.tenant', true), '')::uuid, shard,
            of_agent, in_context, not_before, older_than, any_word;
END $$;
GRANT EXECUTE ON FUNCTION rows_with_words TO embermesh_app;

CREATE OR REPLACE FUNCTION create_space(wanted text, length integer, kind text, moment timestamptz) RETURNS spaces
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
    PERFORM add_words(space.table_name::regclass);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON %I TO embermesh_app', space.table_name);
    PERFORM add_partitions(space.space_no, moment);
    PERFORM define_embeddings_view();
    RETURN space;
END $$;

REVOKE ALL ON FUNCTION add_words, rows_with_words FROM PUBLIC;
