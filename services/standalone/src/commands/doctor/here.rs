//! The configuration, and what it names, as this machine sees them.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use embermesh_cache::{RedisCache, RedisSettings, VectorKey};
use embermesh_config::{Config, Provider, ProviderKind, Source};
use embermesh_lifecycle::Lifecycle;
use embermesh_postgres::{Database, DbError, Inspected, PoolConfig, Role, Schema, inspect};
use embermesh_types::Clock;
use secrecy::{ExposeSecret, SecretString};

use super::{finding::Finding, system::MOST_SKEW};

/// PostgreSQL's own way to write a version.
const POSTGRES_15: i32 = 150_000;
const PGVECTOR: (u32, u32) = (0, 8);
/// How long Redis may take to be found.
const REDIS_PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn examine(file: Option<&Path>) -> Vec<Finding> {
    let config = match Config::load(&Source::process(file)) {
        Ok(config) => config,
        Err(error) => {
            let advice = "mend it; `embermesh-gateway --dump-config` shows what is read";
            return vec![Finding::broken("configuration", &error.to_string(), advice)];
        }
    };
    let mut findings = vec![Finding::well("configuration", "it can be read")];
    findings.extend(databases(&config).await);
    findings.push(redis(&config).await);
    findings.extend(config.embedding.providers.iter().filter_map(|(name, entry)| provider(name, entry)));
    findings
}

async fn databases(config: &Config) -> Vec<Finding> {
    let (admin, ledger, store) =
        (config.database.for_admin(), config.database.for_ledger(), config.database.for_store());
    let (Ok(admin), Ok(ledger), Ok(store)) = (admin, ledger, store) else {
        return vec![Finding::unknown("database", "none is configured: `embermesh up` runs one of its own")];
    };
    let same = |one: &SecretString, other: &SecretString| one.expose_secret() == other.expose_secret();
    let mut findings = database("database", &store, true).await;
    findings.extend(replicas(config, &store).await);
    for (name, url) in [("database of the ledger", &ledger), ("database of admin", &admin)] {
        if !same(url, &store) {
            findings.extend(database(name, url, false).await);
        }
    }
    findings
}

/// Each replica of the database of the vectors. Without them the primary serves.
async fn replicas(config: &Config, primary: &SecretString) -> Vec<Finding> {
    let mut findings = Vec::new();
    for url in config.database.read_replica_pool.set().urls {
        findings.push(match inspect(primary, &url).await {
            Err(error) => {
                let advice = "mend database.read_replica_pool.urls or DATABASE_REPLICA_URLS";
                Finding::broken("replica", &error.to_string(), advice)
            }
            Ok((name, found)) => replica(&format!("replica {name}"), found),
        });
    }
    findings
}

fn replica(what: &str, found: Result<Inspected, DbError>) -> Finding {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let advice =
                "is it running, and may this machine reach it? Until then the primary serves its reads";
            return Finding::ailing(what, &error.to_string(), advice);
        }
    };
    let behind = format!("{} bytes behind", found.behind);
    if !found.is_in_recovery {
        let advice = "was it promoted? Lead database.url to it, or make it a standby anew";
        return Finding::ailing(what, "it is no standby and serves nothing", advice);
    }
    if !found.is_same_system {
        let advice = "make it anew with pg_basebackup of this primary";
        return Finding::ailing(what, "it is a standby of another cluster and serves nothing", advice);
    }
    match found.timeline {
        Some(timeline) if timeline == found.primary_timeline => {
            Finding::well(what, &format!("it follows, {behind}"))
        }
        Some(timeline) => {
            let found = format!("it is on timeline {timeline}, the primary on {}", found.primary_timeline);
            Finding::ailing(what, &found, "let it follow this primary: see primary_conninfo")
        }
        None => {
            let advice = "if it streams, GRANT pg_read_all_stats to the user; until then it serves eventual reads alone";
            Finding::ailing(what, &format!("it does not tell what it streams, {behind}"), advice)
        }
    }
}

/// A database that can be reached is new enough and, if it is to hold vectors, knows them.
async fn database(what: &str, url: &SecretString, vectors: bool) -> Vec<Finding> {
    let limits = PoolConfig::default();
    let connected = Database::connect(url, Schema::Store, Role::Owner, &limits).await;
    let database = match connected {
        Ok(database) => database,
        Err(error) => {
            let advice = match &error {
                DbError::Configuration(_) => "check database.url, its user and its password",
                DbError::Unavailable(_) => "is it running, and may this machine reach it?",
                _ => "check what the user may do in the database",
            };
            return vec![Finding::broken(what, &error.to_string(), advice)];
        }
    };
    let version = match versions(&database).await {
        Ok((version, _)) if version < POSTGRES_15 => {
            let found = format!("PostgreSQL {}", version / 10_000);
            Finding::broken(what, &found, "Embermesh needs PostgreSQL 15 or later")
        }
        Ok((version, None)) if vectors => {
            let found = format!("PostgreSQL {} without pgvector", version / 10_000);
            Finding::broken(what, &found, "install pgvector 0.8 or later on the database's machine")
        }
        Ok((_, Some(vector))) if vectors && is_older(&vector, PGVECTOR) => {
            let advice = "install pgvector 0.8 or later, then ALTER EXTENSION vector UPDATE";
            Finding::broken(what, &format!("pgvector {vector}"), advice)
        }
        Ok((version, vector)) => {
            let vector = vector.map_or_else(String::new, |vector| format!(", pgvector {vector}"));
            Finding::well(what, &format!("PostgreSQL {}{vector}", version / 10_000))
        }
        Err(error) => Finding::broken(what, &error.to_string(), "see the database's log"),
    };
    let clock = clock_of(&database).await.map(|(database, here)| clock(what, database, here));
    std::iter::once(version).chain(clock.ok()).collect()
}

