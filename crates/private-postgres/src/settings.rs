//! The settings of the private server, given on its command line so that they are those of this build.

use std::path::Path;

use crate::layout::Layout;

const SHARED_MEMORY: &str = "/dev/shm";
/// A parallel HNSW build takes `maintenance_work_mem` there; containers commonly give it 64 MB.
const ENOUGH_SHARED_MEMORY: u64 = 512 << 20;

/// `name=value` for each `-c`.
pub(crate) fn settings(layout: &Layout, port: u16, tcp: bool, durable: bool) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        format!("listen_addresses={}", if tcp { "127.0.0.1" } else { "" }),
        format!("unix_socket_directories={}", quoted(&layout.socket_dir)),
        "unix_socket_permissions=0700".into(),
        "max_connections=100".into(),
        "shared_buffers=128MB".into(),
        "maintenance_work_mem=256MB".into(),
        "max_wal_size=2GB".into(),
        "wal_level=replica".into(),
        // short statements only: compiling them costs more than it saves
        "jit=off".into(),
        // one file per weekday, each begun anew after a week
        "logging_collector=on".into(),
        format!("log_directory={}", layout.log.display()),
        "log_filename=postgresql-%a.log".into(),
        "log_rotation_age=1d".into(),
        "log_rotation_size=0".into(),
        "log_truncate_on_rotation=on".into(),
        "log_file_mode=0600".into(),
        "log_line_prefix=%m [%p] %u@%d ".into(),
        "log_timezone=UTC".into(),
        "timezone=UTC".into(),
        // detail lines quote whole rows, which hold customers' text
        "log_error_verbosity=terse".into(),
    ];
    if !durable {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(String::from));
    }
    if rustix::fs::statvfs(SHARED_MEMORY).is_ok_and(|fs| fs.f_blocks * fs.f_frsize < ENOUGH_SHARED_MEMORY) {
        settings.push("dynamic_shared_memory_type=mmap".into());
    }
    settings
}

/// The setting is a list: commas separate, double quotes group.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}
