-- Providers that came over the API, and which entries of the configuration file are switched on or off.
--
-- They belong to no tenant, as breakers do not: providers are the installation's. Replicas of the release before may still run: they
-- neither read nor write this table, and skip its changes.

CREATE TABLE providers (
    name                   text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    -- the entry is in the configuration file; only enabled counts here
    of_file                boolean NOT NULL,
    enabled                boolean NOT NULL,
    -- all that is no secret
    entry                  json NOT NULL,
    -- held; removed, because the provider went elsewhere; or none, because it needs none
    credential             text NOT NULL CHECK (credential IN ('held', 'removed', 'none')),
    -- under a key that the database does not know
    sealed_credential      bytea,
    -- the number of that key, so that one can tell what a key is still needed for
    sealed_with            bigint,
    credential_fingerprint text,
    -- grows with every credential; sealed with it, so that an old one cannot be put back
    credential_version     bigint NOT NULL CHECK (credential_version >= 0),
    version                bigint NOT NULL CHECK (version > 0),
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    CONSTRAINT what_is_held_is_sealed CHECK (
        (credential = 'held') = (sealed_credential IS NOT NULL)
        AND (sealed_credential IS NULL) = (sealed_with IS NULL)
        AND (sealed_credential IS NULL) = (credential_fingerprint IS NULL)
    ),
    CONSTRAINT files_keep_their_credentials CHECK (NOT of_file OR credential = 'none')
);

GRANT SELECT, INSERT, UPDATE, DELETE ON providers TO embermesh_app;
