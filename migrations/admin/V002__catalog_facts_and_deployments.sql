-- More is known of each model, prices are a provider's, and routers share what they know and are told about deployments.
--
-- Replicas of the release before may still run: every new column has a default, and none of theirs has gone.

ALTER TABLE models
    -- 0: no limit but the provider's
    ADD COLUMN max_batch_tokens integer NOT NULL DEFAULT 0 CHECK (max_batch_tokens >= 0),
    -- the model's name by provider kind, where it is not the id
    ADD COLUMN provider_names jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(provider_names) = 'object'),
    ADD COLUMN matryoshka boolean NOT NULL DEFAULT false,
    ADD COLUMN normalized boolean NOT NULL DEFAULT false,
    ADD COLUMN quality double precision CHECK (quality BETWEEN 0 AND 100),
    ADD COLUMN quality_source text NOT NULL DEFAULT '',
    ADD COLUMN modality text NOT NULL DEFAULT 'text' CHECK (modality IN ('text', 'multimodal')),
    -- the model, without prices, as the release `shipped_in` shipped it; null for one that an operator added. While the row still
    -- says the same, a later release may renew it
    ADD COLUMN shipped json,
    ADD COLUMN shipped_in integer[],
    ADD CONSTRAINT shipped_in_a_release CHECK (num_nulls(shipped, shipped_in) IN (0, 2));

-- What V001 came with. Operators could not take these ids: the first start put the models in before it served.
UPDATE models SET shipped = was.shipped::json, shipped_in = '{0,0,0}'
FROM (VALUES
    ('all-MiniLM-L6-v2', '{"id": "all-MiniLM-L6-v2", "family": "sentence-transformers/all-MiniLM-L6-v2",
        "native_dimensions": 384, "max_input_tokens": 256, "max_batch": 2048, "tokenizer": "wordpiece",
        "provider_kinds": ["local"], "modality": "text"}'),
    ('text-embedding-3-small', '{"id": "text-embedding-3-small", "family": "openai/text-embedding-3-small",
        "native_dimensions": 1536, "any_dimensions": true, "max_input_tokens": 8191, "max_batch": 2048, "tokenizer": "cl100k_base",
        "provider_kinds": ["openai", "azure_openai"], "modality": "text"}'),
    ('text-embedding-3-large', '{"id": "text-embedding-3-large", "family": "openai/text-embedding-3-large",
        "native_dimensions": 3072, "any_dimensions": true, "max_input_tokens": 8191, "max_batch": 2048, "tokenizer": "cl100k_base",
        "provider_kinds": ["openai", "azure_openai"], "modality": "text"}'),
    ('text-embedding-ada-002', '{"id": "text-embedding-ada-002", "family": "openai/text-embedding-ada-002",
        "native_dimensions": 1536, "max_input_tokens": 8191, "max_batch": 2048, "tokenizer": "cl100k_base",
        "provider_kinds": ["openai", "azure_openai"], "modality": "text"}')
) AS was (id, shipped)
WHERE models.id = was.id;

-- A price holds from its date until the next one of the same model and provider; none is ever changed.
ALTER TABLE prices
    -- entry or kind; '': every provider without a price of its own
    ADD COLUMN provider text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN unit text NOT NULL DEFAULT 'tokens' CHECK (unit IN ('tokens', 'characters')),
    -- whether it came with a release; where an operator has set a price, later releases set none
    ADD COLUMN shipped boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT prices_pkey,
    ADD PRIMARY KEY (model_id, provider, effective_from);
UPDATE prices SET shipped = true
WHERE (model_id, effective_from) IN (
    ('all-MiniLM-L6-v2', '2021-08-30T00:00:00Z'),
    ('text-embedding-3-small', '2024-01-25T00:00:00Z'),
    ('text-embedding-3-large', '2024-01-25T00:00:00Z'),
    ('text-embedding-ada-002', '2023-06-13T00:00:00Z')
);

-- What fixed texts look like in a space. Of several sets of texts the one recorded last is in force; the others stay, so that
-- routers of two releases, each with its own set, do not replace one another's for ever.
CREATE TABLE space_references (
    space_id      text COLLATE "C" NOT NULL,
    texts_version text COLLATE "C" NOT NULL,
    -- little-endian f32, one for each text
    vectors       bytea[] NOT NULL CHECK (cardinality(vectors) BETWEEN 1 AND 16),
    deployment    text NOT NULL,
    -- version of the change
    recorded_in   bigint NOT NULL,
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (space_id, texts_version)
);

-- The last order about each deployment's breaker.
CREATE TABLE breaker_orders (
    deployment text COLLATE "C" PRIMARY KEY,
    action     text NOT NULL CHECK (action IN ('reset', 'force_open', 'force_closed')),
    -- version of the change
    number     bigint NOT NULL,
    -- id of the key
    ordered_by text NOT NULL,
    ordered_at timestamptz NOT NULL
);

-- what makes a model's space is missing here: it cannot be changed
GRANT UPDATE (allowed_dimensions, any_dimensions, max_input_tokens, max_batch, tokenizer, provider_kinds, max_batch_tokens,
    provider_names, matryoshka, normalized, quality, quality_source, modality, shipped, shipped_in) ON models TO embermesh_app;
GRANT SELECT, INSERT, DELETE ON space_references TO embermesh_app;
GRANT SELECT, INSERT ON breaker_orders TO embermesh_app;
GRANT UPDATE (action, number, ordered_by, ordered_at) ON breaker_orders TO embermesh_app;
