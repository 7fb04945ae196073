//! Where `embermesh up` keeps its files, and where the other commands find its keys.

use std::path::PathBuf;

/// The data folder when none is given: `embermesh` under `$XDG_DATA_HOME`, else under `~/.local/share`, else here.
pub fn default() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.map_or_else(|| PathBuf::from(".embermesh"), |dir| dir.join("embermesh"))
}
