-- A tenant's quotas: accounts that count requests or tokens instead of money, and leases of them. Their use is told by lease, not by
-- attempt, because a request may need no attempt at all.

ALTER TABLE balances
    DROP CONSTRAINT balances_scope_check,
    ADD CONSTRAINT balances_scope_check CHECK (scope IN ('tenant', 'agent', 'key', 'provider', 'requests', 'tokens'));

ALTER TABLE leases
    ALTER COLUMN agent_id DROP NOT NULL,
    ALTER COLUMN key_id DROP NOT NULL,
    ALTER COLUMN provider DROP NOT NULL,
    ADD COLUMN quota text COLLATE "C" CHECK (quota IN ('requests', 'tokens')),
    -- the last that its router told of what is used
    ADD COLUMN told bigint NOT NULL DEFAULT 0 CHECK (told >= 0),
    ADD CONSTRAINT of_money_or_a_quota CHECK (num_nulls(agent_id, key_id, provider) = CASE WHEN quota IS NULL THEN 0 ELSE 3 END);

GRANT UPDATE (told) ON leases TO embermesh_app;
