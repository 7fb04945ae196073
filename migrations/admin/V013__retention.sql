-- Days after which a tenant's rows are deleted; absent: they stay. Replicas of the release before tell vector-store of none.
ALTER TABLE tenants ADD COLUMN retention_days integer CHECK (retention_days BETWEEN 1 AND 36500);
GRANT UPDATE (retention_days) ON tenants TO embermesh_app;
