//! The books recomputed from their journal, by statements that share nothing with those that wrote them.
//!
//! A tenant's books are read in one snapshot. Each check returns what does not agree, and nothing when all is well.

use embermesh_postgres::{DbError, Row, Transaction};
use embermesh_types::TenantId;
use uuid::Uuid;

use super::Store;

/// Differences that are listed; what comes after them is not counted.
pub(crate) const MOST_DIFFERENCES: usize = 1000;
/// Milliseconds that one check may take, however large the books.
const STATEMENT_TIMEOUT: u32 = 600_000;

/// What was looked at, and what does not agree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) attempts: u64,
    pub(crate) charges: u64,
    pub(crate) balances: u64,
    pub(crate) leases: u64,
    pub(crate) differences: Vec<Difference>,
}

/// Two figures that should be one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Which figure, such as `balance.spent`.
    pub(crate) what: String,
    /// Of which row.
    pub(crate) subject: String,
    pub(crate) recorded: String,
    pub(crate) recomputed: String,
}

const COUNTS: &str =
    "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM charges), (SELECT count(*) FROM balances),
    (SELECT count(*) FROM leases)";

const CHECKS: [&str; 5] = [BALANCES, ACCOUNTS, ATTEMPTS, CHARGES, LEASES];

/// Every balance is what charges, open attempts and leases come to in its account and period; that of a quota what its leases do.
const BALANCES: &str = r#"
WITH moves AS (
    SELECT agent_id, key_id COLLATE "C" AS key_id, provider COLLATE "C" AS provider, day,
           amount_nano_usd AS spent, 0::bigint AS reserved, 0::bigint AS leased, 0::bigint AS presumed
    FROM charges WHERE amount_nano_usd > 0
    UNION ALL
    SELECT agent_id, key_id, provider, day, 0, reserved_nano_usd, 0, 0
    FROM attempts WHERE state = 'reserved' AND agent_id IS NOT NULL AND lease_id IS NULL
    UNION ALL
    SELECT p.agent_id, p.key_id, a.provider, a.day, 0, p.reserved_nano_usd, 0, 0
    FROM attempts a JOIN attempt_parts p USING (tenant_id, attempt_id, created_at)
    WHERE a.state = 'reserved' AND a.agent_id IS NULL AND p.lease_id IS NULL
    UNION ALL
    SELECT agent_id, key_id, provider, day, 0, 0,
           CASE state WHEN 'open' THEN greatest(granted - spent - returned, 0) ELSE 0 END,
           CASE state WHEN 'presumed' THEN greatest(granted - spent - returned, 0) ELSE 0 END
    FROM leases WHERE quota IS NULL
), paths AS (
    SELECT agent_id, key_id, provider, day, sum(spent) AS spent, sum(reserved) AS reserved, sum(leased) AS leased,
           sum(presumed) AS presumed
    FROM moves GROUP BY 1, 2, 3, 4
), recomputed AS (
    SELECT account.scope COLLATE "C" AS scope, account.subject COLLATE "C" AS subject, span.period COLLATE "C" AS period,
           span.period_start, sum(spent) AS spent, sum(reserved) AS reserved, sum(leased) AS leased, sum(presumed) AS presumed
    FROM paths,
        LATERAL (VALUES ('tenant', ''), ('agent', agent_id), ('key', key_id), ('provider', provider)) AS account (scope, subject),
        LATERAL (VALUES ('day', day), ('month', date_trunc('month', day::timestamp)::date)) AS span (period, period_start)
    GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT quota, '' COLLATE "C", span.period COLLATE "C", span.period_start, sum(spent), 0,
           sum(remaining) FILTER (WHERE state = 'open'), sum(remaining) FILTER (WHERE state = 'presumed')
    FROM leases,
        LATERAL (VALUES ('day', day), ('month', date_trunc('month', day::timestamp)::date)) AS span (period, period_start)
    WHERE quota IS NOT NULL GROUP BY 1, 2, 3, 4
)
SELECT 'balance.' || figure.name, concat_ws(' ', scope, nullif(subject, ''), period, period_start), figure.recorded::text,
       figure.recomputed::text
