//! `embermesh env`: the server and keys of a data folder, as lines for a shell.

use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;

use super::output;
use crate::{
    cli::DataArguments,
    client::{Failure, KeysFile, NO_SERVER},
};

#[derive(Debug, Args)]
pub(crate) struct EnvArguments {
    #[command(flatten)]
    data: DataArguments,
}

/// Prints the lines.
pub(crate) fn run(arguments: &EnvArguments) -> Result<ExitCode, Failure> {
    let keys = KeysFile::read(&arguments.data)?.ok_or_else(|| Failure::Usage(NO_SERVER.to_owned()))?;
    output::print(&exports(&keys));
    Ok(ExitCode::SUCCESS)
}

fn exports(keys: &KeysFile) -> String {
    let variables = [
        ("EMBERMESH_URL", keys.url.as_str()),
        ("EMBERMESH_API_KEY", keys.agent_key.expose_secret()),
        ("EMBERMESH_ADMIN_KEY", keys.admin_key.expose_secret()),
    ];
    variables.map(|(name, value)| format!("export {name}={}\n", quoted(value))).concat()
}

/// One word to any POSIX shell, whatever it holds.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let nasty = "a'b\"c $(exit 3) `x` \\ \n é";
        let keys = KeysFile {
            url: "http://127.0.0.1:8081".to_owned(),
            agent_key: nasty.into(),
            admin_key: "adm".into(),
        };
        let script = exports(&keys)
            + "printf '%s|%s|%s' \"$EMBERMESH_URL\" \"$EMBERMESH_API_KEY\" \"$EMBERMESH_ADMIN_KEY\"";
        let read = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap(), format!("http://127.0.0.1:8081|{nasty}|adm"));
    }
}
