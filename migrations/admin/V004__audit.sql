-- Who changed what. Each tenant has one chain of records; each record holds the hash of the one before, and is written in the
-- transaction of the change.
--
-- Replicas of the release before may still run: what they change is not recorded. No foreign key to tenants, because what the system
-- does for everybody is recorded under a tenant of its own, which has no row.

CREATE TABLE audit_records (
    tenant_id     uuid NOT NULL,
    -- from 1, without a gap
    number        bigint NOT NULL CHECK (number > 0),
    changed_at    timestamptz NOT NULL,
    -- id of the key, or embermesh-system
    changed_by    text COLLATE "C" NOT NULL,
    action        text COLLATE "C" NOT NULL,
    subject       text COLLATE "C" NOT NULL,
    -- json, not jsonb: the hash is of the text as it was written
    details       json NOT NULL,
    -- number of the canonical form that the hash is of
    form          smallint NOT NULL,
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash          bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (tenant_id, number)
);
CREATE INDEX audit_records_of_subject ON audit_records (tenant_id, subject, number);
-- written in the order of time, so a few pages are enough
CREATE INDEX audit_records_by_time ON audit_records USING brin (changed_at);

-- What a chain held at a time, signed with a key that the database does not know. One replica anchors a place once.
CREATE TABLE audit_anchors (
    tenant_id   uuid NOT NULL,
    number      bigint NOT NULL,
    hash        bytea NOT NULL CHECK (octet_length(hash) = 32),
    anchored_at timestamptz NOT NULL,
    public_key  bytea NOT NULL CHECK (octet_length(public_key) = 32),
    signature   bytea NOT NULL CHECK (octet_length(signature) = 64),
    PRIMARY KEY (tenant_id, number, public_key)
);

ALTER TABLE audit_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_records FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON audit_records USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
-- for whoever anchors the chains of all tenants
CREATE POLICY of_stream ON audit_records FOR SELECT USING (current_setting('app.all_tenants', true) = 'on');
ALTER TABLE audit_anchors ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_anchors FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON audit_anchors USING (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);

-- For people at psql and the runbook's queries.
CREATE VIEW audit_logs WITH (security_invoker = true) AS
SELECT tenant_id, changed_by AS user_id, action AS endpoint, subject, details, NULL::integer AS status,
       0::numeric AS cost_usd, changed_at AS created_at, number AS audit_number
FROM audit_records;

-- what is missing here cannot be done: both are append-only
GRANT SELECT, INSERT ON audit_records, audit_anchors TO embermesh_app;
