//! Which server to speak to and with which key: as told, else as `embermesh up` left it in the data folder.

use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, KeysFile};
use crate::cli::{DataArguments, OperatorArguments, ServerArguments};

/// A server and a key for it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `http://` or `https://`, without a slash at the end.
    pub url: String,
    pub key: SecretString,
}

impl Connection {
    /// Finds server and key for what an agent may do.
    pub fn find(arguments: &ServerArguments) -> Result<Self, Failure> {
        let ServerArguments { url, api_key, data } = arguments;
        Told { url: url.as_deref(), key: api_key.as_ref(), data }
            .complete("EMBERMESH_API_KEY", |file| file.agent_key)
    }

    /// Finds server and key for what an operator may do.
    pub fn find_for_operator(arguments: &OperatorArguments) -> Result<Self, Failure> {
        let OperatorArguments { url, api_key, data } = arguments;
        Told { url: url.as_deref(), key: api_key.as_ref(), data }
            .complete("EMBERMESH_ADMIN_KEY", |file| file.admin_key)
    }
}

/// What was said on the command line or in the environment.
struct Told<'a> {
    url: Option<&'a str>,
    key: Option<&'a SecretString>,
    data: &'a DataArguments,
}

impl Told<'_> {
    /// With what was not said from the data folder. A key of the data folder is sent to the server of the data folder only.
    fn complete(
        self,
        variable: &str,
        key_of: impl FnOnce(KeysFile) -> SecretString,
    ) -> Result<Connection, Failure> {
        // an empty variable is an unset one
        let url = self.url.filter(|url| !url.is_empty()).map(checked).transpose()?;
        let key = self.key.cloned().filter(|key| !key.expose_secret().is_empty());
        if let (Some(url), Some(key)) = (&url, &key) {
            return Ok(Connection { url: url.clone(), key: key.clone() });
        }
        let Some(file) = KeysFile::read(self.data)? else {
            return Err(Failure::Usage(match (url, key) {
                (Some(url), _) => format!("no key for {url}: set {variable}"),
                (_, Some(_)) => "no server for this key: set EMBERMESH_URL".to_owned(),
                _ => NO_SERVER.to_owned(),
            }));
        };
        let own = checked(&file.url)?;
        match url {
            Some(url) if url != own => Err(Failure::Usage(format!(
                "no key for {url}: set {variable} (the data folder's key belongs to {own})"
            ))),
            _ => Ok(Connection { url: own, key: key.unwrap_or_else(|| key_of(file)) }),
        }
    }
}

/// Said when there is no server at all.
pub(crate) const NO_SERVER: &str =
    "no server is known: start `embermesh up`, or set EMBERMESH_URL and EMBERMESH_API_KEY";

fn checked(url: &str) -> Result<String, Failure> {
    let wrong = || Failure::Usage(format!("'{url}' is not a base URL; write it like http://127.0.0.1:8081"));
    let bare = url.trim_end_matches('/');
    let parsed: Uri = bare.parse().map_err(|_| wrong())?;
    let web = matches!(parsed.scheme_str(), Some("http" | "https"));
    if web && parsed.host().is_some_and(|host| !host.is_empty()) && parsed.query().is_none() {
        Ok(bare.to_owned())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::DataArguments;

    const KEYS: &str =
        r#"{"url":"http://127.0.0.1:8081/","tenant_id":"t","admin_key":"admin","agent_key":"agent"}"#;

    fn find(dir: &Path, url: Option<&str>, key: Option<&str>) -> Result<(String, String), String> {
        let arguments = ServerArguments {
            url: url.map(str::to_owned),
            api_key: key.map(SecretString::from),
            data: DataArguments { data_dir: Some(dir.to_owned()) },
        };
        let found = Connection::find(&arguments).map_err(|failure| failure.to_string())?;
        Ok((found.url, found.key.expose_secret().to_owned()))
    }

    #[test]
    fn what_is_told_wins_over_the_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("keys.json"), KEYS).unwrap();
        let own = "http://127.0.0.1:8081";
        for (url, key, expected) in [
            (None, None, (own, "agent")),
            (Some(""), Some(""), (own, "agent")),
            (None, Some("k"), (own, "k")),
            (Some(own), None, (own, "agent")),
            (Some("https://e.example/base/"), Some("k"), ("https://e.example/base", "k")),
        ] {
            let (url_found, key_found) = find(dir.path(), url, key).unwrap();
            assert_eq!((url_found.as_str(), key_found.as_str()), expected);
        }
    }

    #[test]
    fn an_operator_has_the_admin_key_of_the_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataArguments { data_dir: Some(dir.path().to_owned()) };
        let elsewhere = Some("http://a".to_owned());
        let told = OperatorArguments { url: elsewhere, api_key: None, data: data.clone() };
        let refused = Connection::find_for_operator(&told).unwrap_err().to_string();
        assert!(refused.contains("set EMBERMESH_ADMIN_KEY"), "{refused}");
        std::fs::write(dir.path().join("keys.json"), KEYS).unwrap();
        let found = Connection::find_for_operator(&OperatorArguments { url: None, ..told }).unwrap();
        assert_eq!(found.key.expose_secret(), "admin");
    }

    #[test]
    fn a_key_of_the_data_folder_goes_to_no_other_server() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("keys.json"), KEYS).unwrap();
        let refused = find(dir.path(), Some("http://elsewhere.example"), None).unwrap_err();
        assert!(
            refused.starts_with("no key for http://elsewhere.example: set EMBERMESH_API_KEY"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path(), None, None).unwrap_err(), NO_SERVER);
        assert!(find(dir.path(), Some("http://a"), None).unwrap_err().contains("set EMBERMESH_API_KEY"));
        assert!(find(dir.path(), None, Some("k")).unwrap_err().contains("set EMBERMESH_URL"));
        std::fs::write(dir.path().join("keys.json"), "{").unwrap();
        assert!(find(dir.path(), None, None).unwrap_err().starts_with("cannot read "));
    }

    #[test]
    fn a_url_must_be_one() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["127.0.0.1:8081", "ftp://x", "http://", "http://a b", "http://a?b", "/x"] {
            assert!(
                find(dir.path(), Some(url), Some("k")).unwrap_err().contains("is not a base URL"),
                "{url}"
            );
        }
    }
}
