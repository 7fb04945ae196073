//! The databases' share of `embermesh maintenance`.

use std::path::{Path, PathBuf};

use embermesh_postgres::Schema;
use embermesh_process::BoxError;

use crate::backups::place::{Place, PlaceArguments};

/// Makes partitions, rebuilds worn indexes beside the traffic, lets months go that are due, vacuums and analyzes everything; says what
/// was done.
///
/// # Errors
/// When a database cannot be reached, or the first of what failed.
pub async fn tidy(config: Option<&Path>, data_dir: Option<PathBuf>) -> Result<Vec<String>, BoxError> {
    let arguments =
        PlaceArguments { config: config.map(Path::to_owned), data_dir, ..PlaceArguments::default() };
    let mut place = Place::find(&arguments)?;
    place.attach()?;
    let config = &place.config;
    let mut lines: Vec<String> = embermesh_vector_store::maintain(config)
        .await?
        .into_iter()
        .map(|line| format!("store: {line}"))
        .collect();
    let made = embermesh_cost_ledger::make_partitions(config).await?;
    lines.push(format!("ledger: {made} partitions made"));
    for (schema, url) in
        [(Schema::Ledger, config.database.for_ledger()?), (Schema::Admin, config.database.for_admin()?)]
    {
        let tables = embermesh_postgres::tidy(&url, schema).await?;
        lines.push(format!("{schema}: {tables} tables vacuumed and analyzed"));
    }
    Ok(lines)
}
