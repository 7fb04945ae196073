-- Very large tenants have partitions of their own: their index is theirs alone, and nobody's search walks past their rows. From the months
-- on that were empty when they were promoted; no row is moved.

CREATE TABLE promoted_tenants (
    tenant_no    integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    tenant_id    uuid NOT NULL,
    shard_key    smallint NOT NULL,
    space_no     integer NOT NULL REFERENCES spaces,
    promoted_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, shard_key, space_no)
);
SELECT protect('promoted_tenants');
GRANT SELECT ON promoted_tenants TO embermesh_app;
-- partitions are made for all tenants; the application role is no member of the owner
CREATE POLICY maintenance ON promoted_tenants TO CURRENT_USER USING (true);

-- What holds the rows of spaces: whole months, or in months that are divided the part of one tenant (`space_1_t2_2026_01`) and that of all
-- others (`space_1_rest_2026_01`). A name ends with its month. Reads as the owner: to plan one tenant's search, the parts of others are named.
CREATE VIEW leaves AS
    SELECT s.space_no, c.oid AS leaf, c.relname AS name,
        to_timestamp(right(c.relname, 7), 'YYYY_MM')::timestamp AS month, p.tenant_id
    FROM spaces s
        CROSS JOIN LATERAL pg_partition_tree(to_regclass('store.' || s.table_name)) AS tree
        JOIN pg_class c ON c.oid = tree.relid
        LEFT JOIN promoted_tenants p ON p.space_no = s.space_no
            AND p.tenant_no::text = substring(c.relname FROM '_t(\d+)_\d{4}_\d{2}$')
    WHERE tree.isleaf AND tree.level > 0;
GRANT SELECT ON leaves TO embermesh_app;

-- As before, and months are divided where tenants are promoted.
CREATE OR REPLACE FUNCTION add_partitions(
    space integer, moment timestamptz, OUT covered_from timestamptz, OUT covered_until timestamptz
) LANGUAGE plpgsql SET search_path = store, public SET timezone = 'UTC' AS $$
DECLARE
    parent text := 'space_' || space;
    month  timestamptz := date_trunc('month', moment) - interval '1 month';
    ending text;
    whole  text;
    own    promoted_tenants;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embermesh store partitions'), space);
    covered_from := month;
    FOR step IN 0..3 LOOP
        ending := to_char(month, '"_"YYYY"_"MM');
        whole := parent || ending;
        IF to_regclass(whole) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING CONSTRAINTS INCLUDING STORAGE) %s', whole, parent,
                CASE WHEN EXISTS (SELECT FROM promoted_tenants WHERE space_no = space) THEN 'PARTITION BY LIST (tenant_id)' END);
            FOR own IN SELECT * FROM promoted_tenants WHERE space_no = space ORDER BY tenant_no LOOP
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%L)',
                    parent || '_t' || own.tenant_no || ending, whole, own.tenant_id);
            END LOOP;
            IF FOUND THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_rest' || ending, whole);
            END IF;
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                parent, whole, month, month + interval '1 month');
        END IF;
        month := month + interval '1 month';
    END LOOP;
    covered_until := month;
END $$;

-- Promotes a tenant, in the months that begin a day after `moment` or later and hold nothing yet: they are made anew, in one
-- transaction, for which the caller sets `lock_timeout`, as whoever reads or writes the space is waited for and waits. Returns how many.
CREATE FUNCTION promote_tenant(tenant uuid, shard smallint, space integer, moment timestamptz) RETURNS integer
LANGUAGE plpgsql SET search_path = store, public SET timezone = 'UTC' AS $$
DECLARE
    parent  text := 'space_' || space;
    month   record;
    held    boolean;
    divided integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('embermesh store partitions'), space);
    INSERT INTO promoted_tenants (tenant_id, shard_key, space_no, promoted_at)
        VALUES (tenant, shard, space, moment) ON CONFLICT DO NOTHING;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
    FOR month IN SELECT c.relname AS name, to_timestamp(right(c.relname, 7), 'YYYY_MM') AS begins
        FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
        WHERE h.inhparent = parent::regclass AND to_timestamp(right(c.relname, 7), 'YYYY_MM') >= moment + interval '1 day'
        ORDER BY 1
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', month.name) INTO held;
        IF NOT held THEN
            EXECUTE format('DROP TABLE %I', month.name);
            -- makes the month and what is missing around it
            PERFORM add_partitions(space, month.begins - interval '1 month');
            divided := divided + 1;
        END IF;
    END LOOP;
    RETURN divided;
END $$;
REVOKE ALL ON FUNCTION promote_tenant FROM PUBLIC;
