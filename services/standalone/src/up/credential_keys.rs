//! The key that providers' credentials from the API are sealed with: a file of this installation's own, unless one is configured.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use embermesh_config::Config;
use embermesh_process::BoxError;
use embermesh_sealing::generate;
use secrecy::ExposeSecret;

const FILE: &str = "credential.keys";

/// Makes the file in the data folder once, readable by its owner alone, where none is configured.
pub(super) fn prepare(mut config: Config) -> Result<Config, BoxError> {
    let security = &mut config.embedding.security;
    if security.credential_keys.is_some() || security.credential_keys_file.is_some() {
        return Ok(config);
    }
    if let Some(dir) = &config.data_dir {
        let path = dir.join(FILE);
        if !path.exists() {
            make(&path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        }
        security.credential_keys_file = Some(path);
    }
    Ok(config)
}

/// A crash leaves a whole file or none.
fn make(path: &Path) -> io::Result<()> {
    let key = generate().ok_or_else(|| io::Error::other("the machine has no randomness"))?;
    let temporary = path.with_extension("keys.new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(
        b"# seals the credentials of providers that came over the API; without it they are lost\n",
    )?;
    file.write_all(key.expose_secret().as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = || Config { data_dir: Some(dir.path().to_owned()), ..Config::default() };
        let security = prepare(config()).unwrap().embedding.security;
        assert_eq!(security.sealing_keys().unwrap().unwrap().newest(), 1);
        let path = security.credential_keys_file.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read(&path).unwrap();
        prepare(config()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        let own = Path::new("/own/keys");
        let mut configured = config();
        configured.embedding.security.credential_keys_file = Some(own.to_owned());
        assert_eq!(prepare(configured).unwrap().embedding.security.credential_keys_file.unwrap(), own);
    }
}
