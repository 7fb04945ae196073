use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, getpgid, kill_process};
use tokio_postgres::NoTls;

use super::*;
use crate::testing::test_options;

const OWNER_DIR: &str = "EMBERMESH_TEST_OWNER_DIR";

async fn run(url: &SecretString, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    let work = async move {
        let messages = client.simple_query(sql).await?;
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect())
    };
    let (output, _) = tokio::join!(work, connection);
    output
}

async fn kill(server: &mut PrivatePostgres) {
    let pid = Pid::from_raw(server.pid().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    while server.postmaster.as_mut().unwrap().is_running() {
        tokio::time::sleep(READY_POLL).await;
    }
}

#[tokio::test]
async fn starts_with_pgvector_and_keeps_its_data_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    let url = first.connection_url().clone();
    run(&url, "CREATE TABLE kept (v vector(3)); INSERT INTO kept VALUES ('[1,2,3]')").await.unwrap();
    first.stop().await.unwrap();
    assert!(run(&url, "SELECT 1").await.is_err(), "it answers although it was stopped");

    let second = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    assert!(!second.is_adopted());
    assert_eq!(second.connection_url().expose_secret(), url.expose_secret());
    assert_eq!(run(&url, "SELECT v FROM kept").await.unwrap(), ["[1,2,3]"]);
    assert_eq!(run(&url, "SELECT current_database()").await.unwrap(), ["embeddings"]);
}

#[tokio::test]
async fn asks_for_the_password_even_on_the_socket_and_listens_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    let wrong = server.connection_url().expose_secret().replace(&password_of(dir.path()), "guessed");
    let refusal = run(&wrong.into(), "SELECT 1").await.unwrap_err();
    assert_eq!(refusal.code().unwrap().code(), "28P01");

    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("password"), 0o600);
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("run"), 0o700);
    let url = server.connection_url();
    assert_eq!(run(url, "SHOW listen_addresses").await.unwrap(), [""]);
    assert_eq!(run(url, "SELECT rolname FROM pg_roles WHERE rolcanlogin").await.unwrap(), [USER]);
    assert!(server.tcp_url().is_none());
}

fn password_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("password")).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_second_owner_is_told_who_the_first_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let _first = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    let error = PrivatePostgres::start(test_options(dir.path())).await.unwrap_err();
    assert!(
        matches!(&error, StartError::InUse { pid, .. } if *pid == std::process::id().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn recovers_what_was_committed_when_the_server_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let durable = || Options { durable: true, ..test_options(dir.path()) };
    let mut first = PrivatePostgres::start(durable()).await.unwrap();
    run(first.connection_url(), "CREATE TABLE kept AS SELECT 7 AS n").await.unwrap();
    kill(&mut first).await;
    assert!(first.layout.pid_file.exists(), "no stale file, nothing tested");
    drop(first);

    let second = PrivatePostgres::start(durable()).await.unwrap();
    assert!(!second.is_adopted());
    assert_eq!(run(second.connection_url(), "SELECT n FROM kept").await.unwrap(), ["7"]);
}

#[tokio::test]
async fn a_stale_pid_that_now_belongs_to_a_stranger_does_not_prevent_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    kill(&mut first).await;
    let pid_file = first.layout.pid_file.clone();
    drop(first);
    let mut stranger = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
    let text = fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", stranger.id())).unwrap();

    let second = PrivatePostgres::start(test_options(dir.path())).await;
    let stranger_lives = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(!second.unwrap().is_adopted());
    assert!(stranger_lives);
}

