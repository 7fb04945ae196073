-- What a tenant may ask for, by UTC day and month; absent: as much as it likes.
ALTER TABLE tenants
    ADD COLUMN requests_per_day   bigint CHECK (requests_per_day >= 0),
    ADD COLUMN requests_per_month bigint CHECK (requests_per_month >= 0),
    ADD COLUMN tokens_per_day     bigint CHECK (tokens_per_day >= 0),
    ADD COLUMN tokens_per_month   bigint CHECK (tokens_per_month >= 0);
GRANT UPDATE (requests_per_day, requests_per_month, tokens_per_day, tokens_per_month) ON tenants TO embermesh_app;
