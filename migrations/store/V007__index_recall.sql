-- How much a search by an index looks at so that it finds what it should: measured once the index is built.
CREATE TABLE index_recall (
    index_name   text PRIMARY KEY,
    ef_search    integer NOT NULL,
    -- of the nearest ten, the part that is found
    recall       double precision NOT NULL,
    measured_at  timestamptz NOT NULL
);
GRANT SELECT ON index_recall TO embermesh_app;
