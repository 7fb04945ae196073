//! The effective configuration as YAML, for `--dump-config`.

use crate::Config;

impl Config {
    /// Everything that is in force, defaults included, secrets hidden.
    pub fn dump(&self) -> String {
        serde_yaml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}
