//! The first start: a tenant, a key for the operator and a key for agents.
//!
//! A key can be shown only when it is made, so a crash between the file and the database must lose neither. The keys are on disk
//! before the database knows them; keys that are found on disk while the database is empty are the ones that are put in.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use embermesh_auth::{ApiKey, KeyError, Scope, Scopes};
use embermesh_postgres::DbError;
use embermesh_types::TenantId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AdminService,
    domain::key::{DEFAULT_SCOPES, NewKey},
    store::first_keys::create_first_tenant,
};

/// What [`AdminService::ensure_first_keys`] found.
#[derive(Debug)]
pub enum FirstStart {
    /// The database was empty; this is what is in it now.
    Created(FirstKeys),
    /// There is a tenant already, nothing was changed.
    Existing,
}

/// The first tenant and its keys, which are in the file too.
#[derive(Debug)]
pub struct FirstKeys {
    /// The tenant.
    pub tenant: TenantId,
    /// May do everything.
    pub admin: ApiKey,
    /// For agents: embed, search, read.
    pub agent: ApiKey,
}

/// Why the first keys cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// The database failed.
    #[error("cannot create the first keys: {0}")]
    Database(#[from] DbError),
    /// The file cannot be read or written.
    #[error("cannot keep the first keys in {path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{0} does not hold keys of embermesh while the database holds none, move the file away or restore the database"
    )]
    Unreadable(PathBuf),
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    url: String,
    tenant_id: String,
    admin_key: String,
    agent_key: String,
}

impl AdminService {
    /// Makes the tenant `default` and its first two keys when there is no tenant, and writes them to `file` (mode 0600) beside the
    /// `url` that they are for. Safe to call from any number of replicas, and to repeat after a crash at any point.
    ///
    /// # Errors
    /// See [`FirstStartError`]; nothing is in the database then.
    pub async fn ensure_first_keys(&self, url: &str, file: &Path) -> Result<FirstStart, FirstStartError> {
        let shared = self.shared();
        let Some(change) = shared.store.begin_first_tenant().await? else { return Ok(FirstStart::Existing) };
        let keys = match read(file)? {
            Some(keys) => keys,
            None => generate(&shared.settings.key_environment),
        };
        // again even when it was there: the url may be another
        write(file, url, &keys)?;
        let new = |name: &str, scopes: Scopes| NewKey {
            name: name.to_owned(),
            scopes,
            agent: None,
            expires_at: None,
        };
        let admin = new("first admin key", Scopes::from_iter([Scope::Admin]));
        let agent = new("first agent key", Scopes::from_iter(DEFAULT_SCOPES));
        let rows = [(&admin, &keys.admin), (&agent, &keys.agent)];
        create_first_tenant(change, keys.tenant, rows, shared.clock.now()).await?;
        shared.feed.wake();
        tracing::info!(tenant = %keys.tenant, "created the first tenant and its keys");
        Ok(FirstStart::Created(keys))
    }
}

fn generate(environment: &str) -> FirstKeys {
    let mut rng = rand::rng();
    FirstKeys {
        tenant: TenantId::new(Uuid::now_v7()),
        admin: ApiKey::generate(environment, &mut rng),
        agent: ApiKey::generate(environment, &mut rng),
    }
}

fn read(path: &Path) -> Result<Option<FirstKeys>, FirstStartError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|cause| FirstStartError::File { path: path.to_owned(), cause })?,
    };
    let unreadable = || FirstStartError::Unreadable(path.to_owned());
    let file: KeyFile = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let key = |text: &str| ApiKey::parse(text).map_err(|_: KeyError| unreadable());
    Ok(Some(FirstKeys {
        tenant: file.tenant_id.parse().map_err(|_| unreadable())?,
        admin: key(&file.admin_key)?,
        agent: key(&file.agent_key)?,
    }))
}

fn write(path: &Path, url: &str, keys: &FirstKeys) -> Result<(), FirstStartError> {
    let file = KeyFile {
        url: url.to_owned(),
        tenant_id: keys.tenant.to_string(),
        admin_key: keys.admin.reveal().to_owned(),
        agent_key: keys.agent.reveal().to_owned(),
    };
    let replace = || -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&file)?;
        text.push('\n');
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(".new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&temporary, path)?;
        // the rename itself must survive a crash, because the database is about to
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        fs::File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    replace().map_err(|cause| FirstStartError::File { path: path.to_owned(), cause })
}
