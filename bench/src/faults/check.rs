//! Whether everything agrees: asked again and again while journals are posted and lost calls are presumed, until it does or time is up.

use std::time::{Duration, Instant};

use embermesh_testing::sim::Simulator;
use reqwest::Method;

use super::{
    FaultError,
    acknowledged::{UNBOOKED, compare},
    books::{Books, PHANTOM, UNCLOSED},
    findings::Findings,
    reconcile::{Called, MISSING, OPEN, Sums, reconcile},
    request::{Answered, Client},
};

/// Heartbeats of a lost router are missed for 40 s, and the ledger sweeps every 30 s; what is open or set aside after that, stays.
const PATIENCE: Duration = Duration::from_secs(100);
const POLL: Duration = Duration::from_millis(500);
/// What may be true for a while after the load has ended. Waiting for its end leaves only what is wrong to be told.
const PASSING: [&str; 5] = [MISSING, OPEN, UNBOOKED, PHANTOM, UNCLOSED];
/// The provider's log has forgotten calls, so that nothing follows from it.
pub const FORGOTTEN: &str = "gaps in the provider's log";
/// Printed by the ledger itself.
pub const UNVERIFIED: &str = "differences that the ledger's own verification found";

/// What providers and clients saw in a stretch of time without requests at its ends.
#[derive(Debug, Default)]
pub struct Stretch {
    /// When it began, by PostgreSQL's clock.
    pub since: String,
    /// The provider's log.
    pub calls: Vec<Called>,
    /// What clients were told.
    pub answered: Vec<Answered>,
}

/// Everything agreed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreed {
    /// Of calls and attempts.
    pub sums: Sums,
    /// Answers from a cache that have no charge of nothing.
    pub unbooked_hits: usize,
    /// How long it took to agree.
    pub took: Duration,
}

/// The outcome of a check, as against a failure to carry it out.
pub type Outcome = Result<Agreed, Findings>;

/// Takes the provider's log of a stretch whose load has ended, and waits until the books agree with it.
///
/// # Errors
/// When PostgreSQL or a gateway does not answer.
pub async fn settle(
    books: &Books,
    admin: &Client,
    simulator: &Simulator,
    stretch: &mut Stretch,
    first_call: &mut u64,
) -> Result<Outcome, FaultError> {
    let began = Instant::now();
    loop {
        // a call may still be under way whose client has gone
        let log = simulator.calls();
        for (call, id) in log.iter().zip(*first_call..) {
            if call.id != id {
                let mut findings = Findings::default();
                findings.note(FORGOTTEN, format_args!("call {} where {id} was expected", call.id));
                return Ok(Err(findings));
            }
        }
        stretch.calls = log.iter().map(Called::from).collect();
        match compare_all(books, admin, stretch).await? {
            Err(findings) if began.elapsed() < PATIENCE && findings.has_any(&PASSING) => {
                tokio::time::sleep(POLL).await;
            }
            Err(findings) => return Ok(Err(findings)),
            Ok(agreed) => {
                *first_call += log.len() as u64;
                simulator.clear_calls();
                return Ok(Ok(Agreed { took: began.elapsed(), ..agreed }));
            }
        }
    }
}

/// Compares once.
///
/// # Errors
/// When PostgreSQL or a gateway does not answer.
pub async fn compare_all(books: &Books, admin: &Client, stretch: &Stretch) -> Result<Outcome, FaultError> {
    let attempts = books.attempts(&stretch.since).await?;
    let (sums, mut findings) = reconcile(&stretch.calls, &attempts);
    let (unbooked_hits, unbooked) = compare(&stretch.answered, &books.charges(&stretch.since).await?);
    findings.add(unbooked);
    findings.add(books.unbalanced().await?);
    if findings.is_empty() {
        findings.add(verify(admin).await?);
    }
    let agreed = Agreed { sums, unbooked_hits, took: Duration::ZERO };
    Ok(if findings.is_empty() { Ok(agreed) } else { Err(findings) })
}

/// The ledger's own recomputation, by each replica.
async fn verify(admin: &Client) -> Result<Findings, FaultError> {
    let mut findings = Findings::default();
    for gateway in 0..admin.gateways() {
        let path = "/api/v1/reports/costs/verify";
        let (status, answer) = admin.send(Method::POST, gateway, path, Some("{}".to_owned())).await?;
        match answer["differences"].as_array() {
            Some(differences) if status == 200 => {
                for difference in differences {
                    findings.note(UNVERIFIED, difference);
                }
            }
            // none is left out of JSON, or the verification failed
            _ if status == 200 && answer["attempts"].is_number() => {}
            _ => return Err(format!("the books cannot be verified: {status} {answer}").into()),
        }
    }
    Ok(findings)
}
