//! What providers take from the process that they run in.

use std::path::PathBuf;

use embermesh_lifecycle::Tasks;
use embermesh_types::Clock;

/// Clock, background tasks, and what the process's environment says.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Dates what is signed, and tells when tokens end.
    pub clock: Clock,
    /// Renew tokens.
    pub tasks: Tasks,
    /// `GOOGLE_APPLICATION_CREDENTIALS`: the key file for Vertex AI entries that name none.
    pub google_credentials: Option<PathBuf>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { clock: Clock::system(), tasks: Tasks::new(), google_credentials: None }
    }
}
