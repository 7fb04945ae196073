//! CPU time of another process, to the nanosecond, and which core it runs on.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time of a process and of everything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// User and system time of all its threads, ended ones included.
    pub process: Duration,
    /// The same of each descendant.
    children: HashMap<i32, Duration>,
}

impl CpuTimes {
    /// Reads the clocks now.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of(pid: i32) -> io::Result<Self> {
        let children = descendants(pid)?.into_iter().filter_map(|child| Some((child, clock(child).ok()?)));
        Ok(Self { process: clock(pid)?, children: children.collect() })
    }

    /// Time spent by the descendants since `earlier`; one that ended in between is not counted.
    #[must_use]
    pub fn children_since(&self, earlier: &Self) -> Duration {
        let since = |(pid, now): (&i32, &Duration)| {
            now.saturating_sub(earlier.children.get(pid).copied().unwrap_or_default())
        };
        self.children.iter().map(since).sum()
    }
}

/// The process's CPU clock. It counts nanoseconds, where `/proc/<pid>/stat` counts ticks of 10 ms.
fn clock(pid: i32) -> io::Result<Duration> {
    Ok(clock_gettime(clock_getcpuclockid(Pid::from_raw(pid))?)?.into())
}

fn descendants(root: i32) -> io::Result<Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // the name in parentheses may hold anything; the parent is the second field behind it
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut at = 0;
    while at < found.len() {
        found.extend(children.remove(&found[at]).unwrap_or_default());
        at += 1;
    }
    Ok(found)
}

/// Whether there is a `taskset` and more than one core, so that driver and target can be kept apart.
#[must_use]
pub fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores > 1 && Command::new("taskset").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Keeps all threads of a running process on one core.
///
/// # Errors
/// When `taskset` is missing or refuses.
pub fn pin(pid: i32, core: usize) -> io::Result<()> {
    let output =
        Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &pid.to_string()]).output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The same of everything below a process, and of what that starts from now on.
///
/// # Errors
/// When `taskset` is missing or refuses.
pub fn pin_children(pid: i32, core: usize) -> io::Result<()> {
    for child in descendants(pid)? {
        match pin(child, core) {
            // one that has ended since needs no core
            Err(_) if clock(child).is_err() => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::os::unix::process::CommandExt;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn the_clock_counts_our_own_work() {
        let me = i32::try_from(std::process::id()).unwrap();
        let before = CpuTimes::of(me).unwrap();
        let sum = (0..20_000_000_u64).fold(0, |sum, n| black_box(sum ^ n));
        assert_ne!(black_box(sum), 1);
        assert!(CpuTimes::of(me).unwrap().process > before.process + Duration::from_millis(1));
    }

    #[test]
    fn children_are_counted_apart() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'while true; do :; done' & echo up; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let before = CpuTimes::of(pid).unwrap();
        let spent = std::iter::repeat_with(|| {
            std::thread::sleep(Duration::from_millis(20));
            CpuTimes::of(pid).unwrap().children_since(&before)
        })
        .find(|spent| *spent > Duration::from_millis(50));
        let own = CpuTimes::of(pid).unwrap().process;
        nix::sys::signal::killpg(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        shell.wait().unwrap();
        assert!(spent.is_some_and(|spent| spent > own));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut short = Command::new("true").spawn().unwrap();
        short.wait().unwrap();
        assert!(CpuTimes::of(i32::try_from(short.id()).unwrap()).is_err());
    }
}