FROM balances b FULL JOIN recomputed r USING (scope, subject, period, period_start),
    LATERAL (VALUES
        ('spent', coalesce(b.spent, 0)::numeric, coalesce(r.spent, 0)),
        ('reserved', coalesce(b.reserved, 0)::numeric, coalesce(r.reserved, 0)),
        ('leased', coalesce(b.leased, 0)::numeric, coalesce(r.leased, 0)),
        ('presumed', coalesce(b.presumed, 0)::numeric, coalesce(r.presumed, 0))) AS figure (name, recorded, recomputed)
WHERE figure.recorded <> figure.recomputed
ORDER BY 2, 1 LIMIT $1"#;

/// Each move is booked in four accounts, so in each period the accounts of every scope sum to the tenant's.
const ACCOUNTS: &str = "
SELECT 'accounts.' || figure.name, concat_ws(' ', other.scope, b.period, b.period_start),
       coalesce(sum(amount) FILTER (WHERE b.scope = other.scope), 0)::text,
       coalesce(sum(amount) FILTER (WHERE b.scope = 'tenant'), 0)::text
FROM balances b,
    LATERAL (VALUES ('spent', spent), ('reserved', reserved), ('leased', leased), ('presumed', presumed)) AS figure (name, amount),
    (VALUES ('agent'), ('key'), ('provider')) AS other (scope)
WHERE b.scope IN ('tenant', other.scope)
GROUP BY figure.name, other.scope, b.period, b.period_start
HAVING coalesce(sum(amount) FILTER (WHERE b.scope = other.scope), 0) <> coalesce(sum(amount) FILTER (WHERE b.scope = 'tenant'), 0)
ORDER BY 2, 1 LIMIT $1";

/// Every attempt is charged in full, at its tokens and price, or at its bound, or not at all. A product is exact, a quotient would be
/// rounded.
const ATTEMPTS: &str = "
SELECT 'attempt.' || figure.name, a.attempt_id::text, figure.recorded::text, figure.recomputed::text
FROM attempts a
    LEFT JOIN (SELECT attempt_id, sum(amount_nano_usd) AS amount FROM charges WHERE attempt_id IS NOT NULL GROUP BY 1) AS c
        USING (attempt_id)
    LEFT JOIN (SELECT attempt_id, sum(reserved_nano_usd) AS reserved FROM attempt_parts GROUP BY 1) AS p USING (attempt_id),
    LATERAL (VALUES
        ('amount', coalesce(a.amount_nano_usd, 0)::numeric, coalesce(c.amount, 0)),
        ('cost', a.amount_nano_usd::numeric, CASE a.state
            WHEN 'settled' THEN ceil(coalesce(a.billed_units, a.tokens)::numeric * a.price_per_million_nano_usd * 0.000001)
            WHEN 'presumed' THEN a.reserved_nano_usd::numeric
            WHEN 'voided' THEN 0 END),
        ('reserved', a.reserved_nano_usd::numeric, CASE WHEN a.agent_id IS NULL THEN coalesce(p.reserved, 0) END))
        AS figure (name, recorded, recomputed)
WHERE figure.recorded <> figure.recomputed
ORDER BY 2, 1 LIMIT $1";

/// Every charge is of an attempt, and says of it what it says itself; what is of none is a hit, and free.
const CHARGES: &str = "
SELECT 'charge.' || figure.name, c.charge_id::text, figure.recorded, figure.recomputed
FROM charges c LEFT JOIN attempts a USING (attempt_id),
    LATERAL (VALUES
        ('attempt', c.attempt_id::text, coalesce(a.attempt_id::text, CASE WHEN c.attempt_id IS NOT NULL THEN 'none' END)),
        ('amount', c.amount_nano_usd::text, CASE WHEN c.attempt_id IS NULL THEN '0' END),
        ('day', c.day::text, a.day::text),
        ('provider', c.provider, a.provider),
        ('agent', c.agent_id, a.agent_id),
        ('key', c.key_id, a.key_id),
        ('presumed', c.presumed::text, (a.state = 'presumed')::text)) AS figure (name, recorded, recomputed)
WHERE figure.recorded <> figure.recomputed
ORDER BY 2, 1 LIMIT $1";

