//! The run: stretches of rounds under load, each followed by a check of the books, and one of everything at the end.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use embermesh_testing::sim::{Fault, Latency, Simulator};
use tempfile::TempDir;

use super::{
    FaultError,
    books::Books,
    check::{Stretch, compare_all, settle},
    findings::Findings,
    fleet::Fleet,
    limited,
    load::{Load, Pressure},
    plan,
    request::Client,
    sampler::Sampler,
    summary::Summary,
};
use crate::rounds::{bar::Bar, system::deployments};

/// Agents without a limit, beside those of [`limited`].
const UNLIMITED: usize = 4;
/// Of calls that the provider refuses, and of those that it reads and resets.
const REFUSED: f64 = 0.02;
const CUT_OFF: f64 = 0.01;

/// What to do.
#[derive(Clone, Debug)]
pub struct Task {
    /// Folder of the binaries under test.
    pub bin: PathBuf,
    /// How many rounds.
    pub rounds: u32,
    /// What the rounds follow from.
    pub seed: u64,
    /// The books are checked after so many rounds.
    pub check_every: u32,
    /// How much is asked.
    pub pressure: Pressure,
}

/// Runs it; the table. What does not agree ends the run, is printed with its round, and the system's folder is kept.
///
/// # Errors
/// When the system does not start, or somebody does not come back.
pub async fn run(task: &Task) -> Result<Vec<Bar>, FaultError> {
    let folder = tempfile::Builder::new().prefix("embermesh-faults-").tempdir()?;
    let simulator = deployments(&["a-one", "b-two"]).await?;
    for deployment in simulator.deployments() {
        deployment.set_latency(Some(Latency::Uniform { min_ms: 1.0, max_ms: 25.0 }));
        deployment.inject([Fault::status(500).at_rate(REFUSED), Fault::ResetAfterRead.at_rate(CUT_OFF)]);
    }
    let fleet = match Fleet::start(&task.bin, folder.path(), simulator.deployments()).await {
        Ok(fleet) => fleet,
        Err(error) => return Err(keep(folder, &error)),
    };
    let mut run =
        Run { task, fleet, simulator, summary: Summary::default(), whole: Vec::new(), first_call: 0 };
    match run.all().await {
        Ok(()) if run.summary.findings.is_empty() => {}
        Ok(()) => {
            eprintln!("bench-faults: {}", keep(folder, &"the books do not agree"));
            return Ok(run.summary.bars());
        }
        Err(error) => return Err(keep(folder, &error)),
    }
    let bars = run.summary.bars();
    run.fleet.stop().await?;
    Ok(bars)
}

struct Run<'a> {
    task: &'a Task,
    fleet: Fleet,
    simulator: Simulator,
    summary: Summary,
    whole: Vec<Stretch>,
    first_call: u64,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), FaultError> {
        limited::make_wide(&Client::new(&self.fleet.urls(), self.fleet.admin_key())?).await?;
        let mut from = 0;
        while from < self.task.rounds {
            let to = from.saturating_add(self.task.check_every.max(1)).min(self.task.rounds);
            self.stretch(from, to).await?;
            eprintln!("bench-faults: {}", self.summary.line());
            if !self.summary.findings.is_empty() {
                return Ok(());
            }
            from = to;
        }
        self.everything().await
    }

    /// Rounds under load, and a check.
    async fn stretch(&mut self, from: u32, to: u32) -> Result<(), FaultError> {
        let (seed, name) = (self.task.seed, from.to_string());
        let admin = Client::new(&self.fleet.urls(), self.fleet.admin_key())?;
        let since = Books::open(self.fleet.database_url()).await?.now().await?;
        let limits = limited::make(&admin, &name).await?;
        let mut agents: Vec<String> = (0..UNLIMITED).map(|n| format!("free-{n}")).collect();
        agents.extend(limits.keys().cloned());
        let sampler = Sampler::start(self.fleet.database_url(), limits.clone());
        let client = Client::new(&self.fleet.urls(), self.fleet.agent_key())?;
        let load = Load::start(&client, agents, self.task.pressure, seed ^ u64::from(from), &name);
        for number in from..to {
            let round = plan::round(seed, number);
            let returned = self.fleet.suffer(&round).await;
            let returned = returned.map_err(|error| format!("round {number} ({round}): {error}"))?;
            self.summary.round(&returned);
        }
        let tally = load.stop().await?;
        self.summary.told(&tally);
        let mut stretch = Stretch { since, calls: Vec::new(), answered: tally.answered };
        let books = Books::open(self.fleet.database_url()).await?;
        let outcome = settle(&books, &admin, &self.simulator, &mut stretch, &mut self.first_call).await?;
        let mut seen = sampler.stop().await?;
        let mut wrong = std::mem::take(&mut seen.findings);
        self.summary.watched(&seen, |agent| limits.get(agent).map(|limit| limit.0));
        match outcome {
            Ok(agreed) => self.summary.agreed(&agreed),
            Err(findings) => wrong.add(findings),
        }
        if !wrong.is_empty() {
            self.disagree(from, to, wrong);
        }
        self.whole.push(stretch);
        Ok(())
    }

    /// All stretches as one: what agreed once may not have changed since.
    async fn everything(&mut self) -> Result<(), FaultError> {
        let mut all = Stretch::default();
        for stretch in std::mem::take(&mut self.whole) {
            if all.since.is_empty() {
                all.since = stretch.since;
            }
            all.calls.extend(stretch.calls);
            all.answered.extend(stretch.answered);
        }
        let admin = Client::new(&self.fleet.urls(), self.fleet.admin_key())?;
        let books = Books::open(self.fleet.database_url()).await?;
        if let Err(findings) = compare_all(&books, &admin, &all).await? {
            self.disagree(0, self.task.rounds, findings);
        }
        self.summary.ways = books.ways().await?;
        Ok(())
    }

    fn disagree(&mut self, from: u32, to: u32, findings: Findings) {
        eprintln!(
            "bench-faults: seed {}, rounds {from} to {}:\n{findings}",
            self.task.seed,
            to.saturating_sub(1)
        );
        for number in from..to {
            eprintln!("    round {number}: {}", plan::round(self.task.seed, number));
        }
        self.summary.findings.add(findings);
    }
}

fn keep(folder: TempDir, why: &dyn std::fmt::Display) -> FaultError {
    let folder: &Path = &folder.keep();
    format!("{why}\nlogs and data are kept in {}", folder.display()).into()
}

/// Clients enough to have several requests under way at every moment, and pauses that leave the machine room to restart processes.
#[must_use]
pub const fn pressure(clients: u64) -> Pressure {
    Pressure { clients, pause: Duration::from_millis(120) }
}
