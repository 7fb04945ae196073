//! The ledger's tables as their owner reads them, past the API.

use std::collections::HashMap;

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::{FaultError, acknowledged::Charged, findings::Findings, reconcile::Attempt};

/// Money that is set aside although nothing is under way.
pub const PHANTOM: &str = "balances that still set money aside";
/// A balance that is not the sum of its charges.
pub const UNFOLDED: &str = "balances that are not the sum of their charges";
/// A lease that nobody holds any more.
pub const UNCLOSED: &str = "leases that are not closed";

const ATTEMPTS: &str = "SELECT attempt_id::text, state, reserved_nano_usd, amount_nano_usd \
                        FROM ledger.attempts WHERE created_at >= $1::text::timestamptz";
const CHARGES: &str = "SELECT request_id, \
                           coalesce(sum(amount_nano_usd) FILTER (WHERE NOT presumed), 0)::bigint, \
                           coalesce(sum(amount_nano_usd) FILTER (WHERE presumed), 0)::bigint, \
                           count(*) FILTER (WHERE cached) \
                       FROM ledger.charges WHERE created_at >= $1::text::timestamptz GROUP BY request_id";
const SET_ASIDE: &str = "SELECT scope || ' ' || subject || ' ' || period || ' ' || period_start, reserved, leased, presumed \
                         FROM ledger.balances WHERE (reserved, leased, presumed) <> (0, 0, 0)";
const FOLD: &str = "
    WITH folded AS (
        SELECT c.tenant_id, a.scope, a.subject, p.period, p.period_start, sum(c.amount_nano_usd)::bigint AS spent
        FROM ledger.charges c
        CROSS JOIN LATERAL (VALUES ('tenant', ''), ('agent', c.agent_id), ('key', c.key_id), ('provider', c.provider))
            AS a (scope, subject)
        CROSS JOIN LATERAL (VALUES ('day', c.day), ('month', date_trunc('month', c.day::timestamp)::date))
            AS p (period, period_start)
        GROUP BY 1, 2, 3, 4, 5
    )
    SELECT concat_ws(' ', coalesce(f.scope, b.scope), coalesce(f.subject, b.subject), coalesce(f.period, b.period),
               coalesce(f.period_start, b.period_start)),
           coalesce(f.spent, 0), coalesce(b.spent, 0)
    FROM folded f
    FULL JOIN ledger.balances b
        ON (b.tenant_id, b.scope, b.subject, b.period, b.period_start)
         = (f.tenant_id, f.scope, f.subject, f.period, f.period_start)
    WHERE coalesce(f.spent, 0) <> coalesce(b.spent, 0)";
const OPEN_LEASES: &str = "SELECT lease_id::text || ' ' || state || ' granted ' || granted || ' spent ' || spent || ' returned ' || returned \
                           FROM ledger.leases WHERE state <> 'closed'";
const COMMITTED: &str = "SELECT subject, spent + reserved + leased + presumed FROM ledger.balances \
                         WHERE scope = 'agent' AND period = 'day' AND subject LIKE 'limited-%' \
                           AND period_start = (now() AT TIME ZONE 'UTC')::date";

const WAYS: &str = "SELECT count(*), \
                        count(*) FILTER (WHERE lease_id IS NOT NULL OR EXISTS \
                            (SELECT FROM ledger.attempt_parts p WHERE p.attempt_id = a.attempt_id AND p.lease_id IS NOT NULL)), \
                        count(*) FILTER (WHERE agent_id IS NULL), \
                        (SELECT count(*) FROM ledger.leases) \
                    FROM ledger.attempts a";

/// How money was set aside in the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// All attempts.
    pub attempts: i64,
    /// Those out of a lease.
    pub leased: i64,
    /// Those that several requests shared.
    pub shared: i64,
    /// Leases that were granted.
    pub leases: i64,
}

/// A connection as the owner.
#[derive(Debug)]
pub struct Books {
    sql: Client,
    _connection: JoinSet<Result<(), tokio_postgres::Error>>,
}

impl Books {
    /// Connects.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn open(url: &str) -> Result<Self, FaultError> {
        let (sql, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Ok(Self { sql, _connection: tasks })
    }

    /// The time by PostgreSQL's clock, which is also that of the rows.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn now(&self) -> Result<String, FaultError> {
        Ok(self.sql.query_one("SELECT clock_timestamp()::text", &[]).await?.try_get(0)?)
    }

    /// Attempts that were begun since then.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn attempts(&self, since: &str) -> Result<Vec<Attempt>, FaultError> {
        let rows = self.sql.query(ATTEMPTS, &[&since]).await?;
        let attempts = rows.iter().map(|row| {
            Ok(Attempt {
                id: row.try_get(0)?,
                state: row.try_get(1)?,
                bound: row.try_get(2)?,
                amount: row.try_get(3)?,
            })
        });
        attempts.collect()
    }

    /// Charges that were made since then, by request.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn charges(&self, since: &str) -> Result<HashMap<String, Charged>, FaultError> {
        let rows = self.sql.query(CHARGES, &[&since]).await?;
        let charges = rows.iter().map(|row| {
            let (settled, presumed, hits) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            Ok((row.try_get(0)?, Charged { settled, presumed, hits }))
        });
        charges.collect()
    }

    /// What is set aside, and every balance that is not the sum of the journal.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn unbalanced(&self) -> Result<Findings, FaultError> {
        let mut findings = Findings::default();
        for row in self.sql.query(SET_ASIDE, &[]).await? {
            let (whose, reserved, leased, presumed): (String, i64, i64, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            findings.note(
                PHANTOM,
                format_args!("{whose}: reserved {reserved}, leased {leased}, presumed {presumed}"),
            );
        }
        for row in self.sql.query(FOLD, &[]).await? {
            let (whose, charges, balance): (String, i64, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            findings.note(UNFOLDED, format_args!("{whose}: charges {charges}, balance {balance}"));
        }
        for row in self.sql.query(OPEN_LEASES, &[]).await? {
            findings.note(UNCLOSED, row.try_get::<_, String>(0)?);
        }
        Ok(findings)
    }

    /// What is spent and set aside of today's budget, by limited agent, in nano-USD.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn committed(&self) -> Result<Vec<(String, i64)>, FaultError> {
        let rows = self.sql.query(COMMITTED, &[]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// How money was set aside so far.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn ways(&self) -> Result<Ways, FaultError> {
        let row = self.sql.query_one(WAYS, &[]).await?;
        let (attempts, leased, shared, leases) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        Ok(Ways { attempts, leased, shared, leases })
    }
}
