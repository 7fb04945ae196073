//! Real Redis for tests: a server, or a cluster of three, on free ports in a temporary directory, gone with the test however it ends.

#![expect(clippy::panic, reason = "a test without its server has failed")]

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the server and kills it when its standard input closes, which the end of the test process does too.
const WATCHER: &str = r#"
"$@" </dev/null >/dev/null 2>&1 &
echo $!
read -r _
kill -KILL $! 2>/dev/null
"#;

/// One server.
#[derive(Debug)]
pub struct TestRedis {
    port: u16,
    dir: TempDir,
    cluster: bool,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    watcher: Child,
    pid: Pid,
}

impl TestRedis {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start; the message names the set-up script.
    pub fn start() -> Self {
        Self::spawn(false)
    }

    /// A port on which nothing listens yet, for a server that comes later by [`TestRedis::restart`].
    pub fn not_yet() -> Self {
        Self { port: free_port(), dir: directory(), cluster: false, running: None }
    }

    fn spawn(cluster: bool) -> Self {
        // another process may take the port before the server does
        for _ in 0..5 {
            let mut redis = Self { port: free_port(), dir: directory(), cluster, running: None };
            if redis.try_run() {
                return redis;
            }
        }
        panic!("tests need redis-server 7 or newer on PATH, run scripts/setup.sh --tests");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://{}", self.endpoint())
    }

    /// The same as `host:port`.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it; what it held is gone.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it once more at the same place, empty.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let end = Instant::now() + PATIENCE;
        // another test may have the port for a moment
        while !self.try_run() {
            assert!(Instant::now() < end, "redis-server does not start again on port {}", self.port);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops the process where it stands: connections stay, answers do not come.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running
            && let Err(error) = kill_process(running.pid, signal)
        {
            panic!("cannot signal redis-server: {error}");
        }
    }

    /// What `redis-cli` prints for a command.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn cli(&self, arguments: &[&str]) -> String {
        cli(&["-p", &self.port.to_string()], arguments)
    }

    /// Whether it takes writes.
    pub fn is_master(&self) -> bool {
        self.running.is_some() && self.cli(&["INFO", "replication"]).contains("role:master")
    }

    fn try_run(&mut self) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHER, "watcher", "redis-server", "--bind", "127.0.0.1"]);
        command.args(["--port", &self.port.to_string(), "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.dir.path());
        if self.cluster {
            let bus = free_port().to_string();
            command.args([
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "2000",
            ]);
        }
        let Ok(mut watcher) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            panic!("cannot start a shell");
        };
        let mut line = String::new();
        let read = watcher.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let (Some(Ok(_)), Some(pid)) = (read, pid) else {
            panic!("the shell does not tell the server's pid")
        };
        self.running = Some(Running { watcher, pid });
        let end = Instant::now() + PATIENCE;
        // not another server that was quicker to take the port
        let ours = format!("process_id:{pid}");
        while Instant::now() < end {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                if self.cli(&["INFO", "server"]).lines().any(|line| line.trim() == ours) {
                    return true;
                }
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.running = None;
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = kill_process(self.pid, Signal::KILL);
        drop(self.watcher.stdin.take());
        let _reaped = self.watcher.wait();
    }
}

/// A cluster of three masters.
#[derive(Debug)]
pub struct TestCluster {
    /// Its nodes.
    pub nodes: Vec<TestRedis>,
}

impl TestCluster {
    /// Starts it, and waits until every node knows every slot.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::create(3, "0")
    }

    /// The same with a replica of each master: `nodes` are six, masters first.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with_replicas() -> Self {
        let cluster = Self::create(6, "1");
        let end = Instant::now() + PATIENCE;
        let linked = |node: &TestRedis| {
            let said = node.cli(&["INFO", "replication"]);
            said.contains("role:master") || said.contains("master_link_status:up")
        };
        let masters = |nodes: &[TestRedis]| nodes.iter().filter(|node| node.is_master()).count();
        while !cluster.nodes.iter().all(linked) || masters(&cluster.nodes) != 3 {
            assert!(Instant::now() < end, "the replicas do not come up");
            thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    fn create(count: usize, replicas: &str) -> Self {
        let nodes: Vec<TestRedis> = (0..count).map(|_| TestRedis::spawn(true)).collect();
        let endpoints: Vec<String> = nodes.iter().map(TestRedis::endpoint).collect();
        let mut create: Vec<&str> = vec!["create"];
        create.extend(endpoints.iter().map(String::as_str));
        create.extend(["--cluster-replicas", replicas, "--cluster-yes"]);
        let said = cli(&["--cluster"], &create);
        let cluster = Self { nodes };
        let end = Instant::now() + PATIENCE;
        while !cluster.nodes.iter().all(|node| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
            assert!(Instant::now() < end, "the cluster does not come up: {said}");
            thread::sleep(Duration::from_millis(20));
        }
        cluster
    }

    /// `host:port` of each node.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(TestRedis::endpoint).collect()
    }
}

fn cli(before: &[&str], arguments: &[&str]) -> String {
    match Command::new("redis-cli").args(before).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => panic!("cannot run redis-cli, run scripts/setup.sh --tests: {error}"),
    }
}

fn free_port() -> u16 {
    match embermesh_loopback::free_port() {
        Ok(port) => port,
        Err(error) => panic!("no free port: {error}"),
    }
}

fn directory() -> TempDir {
    match tempfile::Builder::new().prefix("embermesh-redis-").tempdir() {
        Ok(dir) => dir,
        Err(error) => panic!("cannot create a temporary directory: {error}"),
    }
}