#[tokio::test]
async fn a_server_whose_owner_was_killed_is_adopted_and_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::tests::an_owner_that_waits_to_be_killed", "--ignored", "--nocapture"])
        .env(OWNER_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let marker = dir.path().join("started");
    while !marker.exists() {
        assert!(owner.try_wait().unwrap().is_none(), "the owner ended before its server was up");
        tokio::time::sleep(READY_POLL).await;
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    let orphan: i32 = fs::read_to_string(&marker).unwrap().parse().unwrap();

    let adopter = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    assert!(adopter.is_adopted());
    assert_eq!(adopter.pid(), Some(orphan));
    assert_eq!(run(adopter.connection_url(), "SELECT n FROM left_behind").await.unwrap(), ["1"]);
    let (pid_file, cluster) = (adopter.layout.pid_file.clone(), adopter.layout.cluster.clone());
    adopter.stop().await.unwrap();
    assert!(PidFile::read(&pid_file, &cluster).is_none());
}

#[tokio::test]
#[ignore = "the other process of the adoption test"]
async fn an_owner_that_waits_to_be_killed() {
    let dir = PathBuf::from(std::env::var_os(OWNER_DIR).expect("run by the adoption test only"));
    let server = PrivatePostgres::start(test_options(&dir)).await.unwrap();
    run(server.connection_url(), "CREATE TABLE left_behind AS SELECT 1 AS n").await.unwrap();
    let aside = dir.join("started.new");
    fs::write(&aside, server.pid().unwrap().to_string()).unwrap();
    fs::rename(&aside, dir.join("started")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn is_not_in_the_process_group_that_ctrl_c_reaches() {
    let dir = tempfile::tempdir().unwrap();
    let server = PrivatePostgres::start(test_options(dir.path())).await.unwrap();
    let pid = Pid::from_raw(server.pid().unwrap()).unwrap();
    assert_eq!(getpgid(Some(pid)).unwrap(), pid);
    assert_ne!(getpgid(None).unwrap(), pid);
}

#[tokio::test]
async fn listens_on_loopback_when_asked_even_where_the_running_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let local =
        PrivatePostgres::start(Options { stop_on_drop: false, ..test_options(dir.path()) }).await.unwrap();
    let first_pid = local.pid();
    drop(local);
    let server = PrivatePostgres::start(Options { tcp: true, ..test_options(dir.path()) }).await.unwrap();
    assert!(!server.is_adopted());
    assert_ne!(server.pid(), first_pid);
    let address = run(server.tcp_url().unwrap(), "SELECT host(inet_server_addr())").await.unwrap();
    assert_eq!(address, ["127.0.0.1"]);
}

#[tokio::test]
async fn works_in_a_directory_whose_path_is_too_long_for_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120)).join("with space, \"quotes\" and ü");
    let server = PrivatePostgres::start(test_options(&deep)).await.unwrap();
    assert_eq!(run(server.connection_url(), "SELECT 1").await.unwrap(), ["1"]);
    let socket_dir = server.layout.socket_dir.clone();
    drop(server);
    fs::remove_dir_all(socket_dir).unwrap();
}

#[tokio::test]
async fn runs_under_an_unprivileged_account_where_namespaces_are_forbidden() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::prepare(dir.path()).unwrap();
    let password = layout.password().unwrap();
    let options = test_options(dir.path());
    let account = Account::unprivileged().unwrap();
    let (mut postmaster, port) = start_new(&layout, &password, &options, account).await.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", postmaster.pid())).unwrap();
    assert!(status.lines().any(|line| line.starts_with("Uid:") && !line.contains("\t0")), "{status}");
    let login = Login { socket_dir: &layout.socket_dir, port, user: USER, password: &password };
    with_client(login, "postgres", async |_| Ok(())).await.unwrap();
    postmaster.stop().unwrap();

    // and back: the same directory under the way that this machine would choose
    let server = PrivatePostgres::start(options).await.unwrap();
    assert_eq!(run(server.connection_url(), "SELECT 1").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn a_cluster_of_another_version_or_without_password_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    let error = PrivatePostgres::start(test_options(dir.path())).await.unwrap_err();
    assert!(matches!(error, StartError::PasswordLost { .. }), "{error}");

    fs::write(dir.path().join("password"), "x\n").unwrap();
    fs::write(dir.path().join("data/PG_VERSION"), "9\n").unwrap();
    let error = PrivatePostgres::start(test_options(dir.path())).await.unwrap_err();
    assert!(matches!(&error, StartError::WrongVersion { found, .. } if found == "9"), "{error}");
}