/// The time of the database, and of this machine when it said so.
async fn clock_of(database: &Database) -> Result<(SystemTime, SystemTime), DbError> {
    let here = Clock::system();
    let asked = here.now();
    let row = database.system().query_one("SELECT clock_timestamp()", &[]).await?;
    // it looked at its clock about half way
    let half = here.now().duration_since(asked).unwrap_or_default() / 2;
    Ok((row.try_get(0)?, asked + half))
}

fn clock(what: &str, database: SystemTime, here: SystemTime) -> Finding {
    let what = format!("clock of the {what}");
    let skew = here.duration_since(database).or_else(|_| database.duration_since(here)).unwrap_or_default();
    if skew <= MOST_SKEW {
        return Finding::well(&what, "it agrees with this machine's");
    }
    let found = format!("it is {} s off this machine's", skew.as_secs());
    Finding::ailing(&what, &found, "run a time service on both: leases, budgets and keys end by the clock")
}

/// Of PostgreSQL, and of pgvector as it is installed or else could be.
async fn versions(database: &Database) -> Result<(i32, Option<String>), DbError> {
    let sql = "SELECT current_setting('server_version_num')::integer,
                   (SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'vector')";
    let row = database.system().query_one(sql, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

fn is_older(version: &str, than: (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < than
}

async fn redis(config: &Config) -> Finding {
    let settings = RedisSettings {
        url: config.redis.url.as_ref().map(|url| url.as_secret().clone()),
        endpoints: config.redis.cluster_endpoints.clone(),
        command_timeout: REDIS_PATIENCE,
        ..RedisSettings::default()
    };
    if !settings.is_configured() {
        return Finding::unknown("redis", "not configured: each router keeps to itself what it knows");
    }
    let lifecycle = Lifecycle::new(Duration::ZERO, Duration::ZERO);
    let cache = match RedisCache::connect(&settings, &lifecycle.tasks) {
        Ok(cache) => cache,
        Err(error) => return Finding::broken("redis", &error.to_string(), "mend the section redis"),
    };
    let begun = tokio::time::Instant::now();
    loop {
        match cache.get_many(&[VectorKey::lone([0; 16])]).await {
            Ok(_) => return Finding::well("redis", "it answers"),
            Err(_) if begun.elapsed() < REDIS_PATIENCE => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(away) => {
                let advice = "is it running, and may this machine reach it? Embermesh works without, but caches and rate \
                              limits are each router's own then";
                return Finding::ailing("redis", &away.to_string(), advice);
            }
        }
    }
}

/// What is missing in an entry, if anything is.
fn provider(name: &str, entry: &Provider) -> Option<Finding> {
    let what = format!("provider {name}");
    let Some(kind) = entry.kind.or_else(|| ProviderKind::named(name)) else {
        let advice = format!("set embedding.providers.{name}.kind");
        return Some(Finding::broken(&what, "what kind of provider it is cannot be told", &advice));
    };
    let needs_key = !matches!(kind, ProviderKind::Local | ProviderKind::Bedrock | ProviderKind::Vertex);
    let is_ours = entry.base_url.is_some();
    (entry.enabled != Some(false) && needs_key && !is_ours && entry.api_key.is_none()).then(|| {
        let advice = format!("set embedding.providers.{name}.api_key, or enabled: false");
        Finding::broken(&what, "it has no api_key", &advice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_whose_clock_is_off_is_named() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (database, here, said) in [
            (begin, begin + Duration::from_millis(1_500), "ok      clock of the database: it agrees"),
            (begin + Duration::from_secs(61), begin, "warn    clock of the database: it is 61 s off"),
        ] {
            let text = super::super::show(&[clock("database", database, here)]);
            assert!(text.starts_with(said), "{text}");
        }
    }

    #[test]
    fn a_replica_that_does_not_follow_is_told_with_what_to_do() {
        let good = Inspected {
            is_in_recovery: true,
            is_same_system: true,
            timeline: Some(2),
            primary_timeline: 2,
            behind: 5,
        };
        for (found, said) in [
            (Ok(good.clone()), "ok      replica r:5432: it follows, 5 bytes behind"),
            (
                Ok(Inspected { is_in_recovery: false, ..good.clone() }),
                "warn    replica r:5432: it is no standby",
            ),
            (
                Ok(Inspected { is_same_system: false, ..good.clone() }),
                "warn    replica r:5432: it is a standby of another",
            ),
            (
                Ok(Inspected { timeline: Some(1), ..good.clone() }),
                "warn    replica r:5432: it is on timeline 1",
            ),
            (Ok(Inspected { timeline: None, ..good }), "warn    replica r:5432: it does not tell"),
            (
                Err(DbError::Unavailable("refused".into())),
                "warn    replica r:5432: postgresql is unavailable",
            ),
        ] {
            let text = super::super::show(&[replica("replica r:5432", found)]);
            assert!(text.starts_with(said), "{text}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, older) in
            [("0.7.4", true), ("0.8.0", false), ("0.10.1", false), ("1.0", false), ("", true)]
        {
            assert_eq!(is_older(version, PGVECTOR), older, "{version}");
        }
    }
}
