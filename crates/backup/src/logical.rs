//! `pg_dump` and back: the state of one moment, for any later PostgreSQL. Restoring it builds every index anew.

use std::{collections::BTreeMap, path::Path, time::Duration};

use embermesh_postgres::{Database as Pool, DbError, PoolConfig, Role, Schema, prepare_for_restore};
use embermesh_private_postgres::Programs;
use secrecy::SecretString;

use crate::{
    BackupError, Storage,
    error::file,
    manifest::{Database, Kind, Manifest, Server},
    programs::{Login, run},
    taking::{Extra, Taking},
};

/// Memory for the indexes that a restore builds.
const OPTIONS: &str = "-c maintenance_work_mem=512MB -c statement_timeout=0";

/// Dumps each of the databases. Each is of one moment; of several, each of its own.
///
/// # Errors
/// When `pg_dump` fails or the storage does: then nothing counts as a backup.
pub async fn take(
    storage: &Storage,
    programs: &Programs,
    urls: &[SecretString],
    extras: &[Extra],
) -> Result<Manifest, BackupError> {
    let mut taking = Taking::begin(storage, Kind::Logical);
    let staging = storage.staging()?;
    let (mut servers, mut databases) = (Vec::new(), Vec::new());
    for (at, url) in urls.iter().enumerate() {
        let login = Login::of(url)?;
        servers.push(server(url, &login).await?);
        let name = if at == 0 {
            format!("{}.dump", login.database)
        } else {
            format!("{}-{at}.dump", login.database)
        };
        let path = staging.path().join(at.to_string());
        let mut command = programs.command("pg_dump");
        command.args(["--format=custom", "--no-password", "--lock-wait-timeout=60000"]);
        command.arg("--file").arg(&path).arg("--dbname").arg(&login.url);
        login.admit(&mut command);
        run(command).await?;
        // what cannot be listed cannot be restored
        contents(programs, &path).await?;
        databases.push(database(url, &login.database).await?);
        taking.add(&name, &path).await?;
    }
    taking.add_extras(extras).await?;
    taking.finish(servers.into_iter().next(), databases).await
}

/// Fills an empty database with a dump, all of it or nothing.
///
/// # Errors
/// [`BackupError::InTheWay`] when there is something in it.
pub async fn restore(programs: &Programs, dump: &Path, url: &SecretString) -> Result<(), BackupError> {
    let login = Login::of(url)?;
    let found = database(url, &login.database).await?.schemas;
    if !found.is_empty() {
        let schemas: Vec<String> = found.into_keys().collect();
        let (name, schemas) = (&login.database, schemas.join(", "));
        return Err(BackupError::InTheWay(format!(
            "the database {name} has {schemas} already, name an empty one"
        )));
    }
    // default privileges are those of the user who made the tables; ours are set afterwards, for whoever restores
    let all = contents(programs, dump).await?;
    let list: Vec<&str> = all.lines().filter(|line| !line.contains(" DEFAULT ACL ")).collect();
    let chosen = dump.with_extension("list");
    std::fs::write(&chosen, list.join("\n")).map_err(file(&chosen))?;
    prepare_for_restore(url, &[]).await?;
    let mut command = programs.command("pg_restore");
    command.args(["--exit-on-error", "--single-transaction", "--no-owner", "--no-comments", "--no-password"]);
    command.arg("--use-list").arg(&chosen).arg("--dbname").arg(&login.url).arg(dump);
    command.env("PGOPTIONS", OPTIONS);
    login.admit(&mut command);
    run(command).await?;
    let restored = database(url, &login.database).await?.schemas;
    let schemas = [Schema::Admin, Schema::Ledger, Schema::Store].into_iter();
    let schemas: Vec<Schema> = schemas.filter(|schema| restored.contains_key(schema.name())).collect();
    prepare_for_restore(url, &schemas).await?;
    owner(url).await?.system().batch_execute("ANALYZE").await?;
    Ok(())
}

async fn contents(programs: &Programs, dump: &Path) -> Result<String, BackupError> {
    let mut command = programs.command("pg_restore");
    command.arg("--list").arg(dump);
    run(command).await
}

/// What a database holds of Embermesh.
pub(crate) async fn database(url: &SecretString, name: &str) -> Result<Database, BackupError> {
    let pool = owner(url).await?;
    let mut schemas = BTreeMap::new();
    for schema in [Schema::Admin, Schema::Ledger, Schema::Store] {
        let there = "SELECT to_regclass($1) IS NOT NULL";
        let history = format!("{schema}.schema_history");
        let row = pool.system().query_one(there, &[&history]).await?;
        if !row.try_get::<_, bool>(0).map_err(DbError::from)? {
            continue;
        }
        let version = format!("SELECT coalesce(max(version), 0)::integer FROM {history}");
        let row = pool.system().query_one(&version, &[]).await?;
        schemas.insert(schema.name().to_owned(), row.try_get(0).map_err(DbError::from)?);
    }
    Ok(Database { name: name.to_owned(), schemas })
}

/// Which PostgreSQL it is, and how far.
pub(crate) async fn server(url: &SecretString, login: &Login) -> Result<Server, BackupError> {
    let sql = "SELECT current_setting('server_version'), system_identifier::text, timeline_id,
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
            pg_size_bytes(current_setting('wal_segment_size'))
        FROM pg_control_system(), pg_control_checkpoint()";
    let row = owner(url).await?.system().query_one(sql, &[]).await?;
    let read = || {
        let (timeline, segment): (i32, i64) = (row.try_get(2)?, row.try_get(4)?);
        Ok::<_, DbError>(Server {
            version: row.try_get(0)?,
            system_identifier: row.try_get(1)?,
            timeline: u32::try_from(timeline).unwrap_or_default(),
            lsn: row.try_get(3)?,
            segment_bytes: u64::try_from(segment).unwrap_or_default(),
            user: login.user.clone(),
            wal_from: None,
        })
    };
    Ok(read()?)
}

/// As who owns the tables, and without a limit of time.
pub(crate) async fn owner(url: &SecretString) -> Result<Pool, BackupError> {
    let limits = PoolConfig { statement_timeout: Duration::ZERO, ..PoolConfig::default() };
    Ok(Pool::connect(url, Schema::Store, Role::Owner, &limits).await?)
}
