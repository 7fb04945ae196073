//! What the first screen says: where it serves, the keys, and a line to try.

use std::{
    io::{Result, Write},
    path::Path,
    time::Duration,
};

use embermesh_admin::FirstStart;

/// Writes the first screen. The secrets are shown only when they were made just now.
pub(super) fn write(
    out: &mut impl Write,
    url: &str,
    keys: &Path,
    first: &FirstStart,
    started_in: Duration,
) -> Result<()> {
    writeln!(out, "\nEmbermesh serves at {url} (started in {:.1} s)", started_in.as_secs_f64())?;
    let header = match first {
        FirstStart::Created(made) => {
            writeln!(out, "\n  admin key  {}", made.admin.reveal())?;
            writeln!(out, "  agent key  {}", made.agent.reveal())?;
            writeln!(out, "\nThe keys are shown once and kept in {}.", keys.display())?;
            format!("'X-API-Key: {}'", made.agent.reveal())
        }
        FirstStart::Existing => {
            writeln!(
                out,
                "The keys of the first start are in {}; `eval \"$(embermesh env)\"` sets them.",
                keys.display()
            )?;
            "\"X-API-Key: $EMBERMESH_API_KEY\"".to_owned()
        }
    };
    writeln!(out, "\nTry it:\n")?;
    let json = "-H 'Content-Type: application/json'";
    writeln!(out, "  curl -s {url}/api/v1/embeddings -H {header} {json} \\")?;
    writeln!(
        out,
        "    -d '{{\"agent_id\": \"demo\", \"text\": \"The ferry to the island leaves at noon.\"}}'"
    )?;
    writeln!(out, "\n  curl -s {url}/api/v1/embeddings/search -H {header} {json} \\")?;
    writeln!(out, "    -d '{{\"agent_id\": \"demo\", \"query\": \"when does the boat depart?\"}}'\n")?;
    out.flush()
}
