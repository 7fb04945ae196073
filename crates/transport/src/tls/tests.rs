use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;
use crate::{
    HttpLimits,
    testing::{Server, call},
};

/// An authority, and a certificate of its for `names`, as files.
struct Issued {
    _files: TempDir,
    settings: TlsSettings,
}

fn issue(names: &[&str]) -> Issued {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();

    let files = TempDir::new().unwrap();
    let write = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = TlsSettings {
        certificate: write("certificate.pem", certificate.pem()),
        key: write("key.pem", key.serialize_pem()),
        authority: write("authority.pem", authority.pem()),
        clients: Clients::Mutual,
    };
    Issued { _files: files, settings }
}

async fn secured(settings: &TlsSettings) -> Server {
    Server::at("127.0.0.1:0".parse().unwrap(), Some(settings), HttpLimits::default()).await
}

#[tokio::test]
async fn the_right_certificates_connect_by_name_and_by_address() {
    let ours = issue(&["localhost", "127.0.0.1"]);
    let server = secured(&ours.settings).await;
    for host in ["localhost", "127.0.0.1"] {
        let transport = server.endpoint("https", host).connect(Some(&ours.settings), &Tasks::new()).unwrap();
        call(&transport, "").await.unwrap();
    }
}

#[tokio::test]
async fn wrong_certificates_do_not() {
    let ours = issue(&["localhost"]);
    let theirs = issue(&["localhost"]);
    let server = secured(&ours.settings).await;
    let stranger = TlsSettings { authority: ours.settings.authority.clone(), ..theirs.settings.clone() };
    let distrustful = TlsSettings { authority: theirs.settings.authority.clone(), ..ours.settings.clone() };
    for (case, scheme, host, settings) in [
        ("a client of another authority", "https", "localhost", Some(&stranger)),
        ("a server of another authority", "https", "localhost", Some(&distrustful)),
        ("a server of another name", "https", "127.0.0.1", Some(&ours.settings)),
        ("a client without TLS", "http", "localhost", None),
    ] {
        let transport = server.endpoint(scheme, host).connect(settings, &Tasks::new()).unwrap();
        for _ in 0..3 {
            assert_eq!(call(&transport, "").await.unwrap_err().code, Code::Unavailable, "{case}");
        }
        assert_eq!(server.calls(), 0, "{case}");
    }
    // and nobody has been locked out
    let transport =
        server.endpoint("https", "localhost").connect(Some(&ours.settings), &Tasks::new()).unwrap();
    call(&transport, "").await.unwrap();
}

/// What a client without a certificate reads, or that it is cut off.
async fn asked_without_certificate(server: &Server, settings: &TlsSettings) -> std::io::Result<String> {
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(settings.roots().unwrap())
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    // in TLS 1.3 the client has finished before the server judges
    let _written = stream.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let ours = issue(&["localhost"]);
    let server = secured(&ours.settings).await;
    assert!(asked_without_certificate(&server, &ours.settings).await.is_err());
}

#[tokio::test]
async fn a_port_for_agents_asks_for_no_certificate_and_still_has_one() {
    let ours = issue(&["localhost"]);
    let server = secured(&TlsSettings { clients: Clients::OneSided, ..ours.settings.clone() }).await;
    let answer = asked_without_certificate(&server, &ours.settings).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_port_behind_something_that_ends_tls_has_none_itself() {
    let ours = issue(&["localhost"]);
    let server = secured(&TlsSettings { clients: Clients::Plain, ..ours.settings.clone() }).await;
    call(&server.endpoint("http", "localhost").connect(None, &Tasks::new()).unwrap(), "").await.unwrap();
    assert!(asked_without_certificate(&server, &ours.settings).await.is_err());
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let ours = issue(&["localhost"]);
    let absent = TlsSettings { key: "/nowhere/key.pem".into(), ..ours.settings.clone() };
    let swapped = TlsSettings { key: ours.settings.certificate.clone(), ..ours.settings.clone() };
    for (settings, name) in [(absent, "key.pem"), (swapped, "certificate.pem")] {
        let error = settings.connector().err().unwrap().to_string();
        assert!(error.contains(name), "{error}");
        assert_eq!(settings.acceptor().err().unwrap().to_string(), error);
    }
    let other = TlsSettings { key: issue(&["localhost"]).settings.key, ..ours.settings };
    assert!(other.connector().is_err());
}
