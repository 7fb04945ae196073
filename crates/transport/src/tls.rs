//! Optional mutual TLS between services: each side shows a certificate of the same authority. The gateway may ask less of its clients,
//! who are no services.

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

/// Paths of PEM files.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// This side's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that the other side's certificate must come from.
    pub authority: PathBuf,
    /// What this side's port asks of its clients. Anything but `mutual` is for the gateway alone: services believe what callers with a
    /// certificate say of whom they act for.
    #[serde(default)]
    pub clients: Clients,
}

/// What a port asks of its clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clients {
    /// A certificate of the authority.
    #[default]
    Mutual,
    /// TLS, without a certificate.
    OneSided,
    /// No TLS: whatever stands in front has ended it.
    Plain,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {path}: {cause}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        cause: String,
    },
    /// The parts do not fit together.
    #[error("certificate, key and authority do not fit together: {0}")]
    Mismatch(String),
}

impl TlsSettings {
    /// The server's side: refuses clients that do not bring what [`Clients`] asks of them. `None`: the port has no TLS.
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>, TlsError> {
        if self.clients == Clients::Plain {
            return Ok(None);
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(&provider))
                .build()
                .map_err(|e| mismatch(&e))?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| mismatch(&e))?;
        let builder = match self.clients {
            Clients::Mutual => builder.with_client_cert_verifier(verifier),
            Clients::OneSided | Clients::Plain => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(certificates(&self.certificate)?, self.private_key()?)
            .map_err(|e| mismatch(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// The client's side: shows this side's certificate and refuses servers of another authority.
    pub(crate) fn connector(&self) -> Result<TlsConnector, TlsError> {
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| mismatch(&e))?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(certificates(&self.certificate)?, self.private_key()?)
            .map_err(|e| mismatch(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate).map_err(|e| mismatch(&e))?;
        }
        Ok(roots)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unreadable(&self.key, &e))
    }
}

fn mismatch(cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::Mismatch(cause.to_string())
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?;
    found.collect::<Result<_, _>>().map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &std::path::Path, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests;
