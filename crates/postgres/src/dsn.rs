//! A connection string, parsed once: where PostgreSQL is, who logs in, and how TLS is used.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::DbError;
use crate::tls::{Verify, connector};

const APPLICATION_NAME: &str = "embermesh";

/// The parsed form of `DATABASE_URL`.
pub(crate) struct Dsn {
    pub(crate) config: Config,
    /// `None` where `sslmode=disable`.
    pub(crate) tls: Option<MakeRustlsConnect>,
}

/// Either connector, so that callers need not be generic.
pub(crate) enum Connector {
    Plain(NoTls),
    Tls(MakeRustlsConnect),
}

impl Dsn {
    /// Accepts what libpq accepts as a URL, with `sslmode` `disable`, `prefer` (the default), `require`, `verify-ca`
    /// and `verify-full`, and `sslrootcert`.
    pub(crate) fn parse(url: &SecretString) -> Result<Self, DbError> {
        let (stripped, options) = take_tls_options(url.expose_secret())?;
        // the parser's message may quote a part of the string, and with it the password
        let mut config: Config = stripped.parse().map_err(|_| {
            DbError::Configuration(
                "the connection string cannot be read; write it as postgresql://user:password@host:5432/database"
                    .to_owned(),
            )
        })?;
        let (mode, verify) = match (options.mode.as_deref(), &options.root_file) {
            (Some("disable"), _) => (SslMode::Disable, None),
            (None | Some("prefer"), _) => (SslMode::Prefer, Some(Verify::Nothing)),
            // with a root at hand libpq checks the chain for `require` too
            (Some("require"), None) => (SslMode::Require, Some(Verify::Nothing)),
            (Some("require" | "verify-ca"), _) => (SslMode::Require, Some(Verify::Chain)),
            (Some("verify-full"), _) => (SslMode::Require, Some(Verify::ChainAndName)),
            (Some(other), _) => {
                return Err(DbError::Configuration(format!(
                    "sslmode `{other}` is unknown; use disable, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        let tls = verify.map(|verify| connector(verify, options.root_file.as_deref())).transpose()?;
        Ok(Self { config, tls })
    }

    /// Host and port, of which there is one.
    pub(crate) fn one_host(&self) -> Result<String, DbError> {
        let several = "the URL of a replica names one server; name each replica by a URL of its own";
        let ([host], [] | [_]) = (self.config.get_hosts(), self.config.get_ports()) else {
            return Err(DbError::Configuration(several.to_owned()));
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        Ok(match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        })
    }

    pub(crate) fn connector(&self) -> Connector {
        self.tls.clone().map_or(Connector::Plain(NoTls), Connector::Tls)
    }
}

#[derive(Default)]
struct TlsOptions {
    mode: Option<String>,
    root_file: Option<PathBuf>,
}

/// Takes out the parameters that tokio-postgres does not know or only half knows.
fn take_tls_options(url: &str) -> Result<(String, TlsOptions), DbError> {
    let mut options = TlsOptions::default();
    let is_url = url.starts_with("postgresql://") || url.starts_with("postgres://");
    let Some((base, query)) = url.split_once('?').filter(|_| is_url) else {
        return Ok((url.to_owned(), options));
    };
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let decoded = || {
            percent_decode_str(value).decode_utf8().map_err(|_| {
                DbError::Configuration(format!("parameter {name} of the connection string is not UTF-8"))
            })
        };
        match name {
            "sslmode" => options.mode = Some(decoded()?.into_owned()),
            "sslrootcert" => options.root_file = Some(PathBuf::from(decoded()?.into_owned())),
            _ => kept.push(parameter),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{base}{separator}{}", kept.join("&")), options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Dsn, DbError> {
        Dsn::parse(&url.into())
    }

    #[test]
    fn takes_the_modes_of_libpq() {
        for (query, mode, tls) in [
            ("", SslMode::Prefer, true),
            ("?sslmode=disable", SslMode::Disable, false),
            ("?sslmode=prefer", SslMode::Prefer, true),
            ("?connect_timeout=3&sslmode=require", SslMode::Require, true),
        ] {
            let dsn = parse(&format!("postgresql://u:p@db.example:5433/embeddings{query}")).unwrap();
            assert_eq!(dsn.config.get_ssl_mode(), mode, "{query}");
            assert_eq!(dsn.tls.is_some(), tls, "{query}");
            assert_eq!(dsn.config.get_ports(), [5433]);
            assert_eq!(dsn.config.get_application_name(), Some(APPLICATION_NAME));
        }
    }

    #[test]
    fn a_replica_is_one_server() {
        for (url, expected) in [
            ("postgresql://u@db-2.example/d", Some("db-2.example:5432")),
            ("postgresql://u@db-2.example:5433/d", Some("db-2.example:5433")),
            ("postgresql://u@%2Frun%2Fpostgresql:5433/d", Some("/run/postgresql:5433")),
            ("postgresql://u@a,b/d", None),
            ("postgresql:///d", None),
        ] {
            assert_eq!(parse(url).unwrap().one_host().ok().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn keeps_the_other_parameters() {
        let url = "postgres://u@h/d?application_name=mine&sslmode=disable&target_session_attrs=read-write";
        let dsn = parse(url).unwrap();
        assert_eq!(dsn.config.get_application_name(), Some("mine"));
        assert_eq!(
            dsn.config.get_target_session_attrs(),
            tokio_postgres::config::TargetSessionAttrs::ReadWrite
        );
    }

    #[test]
    fn checks_certificates_against_the_named_root_or_says_what_is_wrong_with_it() {
        for (query, expected) in [
            ("sslmode=verify-full&sslrootcert=/does/not%20exist.pem", "/does/not exist.pem is unusable"),
            ("sslmode=require&sslrootcert=/dev/null", "holds no certificate"),
            ("sslmode=allow", "sslmode `allow` is unknown"),
        ] {
            let error = parse(&format!("postgresql://u@h/d?{query}")).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} is not {expected}");
        }
    }

    #[test]
    fn an_unreadable_string_is_not_repeated() {
        let error = parse("postgresql://u:hunter2@h:port/d").map(|_| ()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
