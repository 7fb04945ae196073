-- Months that have left: their keys, an archive for what people move by hand at psql, and deletion through the view.

-- archiving and restoring work through all tenants; the application role is no member of the owner
CREATE POLICY maintenance ON embedding_keys TO CURRENT_USER USING (true) WITH CHECK (true);

-- What `INSERT INTO embeddings_archive SELECT * FROM embeddings …` moves here is no longer searched.
CREATE TABLE embeddings_archive (LIKE embeddings);
ALTER TABLE embeddings_archive ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX embeddings_archive_tenant ON embeddings_archive (tenant_id, created_at);
SELECT protect('embeddings_archive');
GRANT SELECT ON embeddings_archive TO embermesh_app;

-- A row and its key go together, also when they are deleted through the view.
CREATE FUNCTION delete_through_view() RETURNS trigger LANGUAGE plpgsql SET search_path = store, public AS $$
DECLARE
    space spaces;
BEGIN
    SELECT * INTO STRICT space FROM spaces WHERE space_id = OLD.space_id;
    EXECUTE format('DELETE FROM %I WHERE tenant_id = $1 AND created_at = $2 AND embedding_id = $3', space.table_name)
        USING OLD.tenant_id, OLD.created_at, OLD.embedding_id;
    DELETE FROM embedding_keys WHERE tenant_id = OLD.tenant_id AND embedding_id = OLD.embedding_id;
    RETURN OLD;
END $$;
CREATE TRIGGER delete_through_view INSTEAD OF DELETE ON embeddings FOR EACH ROW EXECUTE FUNCTION delete_through_view();
REVOKE ALL ON FUNCTION delete_through_view FROM PUBLIC;
