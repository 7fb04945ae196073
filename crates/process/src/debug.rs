//! What this process is busy with, as operators ask for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use embermesh_auth::Scope;
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::{RunningTask as Running, Tasks};
use embermesh_proto::v1::{
    CpuProfile, DumpTasksRequest, ProfileCpuRequest, RunningTask, TaskCpu, TaskDump, ThreadCpu,
    debug_server::Debug,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};

use crate::threads::{Thread, threads};

/// Tasks that are listed.
const LISTED: usize = 1_000;
const DEFAULT_SECONDS: u32 = 5;
/// A gateway gives a request up after a minute.
const MOST_SECONDS: u32 = 30;

/// Answers for this process, whichever service is asked for: whoever has several in one process has them all here.
#[derive(Debug, Clone)]
pub struct DebugHandler {
    tasks: Tasks,
}

impl DebugHandler {
    /// For a process whose tasks these are.
    pub const fn new(tasks: Tasks) -> Self {
        Self { tasks }
    }
}

fn admit<T>(request: &Request<T>) -> Result<(), Error> {
    if CallContext::of(request)?.principal.may(Scope::Admin) {
        return Ok(());
    }
    Err(Error::new(Code::Forbidden, "the key needs the scope admin"))
}

#[tonic::async_trait]
impl Debug for DebugHandler {
    async fn dump_tasks(&self, request: Request<DumpTasksRequest>) -> Result<Response<TaskDump>, Status> {
        admit(&request)?;
        let service = request.into_inner().service.unwrap_or_default();
        let running = self.tasks.running();
        let tasks = running.iter().take(LISTED).map(running_task).collect();
        Ok(Response::new(TaskDump { service, count: running.len() as u64, tasks }))
    }

    async fn profile_cpu(&self, request: Request<ProfileCpuRequest>) -> Result<Response<CpuProfile>, Status> {
        admit(&request)?;
        let ProfileCpuRequest { service, seconds } = request.into_inner();
        let seconds = seconds.unwrap_or(DEFAULT_SECONDS);
        if !(1..=MOST_SECONDS).contains(&seconds) {
            return Err(Error::invalid("seconds", format!("expected 1 to {MOST_SECONDS}")).into());
        }
        let (began, tasks_before, threads_before) = (Instant::now(), self.tasks.totals(), look().await?);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds.into())) => {}
            () = self.tasks.stopping() => {}
        }
        let (took, tasks_after, threads_after) = (began.elapsed(), self.tasks.totals(), look().await?);
        let mut tasks: Vec<TaskCpu> = tasks_after
            .iter()
            .map(|(name, after)| {
                let before = tasks_before.get(name).copied().unwrap_or_default();
                TaskCpu {
                    name: (*name).to_owned(),
                    started: after.started.saturating_sub(before.started),
                    polls: after.polls.saturating_sub(before.polls),
                    busy_ms: millis(after.busy.saturating_sub(before.busy)),
                }
            })
            .filter(|task| task.polls > 0)
            .collect();
        tasks.sort_by_key(|task| (Reverse(task.busy_ms), Reverse(task.polls)));
        let threads = spent(&threads_before, threads_after);
        Ok(Response::new(CpuProfile {
            service: service.unwrap_or_default(),
            took_ms: millis(took),
            cpu_ms: threads.iter().map(|thread| thread.cpu_ms).sum(),
            threads,
            tasks,
        }))
    }
}

async fn look() -> Result<HashMap<u32, Thread>, Error> {
    tokio::task::spawn_blocking(threads)
        .await
        .map_err(|_| Error::internal("the look at the threads was cut off"))
}

/// Threads of one name together.
fn spent(before: &HashMap<u32, Thread>, after: HashMap<u32, Thread>) -> Vec<ThreadCpu> {
    let mut by_name: BTreeMap<String, Duration> = BTreeMap::new();
    for (id, thread) in after {
        let earlier = before.get(&id).filter(|earlier| earlier.name == thread.name);
        let spent = thread.cpu.saturating_sub(earlier.map(|earlier| earlier.cpu).unwrap_or_default());
        *by_name.entry(thread.name).or_default() += spent;
    }
    let threads = by_name.into_iter().map(|(name, cpu)| ThreadCpu { name, cpu_ms: millis(cpu) });
    let mut threads: Vec<ThreadCpu> = threads.filter(|thread| thread.cpu_ms > 0).collect();
    threads.sort_by_key(|thread| Reverse(thread.cpu_ms));
    threads
}

fn running_task(task: &Running) -> RunningTask {
    RunningTask {
        name: task.name.to_owned(),
        age_ms: millis(task.age),
        polls: task.polls,
        busy_ms: millis(task.busy),
        polled_for_ms: task.polled_for.map(millis),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_of_a_name_took_is_added_up_and_a_number_used_again_is_another_thread() {
        let thread = |name: &str, ms| Thread { name: name.to_owned(), cpu: Duration::from_millis(ms) };
        let before =
            HashMap::from([(1, thread("worker", 100)), (2, thread("worker", 50)), (3, thread("gone", 9))]);
        let after = HashMap::from([
            (1, thread("worker", 130)),
            (2, thread("worker", 70)),
            (3, thread("new", 40)),
            (4, thread("idle", 0)),
        ]);
        let spent: Vec<_> = spent(&before, after).into_iter().map(|one| (one.name, one.cpu_ms)).collect();
        assert_eq!(spent, [("worker".to_owned(), 50), ("new".to_owned(), 40)]);
    }
}
