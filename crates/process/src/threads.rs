//! What the kernel has counted for the threads of this process. Of Linux alone; elsewhere there are none.

use std::{collections::HashMap, fs, time::Duration};

/// The kernel's clock in `/proc` ticks a hundred times a second on every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// A thread, so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thread {
    pub(crate) name: String,
    /// In user and kernel mode together.
    pub(crate) cpu: Duration,
}

/// All of them, by number. One that ends meanwhile is left out.
pub(crate) fn threads() -> HashMap<u32, Thread> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return HashMap::new() };
    let read = |task: fs::DirEntry| {
        let id = task.file_name().to_str()?.parse().ok()?;
        Some((id, thread(&fs::read_to_string(task.path().join("stat")).ok()?)?))
    };
    tasks.filter_map(|task| read(task.ok()?)).collect()
}

/// Reads proc(5)'s `stat`. The name stands in parentheses and may hold some itself.
fn thread(stat: &str) -> Option<Thread> {
    let (head, fields) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // utime and stime are fields 14 and 15, the first here is 3
    let mut ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().ok());
    let cpu = TICK * ticks.next()??.checked_add(ticks.next()??)?;
    Some(Thread { name: name.to_owned(), cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_name_and_times_are_read_whatever_the_name() {
        let stat = "4242 (a (b) c) S 1 4242 4242 0 -1 4194304 500 0 0 0 120 30 0 0 20 0 9 0 100 0 0";
        let expected = Thread { name: "a (b) c".to_owned(), cpu: Duration::from_millis(1500) };
        assert_eq!(thread(stat), Some(expected));
        assert_eq!((thread("1 (cut"), thread("1 (cut) S 1"), thread("")), (None, None, None));
    }

    #[test]
    fn this_process_has_threads() {
        assert!(cfg!(not(target_os = "linux")) || !threads().is_empty());
    }
}
