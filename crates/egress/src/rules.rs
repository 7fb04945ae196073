//! Which hosts may be named at all.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

use crate::{Reach, name::is_name, pattern::Pattern};

/// Where providers' APIs listen.
const PORTS: [u16; 2] = [443, 8443];

/// The hosts that URLs which came over the API may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    public: Vec<Pattern>,
    exceptions: Vec<(Host, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

/// An item that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is neither a host such as api.example.com or *.api.example.com nor a host:port such as vllm.internal:8000"
)]
pub struct BadRule(pub String);

/// Why a URL may not be used. Never repeats more of it than the host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no form that everybody reads in the same way.
    #[error("it is not a plain URL such as https://host/v1")]
    Form,
    /// It would carry a credential.
    #[error("it names a user; credentials have fields of their own")]
    User,
    /// It names an address where it should name a host.
    #[error("it names an address or a number instead of a host")]
    Address,
    /// It would be sent in the clear.
    #[error("it is not https")]
    Scheme,
    /// No provider's API listens there.
    #[error("its port is not 443 or 8443")]
    Port,
    /// The operator does not know the host.
    #[error("{0} is none of the operator's embedding.security.provider_hosts")]
    Host(String),
}

impl Rules {
    /// Reads a list of items: hosts in the internet, and `host:port` of the operator's own servers.
    ///
    /// # Errors
    /// The first item that is neither.
    pub fn parse<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Self, BadRule> {
        let mut rules = Self::default();
        for item in items {
            let bad = || BadRule(item.to_owned());
            if let Ok(address) = item.parse::<SocketAddr>() {
                rules.exceptions.push((Host::Address(address.ip()), address.port()));
            } else if let Some((name, port)) = item.rsplit_once(':') {
                let port = port.parse().map_err(|_| bad())?;
                let name = Some(name).filter(|name| is_name(name)).ok_or_else(bad)?;
                rules.exceptions.push((Host::Name(name.to_owned()), port));
            } else {
                rules.public.push(Pattern::parse(item).ok_or_else(bad)?);
            }
        }
        Ok(rules)
    }

    /// Judges a URL as it was written; how far its host may lie.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn judge_text(&self, text: &str) -> Result<Reach, Refusal> {
        // a parser may drop or repair what another one reads
        let plain =
            |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#' | b'?' | b'%' | b'"' | b'<' | b'>');
        if !text.bytes().all(plain) {
            return Err(Refusal::Form);
        }
        let uri: Uri = text.parse().map_err(|_| Refusal::Form)?;
        if uri.query().is_some() {
            return Err(Refusal::Form);
        }
        self.judge(&uri)
    }

    /// How far `name` may lie, for who is not told the port. `None`: it is no permitted host.
    pub fn reach(&self, name: &str) -> Option<Reach> {
        let name = name.to_ascii_lowercase();
        let excepted = self.exceptions.iter().any(|(host, _)| *host == Host::Name(name.clone()));
        let public = is_name(&name) && self.public.iter().any(|pattern| pattern.fits(&name));
        if excepted { Some(Reach::Private) } else { public.then_some(Reach::Public) }
    }

    /// Judges where a connection goes; how far its host may lie.
    ///
    /// # Errors
    /// Why there may be none.
    pub fn judge(&self, uri: &Uri) -> Result<Reach, Refusal> {
        let authority = uri.authority().ok_or(Refusal::Form)?;
        if authority.as_str().contains('@') {
            return Err(Refusal::User);
        }
        let (https, http) = (uri.scheme_str() == Some("https"), uri.scheme_str() == Some("http"));
        if !https && !http {
            return Err(Refusal::Scheme);
        }
        let port = match (authority.port(), authority.as_str().rsplit_once(':')) {
            (Some(_), _) => authority.port_u16().ok_or(Refusal::Form)?,
            // a colon without a port
            (None, Some((_, ""))) => return Err(Refusal::Form),
            (None, _) => {
                if https {
                    443
                } else {
                    80
                }
            }
        };
        let host = authority.host().to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => Host::Address(address),
            Err(_) if is_name(&host) => Host::Name(host),
            Err(_) => return Err(Refusal::Address),
        };
        if self.exceptions.contains(&(host.clone(), port)) {
            return Ok(Reach::Private);
        }
        let Host::Name(name) = host else { return Err(Refusal::Address) };
        if !https {
            return Err(Refusal::Scheme);
        }
        if !PORTS.contains(&port) {
            return Err(Refusal::Port);
        }
        if !self.public.iter().any(|pattern| pattern.fits(&name)) {
            return Err(Refusal::Host(name));
        }
        Ok(Reach::Public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_public_and_exceptions_are_not() {
        let rules = Rules::parse([
            "api.openai.com",
            "*.openai.azure.com",
            "vllm.internal:8000",
            "127.0.0.1:9",
            "[::1]:9",
        ]);
        let rules = rules.unwrap();
        for (url, reach) in [
            ("https://api.openai.com/v1", Reach::Public),
            ("https://API.openai.com:8443/v1", Reach::Public),
            ("https://r.openai.azure.com", Reach::Public),
            ("http://vllm.internal:8000/v1", Reach::Private),
            ("https://vllm.internal:8000", Reach::Private),
            ("http://127.0.0.1:9/v1", Reach::Private),
            ("http://[::1]:9", Reach::Private),
        ] {
            assert_eq!(rules.judge_text(url), Ok(reach), "{url}");
        }
        for (url, refusal) in [
            ("http://api.openai.com/v1", Refusal::Scheme),
            ("https://api.openai.com:80", Refusal::Port),
            ("https://vllm.internal", Refusal::Host("vllm.internal".to_owned())),
            ("http://vllm.internal:8001", Refusal::Scheme),
            ("http://127.0.0.1:10", Refusal::Address),
        ] {
            assert_eq!(rules.judge_text(url), Err(refusal), "{url}");
        }
    }

    #[test]
    fn what_is_no_rule_is_named() {
        for bad in
            ["https://a.com", "a.com:", "a.com:x", "a.com:99999", "*.a.com:80", "127.0.0.1", "a.com/v1", ""]
        {
            assert_eq!(Rules::parse(["ok.example.com", bad]), Err(BadRule(bad.to_owned())), "{bad}");
        }
    }
}
