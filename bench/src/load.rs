//! The loops of the connections: closed, where each sends its next request when it has its answer, or paced, where it also waits for
//! its turn.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::client::{ClientError, Connection};
use crate::cpu::CpuTimes;
use crate::verify::{BadAnswer, verify};
use crate::workload::{Case, Endpoint, Ids, Request};

/// Different requests in a case of hits.
const HIT_REQUESTS: usize = 16;

/// Why a round gave no figures.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No usable answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer that is not a 200.
    #[error("{case}: status {status} instead of 200: {body}")]
    Status {
        /// The case's name.
        case: String,
        /// What came.
        status: u16,
        /// The beginning of its body.
        body: String,
    },
    /// A 200 that holds no right answer.
    #[error("{case}: {source}")]
    Answer {
        /// The case's name.
        case: String,
        /// What is wrong with it.
        source: BadAnswer,
    },
    /// The target's CPU clock.
    #[error("cannot read the target's CPU time: {0}; is its process still there?")]
    Cpu(io::Error),
    /// A connection's task panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
}

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Connections that are always busy, unless they are paced.
    pub connections: usize,
    /// Requests per second of all connections together; as many as they can without it.
    pub rate: Option<u32>,
    /// Before anything is counted.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

impl Pace {
    /// When the connection of this index sends, if it is paced: the connections take turns.
    fn turns(&self, index: usize) -> Option<Interval> {
        let each = Duration::from_secs_f64(self.connections as f64 / f64::from(self.rate?.max(1)));
        let first = Instant::now() + each.mul_f64(index as f64 / self.connections.max(1) as f64);
        let mut turns = interval_at(first.into(), each);
        turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Some(turns)
    }
}

/// What one round measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Answers counted.
    pub requests: usize,
    /// Answers per second.
    pub per_second: f64,
    /// Median from sending to the last byte of the answer, in µs.
    pub p50_us: f64,
    /// 99th percentile of the same.
    pub p99_us: f64,
    /// CPU time of the target's process per answer, in µs.
    pub cpu_us: f64,
    /// CPU time of its child processes per answer, in µs.
    pub children_cpu_us: f64,
    /// CPU time of the target's process over wall time: 1 is a full core.
    pub busy: f64,
}

/// The requests of one case for one target.
#[derive(Debug)]
pub struct Plan {
    case: Case,
    endpoint: Endpoint,
    ids: Arc<Ids>,
    hits: Vec<Request>,
}

impl Plan {
    /// Makes the requests, sends each once and checks a first and a repeated answer; hits are in the target's cache from then on.
    ///
    /// # Errors
    /// When an answer is wrong.
    pub async fn prepare(case: Case, endpoint: Endpoint, ids: Arc<Ids>) -> Result<Self, LoadError> {
        let hits: Vec<Request> = (0..HIT_REQUESTS).map(|_| Request::new(&endpoint, case, &ids)).collect();
        let plan = Self { case, endpoint, ids, hits };
        let mut connection = Connection::open(&plan.endpoint.authority).await?;
        // the first one is sent again at the end, so that a true hit is among those checked
        for (sent, request) in plan.hits.iter().chain(plan.hits.first()).enumerate() {
            exchange(&mut connection, case, request).await?;
            if sent % HIT_REQUESTS == 0 {
                check(&connection, case)?;
            }
        }
        Ok(plan)
    }

    /// Runs the loop once and measures.
    ///
    /// # Errors
    /// When any answer is not a 200, or the target goes away.
    pub async fn measure(&self, pace: Pace, pid: i32) -> Result<Sample, LoadError> {
        let begin = Instant::now() + pace.warm_up;
        let end = begin + pace.measured;
        let mut loops = JoinSet::new();
        for index in 0..pace.connections {
            let requests = if self.case.hit {
                self.hits.iter().cycle().skip(index).take(HIT_REQUESTS).cloned().collect()
            } else {
                vec![Request::new(&self.endpoint, self.case, &self.ids)]
            };
            let connection = Connection::open(&self.endpoint.authority).await?;
            let turns = pace.turns(index);
            loops.spawn(load(connection, self.case, requests, Arc::clone(&self.ids), begin, end, turns));
        }
        tokio::time::sleep_until(begin.into()).await;
        let (started, cpu_started) = (Instant::now(), CpuTimes::of(pid).map_err(LoadError::Cpu)?);
        tokio::time::sleep_until(end.into()).await;
        let (wall, cpu_ended) = (started.elapsed(), CpuTimes::of(pid).map_err(LoadError::Cpu)?);

        let mut latencies = Vec::new();
        while let Some(finished) = loops.join_next().await {
            latencies.extend(finished??);
        }
        let own = cpu_ended.process.saturating_sub(cpu_started.process);
        Ok(sample(latencies, wall, own, cpu_ended.children_since(&cpu_started)))
    }
}

fn check(connection: &Connection, case: Case) -> Result<(), LoadError> {
    verify(connection.body(), case).map_err(|source| LoadError::Answer { case: case.name(), source })
}

async fn exchange(connection: &mut Connection, case: Case, request: &Request) -> Result<(), LoadError> {
    match connection.exchange(request.bytes()).await? {
        200 => Ok(()),
        status => {
            let body = connection.body();
            let body = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
            Err(LoadError::Status { case: case.name(), status, body })
        }
    }
}

/// Latencies of the answers that came between `begin` and `end`; the one after `end` is checked in full.
async fn load(
    mut connection: Connection,
    case: Case,
    mut requests: Vec<Request>,
    ids: Arc<Ids>,
    begin: Instant,
    end: Instant,
    mut turns: Option<Interval>,
) -> Result<Vec<Duration>, LoadError> {
    let mut latencies = Vec::with_capacity(1 << 14);
    loop {
        for request in &mut requests {
            if let Some(turns) = &mut turns {
                turns.tick().await;
            }
            if !case.hit {
                request.renew(&ids);
            }
            let sent = Instant::now();
            exchange(&mut connection, case, request).await?;
            let now = Instant::now();
            if now >= end {
                check(&connection, case)?;
                return Ok(latencies);
            }
            if now >= begin {
                latencies.push(now - sent);
            }
        }
    }
}

fn sample(mut latencies: Vec<Duration>, wall: Duration, own: Duration, children: Duration) -> Sample {
    latencies.sort_unstable();
    let requests = latencies.len();
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / requests.max(1) as f64;
    let percentile = |share: f64| {
        let rank = (requests as f64 * share).ceil() as usize;
        latencies.get(rank.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    };
    Sample {
        requests,
        per_second: requests as f64 / wall.as_secs_f64(),
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
        cpu_us: each(own),
        children_cpu_us: each(children),
        busy: own.as_secs_f64() / wall.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_from_latencies_and_clocks() {
        let latencies = (1..=200).rev().map(Duration::from_micros).collect();
        let figures =
            sample(latencies, Duration::from_millis(10), Duration::from_millis(8), Duration::from_millis(2));
        assert_eq!(figures.requests, 200);
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
        assert!(near(figures.per_second, 20_000.0), "{figures:?}");
        assert!(near(figures.p50_us, 100.0) && near(figures.p99_us, 198.0), "{figures:?}");
        assert!(near(figures.cpu_us, 40.0) && near(figures.children_cpu_us, 10.0), "{figures:?}");
        assert!(near(figures.busy, 0.8), "{figures:?}");
    }
}
