//! The SDK's connections for an entry that came over the API: to judged hosts at judged addresses. The SDK follows no redirect, and what
//! it connects to is what the entry says, so that the entry's URLs are judged once and its names at each resolution.

use std::{io, net::IpAddr};

use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    dns::{DnsFuture, ResolveDns, ResolveDnsError},
    http::SharedHttpClient,
};
use embermesh_config::Provider as Entry;
use embermesh_egress::Rules;

use crate::{BadEntry, http::within};

/// A client that connects only where the rules allow.
pub(super) fn client(rules: Rules) -> SharedHttpClient {
    let tls = Provider::Rustls(CryptoMode::AwsLc);
    Builder::new().tls_provider(tls).build_with_resolver(Resolver { rules })
}

/// Judges the entry's own URLs: an address in one of them would be resolved by nobody.
pub(super) fn check(rules: &Rules, entry: &Entry) -> Result<(), BadEntry> {
    for (option, url) in [("base_url", &entry.base_url), ("sts_url", &entry.sts_url)] {
        if let Some(url) = url {
            let refused = |refusal| BadEntry::Machine(format!("{option}: {refusal}"));
            rules.judge_text(url).map_err(refused)?;
        }
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Resolver {
    rules: Rules,
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.addresses(name).await.map_err(ResolveDnsError::new) })
    }
}

impl Resolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let unknown = || io::Error::other(format!("{name} is no host that may be connected to"));
        let reach = self.rules.reach(name).ok_or_else(unknown)?;
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(within(reach, name, found)?.map(|address| address.ip()).collect())
    }
}
