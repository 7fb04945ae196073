//! `server` and `services`: where this process listens, and where the others are.

use std::net::SocketAddr;

use embermesh_transport::{HttpLimits, TlsSettings};
use serde::{Deserialize, Serialize};

use crate::Span;

/// `server`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of the one port; absent: the service's own port on loopback.
    pub listen: Option<SocketAddr>,
    /// Address of a second port, with `/health/*` and `/metrics` alone, without TLS and without keys: for probes and scrapers that have
    /// no certificate. Absent: they are on the one port only.
    pub operations: Option<SocketAddr>,
    /// Where clients reach the gateway, for what is printed and written to `keys.json`.
    pub public_url: Option<String>,
    /// Networks, beside loopback, that may read `/metrics`, `/version` and `/openapi.json` without a key.
    pub metrics_allow: Vec<ipnet::IpNet>,
    /// How long requests under way may take once the process is told to stop.
    pub shutdown_grace: Span,
    /// How long it serves on before that, while `/health/ready` says that it is not ready: for balancers that have to notice. Kubernetes waits
    /// by itself, before it tells the process.
    pub shutdown_notice: Span,
    /// Mutual TLS between services.
    pub tls: Option<TlsSettings>,
    /// What one client may take.
    pub limits: HttpLimits,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: None,
            operations: None,
            public_url: None,
            metrics_allow: Vec::new(),
            shutdown_grace: Span::seconds(30),
            shutdown_notice: Span::seconds(0),
            tls: None,
            limits: HttpLimits::default(),
        }
    }
}

/// `services`: URLs of the services that run apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Services {
    /// provider-router.
    pub router: String,
    /// cost-ledger.
    pub ledger: String,
    /// vector-store.
    pub store: String,
    /// admin.
    pub admin: String,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            router: "http://127.0.0.1:8082".to_owned(),
            ledger: "http://127.0.0.1:8083".to_owned(),
            store: "http://127.0.0.1:8084".to_owned(),
            admin: "http://127.0.0.1:8085".to_owned(),
        }
    }
}
