//! `embermesh-cost-ledger verify`: recomputes the books of every tenant from their journal, without a server.

use std::{io::Write, path::Path, process::ExitCode};

use embermesh_config::{Config, Source};
use embermesh_process::BoxError;

use crate::{
    recovery,
    store::{MOST_DIFFERENCES, Verified},
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
    let books = books(&config).await?;
    for line in &books.differences {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{}", books.summary)?;
    Ok(books.balanced)
}

/// The books of all tenants, recomputed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Books {
    /// Everything agrees.
    pub balanced: bool,
    /// A line for each figure that does not.
    pub differences: Vec<String>,
    /// What was looked at, in one line.
    pub summary: String,
}

/// Recomputes the books that the configuration names, which is only read.
///
/// # Errors
/// When the database cannot be reached.
pub async fn books(config: &Config) -> Result<Books, BoxError> {
    let store = recovery::store(config).await?;
    let tenants = store.tenants().await?;
    let (mut sums, mut differences, mut lines) = (Verified::default(), 0, Vec::new());
    for tenant in &tenants {
        let of_tenant = store.verify(*tenant).await?;
        sums.attempts += of_tenant.attempts;
        sums.charges += of_tenant.charges;
        sums.balances += of_tenant.balances;
        sums.leases += of_tenant.leases;
        differences += of_tenant.differences.len();
        for one in &of_tenant.differences {
            let (what, subject) = (&one.what, &one.subject);
            lines.push(format!(
                "{tenant}: {what} of {subject} is {}, recomputed {}",
                one.recorded, one.recomputed
            ));
        }
        if of_tenant.differences.len() == MOST_DIFFERENCES {
            lines.push(format!(
                "{tenant}: there may be more differences, the first {MOST_DIFFERENCES} are shown"
            ));
        }
    }
    let Verified { attempts, charges, balances, leases, .. } = sums;
    let tenants = tenants.len();
    let summary = format!(
        "{differences} differences in {attempts} attempts, {charges} charges, {balances} balances and {leases} leases of \
         {tenants} tenants"
    );
    Ok(Books { balanced: differences == 0, differences: lines, summary })
}