/// A lease of money has spent what its attempts were charged, and those without an end are under way.
const LEASES: &str = "
WITH draws AS (
    SELECT a.lease_id, a.state, a.reserved_nano_usd AS bound, a.amount_nano_usd AS amount
    FROM attempts a WHERE a.lease_id IS NOT NULL
    UNION ALL
    SELECT p.lease_id, a.state, p.bound, (SELECT sum(c.amount_nano_usd) FROM charges c
        WHERE c.created_at = a.reserved_at AND c.attempt_id = a.attempt_id AND c.request_id = p.request_id
          AND c.agent_id = p.agent_id AND c.key_id = p.key_id)
    FROM attempts a JOIN (
        SELECT attempt_id, request_id, agent_id, key_id, lease_id, sum(reserved_nano_usd)::bigint AS bound
        FROM attempt_parts WHERE lease_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5) AS p USING (attempt_id)
), recomputed AS (
    SELECT lease_id, coalesce(sum(amount) FILTER (WHERE state <> 'reserved'), 0) AS spent,
           coalesce(sum(bound) FILTER (WHERE state = 'reserved'), 0) AS under_way
    FROM draws GROUP BY 1
)
SELECT 'lease.' || figure.name, lease_id::text, figure.recorded::text, figure.recomputed::text
FROM (SELECT * FROM leases WHERE quota IS NULL) AS l FULL JOIN recomputed r USING (lease_id),
    LATERAL (VALUES
        ('spent', coalesce(l.spent, 0)::numeric, coalesce(r.spent, 0)),
        ('under_way', coalesce(l.under_way, 0)::numeric, coalesce(r.under_way, 0))) AS figure (name, recorded, recomputed)
WHERE figure.recorded <> figure.recomputed
ORDER BY 2, 1 LIMIT $1";

/// One step from each tenant to the next, so that large tables are not read through.
const TENANTS: &str = "
WITH RECURSIVE of_attempts AS (
    (SELECT tenant_id FROM attempts ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT a.tenant_id FROM attempts a WHERE a.tenant_id > t.tenant_id ORDER BY a.tenant_id LIMIT 1)
    FROM of_attempts t WHERE t.tenant_id IS NOT NULL
), of_balances AS (
    (SELECT tenant_id FROM balances ORDER BY tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.tenant_id FROM balances b WHERE b.tenant_id > t.tenant_id ORDER BY b.tenant_id LIMIT 1)
    FROM of_balances t WHERE t.tenant_id IS NOT NULL
)
SELECT tenant_id FROM of_attempts WHERE tenant_id IS NOT NULL
UNION SELECT tenant_id FROM of_balances WHERE tenant_id IS NOT NULL
UNION SELECT tenant_id FROM leases
ORDER BY 1";

impl Store {
    /// Every tenant that has books.
    pub(crate) async fn tenants(&self) -> Result<Vec<TenantId>, DbError> {
        let session = self.database.system().with("app.all_tenants", "on");
        let session = session.with("statement_timeout", STATEMENT_TIMEOUT);
        let rows = session.query(TENANTS, &[]).await?;
        rows.iter().map(|row| Ok(TenantId::new(row.try_get::<_, Uuid>(0)?))).collect()
    }

    /// Recomputes the books of a tenant.
    pub(crate) async fn verify(&self, tenant: TenantId) -> Result<Verified, DbError> {
        let session = self.database.tenant(tenant.uuid()).with("statement_timeout", STATEMENT_TIMEOUT);
        // where no statistics tell how large the tables are, each row of one would be sought for in all of the other
        let session = session.with("enable_nestloop", "off");
        let transaction = session.begin().await?;
        transaction.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
        let mut verified = counts(&transaction).await?;
        for check in CHECKS {
            let room = MOST_DIFFERENCES - verified.differences.len();
            let limit = i64::try_from(room).unwrap_or_default();
            for row in transaction.query(check, &[&limit]).await? {
                verified.differences.push(difference(&row)?);
            }
        }
        transaction.rollback().await?;
        Ok(verified)
    }
}

async fn counts(transaction: &Transaction) -> Result<Verified, DbError> {
    let row = transaction.query_one(COUNTS, &[]).await?;
    let count = |at: usize| Ok::<_, DbError>(u64::try_from(row.try_get::<_, i64>(at)?).unwrap_or_default());
    Ok(Verified {
        attempts: count(0)?,
        charges: count(1)?,
        balances: count(2)?,
        leases: count(3)?,
        differences: Vec::new(),
    })
}

fn difference(row: &Row) -> Result<Difference, DbError> {
    Ok(Difference {
        what: row.try_get(0)?,
        subject: row.try_get(1)?,
        recorded: row.try_get(2)?,
        recomputed: row.try_get(3)?,
    })
}
