//! `embermesh-cost-ledger verify`: recomputes the books of every tenant from their journal, without a server.

use std::{io::Write, path::Path, process::ExitCode};

use embermesh_config::{Config, Source};
use embermesh_postgres::{Database, Role, Schema};
use embermesh_process::BoxError;

use crate::{
    run::settings,
    store::{MOST_DIFFERENCES, Store, Verified},
};

/// The books could not be looked at.
const CANNOT_TELL: u8 = 2;

/// Verifies the books of the database that the configuration names, and prints what does not agree. Exits with 0 when all does, 1 when
/// something does not, 2 when that cannot be told.
pub(crate) fn run(config: Option<&Path>) -> ExitCode {
    let outcome = tokio::runtime::Runtime::new().map_err(BoxError::from);
    match outcome.and_then(|runtime| runtime.block_on(verify(config, &mut std::io::stdout()))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _unwritable = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(CANNOT_TELL)
        }
    }
}

/// Whether the books of every tenant balance.
async fn verify(config: Option<&Path>, out: &mut impl Write) -> Result<bool, BoxError> {
    let config = Config::load(&Source::process(config))?;
    let (url, pool) = (config.database.for_ledger()?, settings(&config)?.pool);
    let store = Store::new(Database::connect(&url, Schema::Ledger, Role::App, &pool).await?);
    let tenants = store.tenants().await?;
    let (mut sums, mut differences) = (Verified::default(), 0);
    for tenant in &tenants {
        let of_tenant = store.verify(*tenant).await?;
        sums.attempts += of_tenant.attempts;
        sums.charges += of_tenant.charges;
        sums.balances += of_tenant.balances;
        sums.leases += of_tenant.leases;
        differences += of_tenant.differences.len();
        for one in &of_tenant.differences {
            let (what, subject) = (&one.what, &one.subject);
            writeln!(
                out,
                "{tenant}: {what} of {subject} is {}, recomputed {}",
                one.recorded, one.recomputed
            )?;
        }
        if of_tenant.differences.len() == MOST_DIFFERENCES {
            writeln!(out, "{tenant}: there may be more differences, the first {MOST_DIFFERENCES} are shown")?;
        }
    }
    let Verified { attempts, charges, balances, leases, .. } = sums;
    let tenants = tenants.len();
    writeln!(
        out,
        "{differences} differences in {attempts} attempts, {charges} charges, {balances} balances and {leases} leases of \
         {tenants} tenants"
    )?;
    Ok(differences == 0)
}
