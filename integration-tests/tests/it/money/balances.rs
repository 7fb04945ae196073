//! What the ledger's balances say, looked at past the API: once, until all is quiet, or every ten milliseconds while others spend.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_postgres::{Client, Row};

use crate::running::{Running, wait_until};

/// How often the sampler looks.
const EVERY: Duration = Duration::from_millis(10);

/// The row of an account and a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    pub spent: i64,
    pub reserved: i64,
    pub leased: i64,
    pub presumed: i64,
}

impl Balance {
    fn of(row: &Row) -> Self {
        let [spent, reserved, leased, presumed] =
            ["spent", "reserved", "leased", "presumed"].map(|name| row.get(name));
        Self { spent, reserved, leased, presumed }
    }

    /// What is not free.
    pub fn used(&self) -> i64 {
        self.spent + self.reserved + self.leased + self.presumed
    }

    fn is_negative(&self) -> bool {
        self.spent.min(self.reserved).min(self.leased).min(self.presumed) < 0
    }
}

/// The newest balance of an account.
pub async fn balance(sql: &Client, scope: &str, subject: &str, period: &str) -> Balance {
    let select = "SELECT spent, reserved, leased, presumed FROM ledger.balances
                  WHERE (scope, subject, period) = ($1, $2, $3) ORDER BY period_start DESC LIMIT 1";
    let rows = sql.query(select, &[&scope, &subject, &period]).await.unwrap();
    rows.first().map(Balance::of).unwrap_or_default()
}

/// What an agent has spent today.
pub async fn spent_by(sql: &Client, agent: &str) -> i64 {
    balance(sql, "agent", agent, "day").await.spent
}

/// Waits until no attempt is open and nothing is set aside for anybody.
pub async fn quiet(sql: &Client) {
    let noise = "SELECT (SELECT count(*) FROM ledger.attempts WHERE state = 'reserved')
                      + (SELECT count(*) FROM ledger.balances WHERE reserved <> 0 OR leased <> 0 OR presumed <> 0)";
    wait_until(|| async { sql.query_one(noise, &[]).await.unwrap().get::<_, i64>(0) == 0 }).await;
}

/// Leases that were ever granted.
pub async fn leases(sql: &Client) -> i64 {
    sql.query_one("SELECT count(*) FROM ledger.leases", &[]).await.unwrap().get(0)
}

/// A limit of an account, as the sampler keeps it in sight.
#[derive(Debug, Clone)]
pub struct Limit {
    pub scope: &'static str,
    pub subject: String,
    pub period: &'static str,
    pub amount: i64,
}

/// What was seen while others spent.
#[derive(Debug, Default)]
pub struct Seen {
    pub samples: usize,
    /// Balances over their limit, or below nothing.
    pub wrong: Vec<String>,
    /// The most that an account had in leases.
    pub most_leased: i64,
}

/// Looks at balances until it is stopped.
pub struct Sampler {
    stop: watch::Sender<()>,
    task: JoinHandle<Seen>,
}

impl Sampler {
    pub async fn start(running: &Running, limits: Vec<Limit>) -> Self {
        let sql = running.sql().await;
        let (stop, stopped) = watch::channel(());
        #[expect(clippy::disallowed_methods, reason = "awaited in stop")]
        let task = tokio::spawn(sample(sql, limits, stopped));
        Self { stop, task }
    }

    pub async fn stop(self) -> Seen {
        drop(self.stop);
        self.task.await.unwrap()
    }
}

async fn sample(sql: Client, limits: Vec<Limit>, mut stopped: watch::Receiver<()>) -> Seen {
    let select = "SELECT scope, subject, period, spent, reserved, leased, presumed FROM ledger.balances";
    let select = sql.prepare(select).await.unwrap();
    let (mut seen, mut ticks) = (Seen::default(), interval(EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return seen,
        }
        for row in sql.query(&select, &[]).await.unwrap() {
            let (account, balance): ([&str; 3], _) = ([0, 1, 2].map(|at| row.get(at)), Balance::of(&row));
            let limit = limits.iter().find(|limit| [limit.scope, &limit.subject, limit.period] == account);
            let over = limit.is_some_and(|limit| balance.used() > limit.amount);
            if over || balance.is_negative() {
                seen.wrong.push(format!("{account:?} has {balance:?}, the limit is {limit:?}"));
            }
            seen.most_leased = seen.most_leased.max(balance.leased);
        }
        seen.samples += 1;
    }
}
