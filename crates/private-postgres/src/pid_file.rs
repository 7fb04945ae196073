//! Reads `postmaster.pid`, by which a running server is found again.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, test_kill_process};

/// What a server wrote about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: Pid,
    pub(crate) port: Option<u16>,
    /// The first TCP address it listens on, if any.
    pub(crate) listens_on: Option<String>,
}

impl PidFile {
    /// `None` where there is no server, or where what the file says cannot be of this cluster.
    pub(crate) fn read(path: &Path, cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?, cluster)
    }

    fn parse(text: &str, cluster: &Path) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let pid = Pid::from_raw(lines.next()?.parse().ok()?)?;
        if Path::new(lines.next()?) != cluster {
            return None;
        }
        let _started = lines.next();
        let port = lines.next().and_then(|port| port.parse().ok());
        let _socket_dir = lines.next();
        let listens_on = lines.next().filter(|address| !address.is_empty()).map(str::to_owned);
        Some(Self { pid, port, listens_on })
    }

    /// Whether that process lives and is a server of this cluster, not a stranger who got the number later.
    pub(crate) fn is_alive(&self, cluster: &Path) -> bool {
        if test_kill_process(self.pid).is_err() {
            return false;
        }
        let Ok(command_line) = fs::read(format!("/proc/{}/cmdline", self.pid.as_raw_nonzero())) else {
            // no /proc on this system: believe the file, as PostgreSQL does
            return !Path::new("/proc/self").exists();
        };
        // a zombie has an empty command line
        command_line
            .split(|byte| *byte == 0)
            .any(|argument| argument == cluster.as_os_str().as_encoded_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "/srv/em/data";

    #[test]
    fn reads_a_servers_file_complete_or_half_written() {
        let complete =
            "4711\n/srv/em/data\n1764000000\n5433\n/srv/em/run\n127.0.0.1\n  1234  5678\nready   \n";
        let file = PidFile::parse(complete, Path::new(CLUSTER)).unwrap();
        assert_eq!((file.port, file.listens_on.as_deref()), (Some(5433), Some("127.0.0.1")));
        let local_only =
            PidFile::parse("4711\n/srv/em/data\n1\n5432\n/srv/em/run\n\n", Path::new(CLUSTER)).unwrap();
        assert_eq!(local_only.listens_on, None);
        let starting = PidFile::parse("4711\n/srv/em/data\n", Path::new(CLUSTER)).unwrap();
        assert_eq!(starting.port, None);
    }

    #[test]
    fn ignores_what_is_not_of_this_cluster() {
        for text in ["", "\n", "x\n/srv/em/data\n", "0\n/srv/em/data\n", "4711\n/elsewhere\n"] {
            assert_eq!(PidFile::parse(text, Path::new(CLUSTER)), None, "{text:?}");
        }
    }

    #[test]
    fn a_living_stranger_is_not_taken_for_the_server() {
        let text = format!("{}\n{CLUSTER}\n1\n5432\n\n\n", std::process::id());
        let file = PidFile::parse(&text, Path::new(CLUSTER)).unwrap();
        assert!(!file.is_alive(Path::new(CLUSTER)));
    }
}
