use std::io::Write as _;

use super::*;

/// Every block of the operations guide, in its own words.
const GUIDE: &str = r#"
embedding:
  providers:
    openai:
      rate_limit: {requests_per_minute: 3000, tokens_per_minute: 1000000}
    bedrock:
      rate_limit: {requests_per_minute: 1000}
  circuit_breaker: {failure_threshold: 5, success_threshold: 3, timeout: "30s"}
  router: {selection_strategy: "smart", cache_ttl: "15m"}
  security:
    api_key_rotation: {enabled: true, rotation_period: "30d"}
    pii_detection: {enabled: true, redact_pii: true}
redis:
  cache_strategies:
    embeddings: {ttl: 900, max_memory: 4gb, eviction_policy: allkeys-lru}
    provider_health: {ttl: 30, max_entries: 100}
database:
  pool: {max_open_conns: 100, max_idle_conns: 25, conn_max_lifetime: 30m, conn_max_idle_time: 10m}
  read_replica_pool: {max_open_conns: 200, max_idle_conns: 50}
logging:
  level: info
  components: {embedding.router: debug, embedding.provider.openai: debug, embedding.circuit_breaker: debug}
backup:
  postgres: {schedule: "0 2 * * *", retention: 30, method: pg_dump, storage: "s3://backups/embeddings/"}
  redis: {schedule: "0 * * * *", retention: 7, method: bgsave, storage: "s3://backups/redis/"}
pii_detection:
  enabled: true
  patterns:
    - ssn: '\d{3}-\d{2}-\d{4}'
    - email: '[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}'
    - phone: '\+?1?\d{10,14}'
  action: redact
"#;

fn load(yaml: &str, variables: &[(&str, &str)], overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let overrides = overrides.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Config::load(&Source { file: Some(file.path()), variable: &variable, overrides })
}

#[test]
fn the_guides_blocks_load_as_printed() {
    let config = load(GUIDE, &[], &[]).unwrap();
    assert_eq!(config.database.pool.max_open_conns.get(), 100);
    // without URLs there are no replicas
    let replicas = config.database.read_replica_pool.set();
    assert!(replicas.urls.is_empty());
    assert_eq!(replicas.settings.max_open_conns.unwrap().get(), 200);
    assert_eq!(config.redis.cache_strategies.embeddings.ttl, Some(crate::Span::seconds(900)));
    assert_eq!(config.embedding.providers["openai"].rate_limit.unwrap().requests_per_minute, Some(3000));
    assert_eq!(config.logging.components.len(), 3);
}

#[test]
fn a_backup_that_cannot_be_made_is_refused() {
    for (method, storage, retention, said) in [
        ("rsync", "/b", 1, "backup.postgres.method: choose from"),
        ("pg_dump", "b", 1, "backup.postgres.storage: write s3://"),
        ("pg_basebackup", "/b", 0, "backup.postgres.retention: keep"),
    ] {
        let yaml = format!(
            "backup: {{postgres: {{schedule: '0 2 * * *', retention: {retention}, method: {method}, storage: '{storage}'}}}}"
        );
        let error = load(&yaml, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn environment_lies_over_the_file_and_overrides_over_both() {
    let yaml = "database: {host: file, port: 1}\nembedding: {providers: {openai: {api_key: '${FROM_FILE}'}}}";
    let variables = [
        ("DATABASE_HOST", "variable"),
        ("DB_PASSWORD", "p@ss"),
        ("FROM_FILE", "sk-file"),
        ("DATABASE_SSL_MODE", "require"),
    ];
    let config = load(yaml, &variables, &[("EMBERMESH__DATABASE__PORT", "5433")]).unwrap();
    let url = config.database.connection_url().unwrap();
    assert_eq!(url.reveal(), "postgresql://postgres:p%40ss@variable:5433/embeddings?sslmode=require");
    assert_eq!(config.embedding.providers["openai"].api_key.as_ref().unwrap().reveal(), "sk-file");
}

#[test]
fn replicas_are_named_by_the_file_or_the_environment() {
    let yaml = "database: {read_replica_pool: {urls: ['postgresql://u:p@a/d'], wait: 5ms, max_lag: 1m}}";
    let replicas = |variables| load(yaml, variables, &[]).unwrap().database.read_replica_pool.set();
    let set = replicas(&[]);
    assert_eq!(set.urls.len(), 1);
    assert_eq!((set.settings.wait.as_millis(), set.settings.max_lag.as_secs()), (5, 60));
    let set = replicas(&[("DATABASE_REPLICA_URLS", "postgresql://u@b/d, postgresql://u@c/d")]);
    assert_eq!(set.urls.len(), 2);
}

#[test]
fn the_dump_shows_no_secret() {
    let variables = [
        ("OPENAI_API_KEY", "sk-secret"),
        ("DATABASE_URL", "postgresql://u:pw-secret@h/d"),
        ("DATABASE_REPLICA_URLS", "postgresql://u:pw-secret@r/d"),
    ];
    let dump = load("{}", &variables, &[]).unwrap().dump();
    assert!(dump.contains("cache_ttl: 15m") && dump.contains("api_key: '***'"), "{dump}");
    assert!(!dump.contains("-secret"), "{dump}");
}

#[test]
fn a_password_of_digits_is_a_password_and_no_refusal_shows_it() {
    let config = load("{}", &[], &[("EMBERMESH__DATABASE__PASSWORD", "12345678")]).unwrap();
    assert_eq!(config.database.password.unwrap().reveal(), "12345678");
    for secret in ["1.5e3", "true", "[secret]"] {
        let refused = load("{}", &[], &[("EMBERMESH__DATABASE__PASSWORD", secret)]).unwrap_err().to_string();
        assert!(refused.contains("database.password") && !refused.contains(secret), "{refused}");
    }
}

#[test]
fn mistakes_are_named() {
    for (yaml, part) in [
        ("embeding: {}", "embeding"),
        ("embedding: {router: {cache_tll: 1m}}", "cache_tll"),
        ("database: {port: many}", "port"),
        ("embedding: {providers: {x: {kind: opnai}}}", "opnai"),
        ("embedding: {providers: {x: {api_key: '${NOPE}'}}}", "NOPE"),
        ("embedding: {router: {selection_strategy: fastest}}", "selection_strategy"),
        ("embedding: {circuit_breaker: {failure_threshold: 0}}", "circuit_breaker"),
        ("embedding: {providers: {x: {base_url: 'http://user:pw-secret@h/v1'}}}", "providers.x.base_url"),
    ] {
        let error = load(yaml, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(part), "{yaml}: {error}");
        assert!(
            !error.contains("src/") && !error.contains("default.") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn production_refuses_a_private_database() {
    let error = load("{}", &[("ENVIRONMENT", "production")], &[]).unwrap_err();
    assert!(error.to_string().contains("DATABASE_URL"), "{error}");
    assert!(load("{}", &[("ENVIRONMENT", "production"), ("DATABASE_HOST", "db")], &[]).is_ok());
}

#[test]
fn empty_variables_count_as_unset() {
    let config = load("{}", &[("DATABASE_URL", ""), ("REDIS_URL", "")], &[]).unwrap();
    assert!(config.database.connection_url().is_none() && config.redis.url.is_none());
}
