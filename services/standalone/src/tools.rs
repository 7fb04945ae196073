//! Finds what the set-up script fetched.

use std::path::PathBuf;

/// Folders that may hold a tool, likeliest first.
pub(crate) fn candidates(name: &str) -> Vec<PathBuf> {
    let given = std::env::var_os("EMBERMESH_TOOLS_DIR").map(PathBuf::from);
    let here = std::env::current_dir().ok().map(|dir| dir.join(".tools"));
    // target/<profile>/embermesh in a checkout
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.join(".tools")));
    [given, here, beside].into_iter().flatten().map(|dir| dir.join(name)).collect()
}

/// The first that exists.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    candidates(name).into_iter().find(|dir| dir.is_dir())
}
