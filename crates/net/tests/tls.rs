//! Certificates, names and keys against real TLS servers on loopback.

mod support;

use axum::Router;
use axum::routing::get;
use net::Client;
use net::ClientOptions;
use net::NetError;
use net::Pem;
use net::Secret;
use net::TlsConfig;
use net::TlsVersion;
use net::TlsVersions;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use support::*;

#[tokio::test]
async fn https_needs_a_trusted_authority_and_says_how_to_add_one() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&["127.0.0.1"]), None).await;
    let url = format!("https://{}/", server.addr);
    assert_eq!(fetch(&client(&with_tls(trusting(&ca))), &url).await.unwrap().body, "hello");

    let error = fetch(&client(&with_tls(trusting(&Authority::new()))), &url).await.unwrap_err();
    assert_eq!(error.kind(), "tls");
    assert!(error.to_string().contains("ca_file"), "{error}");

    let lax = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(fetch(&client(&with_tls(lax)), &url).await.unwrap().body, "hello");
}

#[tokio::test]
async fn a_listener_speaks_the_versions_that_it_is_told() {
    let ca = Authority::new();
    for (versions, works, fails) in [
        (TlsVersions { min: Some(TlsVersion::Tls13), max: None }, TlsVersion::Tls13, TlsVersion::Tls12),
        (TlsVersions { min: None, max: Some(TlsVersion::Tls12) }, TlsVersion::Tls12, TlsVersion::Tls13),
    ] {
        let (cert, key) = ca.issue(&["127.0.0.1"]);
        let tls = net::server::ServerTls {
            cert: Pem::Inline(Secret::new(cert)),
            key: Pem::Inline(Secret::new(key)),
            client_ca: None,
            require_client_cert: false,
            versions,
        };
        let server = start(hello(), net::server::ServerOptions { tls: Some(tls), ..Default::default() }).await;
        let url = format!("https://{}/", server.addr);
        let only = |version| TlsConfig { min_version: Some(version), max_version: Some(version), ..trusting(&ca) };
        assert_eq!(fetch(&client(&with_tls(only(works))), &url).await.unwrap().body, "hello");
        assert_eq!(fetch(&client(&with_tls(only(fails))), &url).await.unwrap_err().kind(), "tls");
    }
}

#[tokio::test]
async fn server_name_is_sent_and_verified_and_the_host_header_stays() {
    let ca = Authority::new();
    let server = https(Router::new().route("/", get(echo)), ca.issue(&["node.internal"]), None).await;
    let url = format!("https://{}/", server.addr);
    let error = fetch(&client(&with_tls(trusting(&ca))), &url).await.unwrap_err();
    assert!(matches!(&error, NetError::Tls { detail, .. } if detail.contains("server_name")), "{error}");

    let named = TlsConfig { server_name: Some("node.internal".to_owned()), ..trusting(&ca) };
    let named = client(&with_tls(named));
    for _ in 0..2 {
        let reply = fetch(&named, &url).await.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(text.contains(&format!("host: {}\n", server.addr)), "{text}");
    }
    let wrong = TlsConfig { server_name: Some("other.internal".to_owned()), ..trusting(&ca) };
    assert_eq!(fetch(&client(&with_tls(wrong)), &url).await.unwrap_err().kind(), "tls");
}

#[tokio::test]
async fn the_name_in_the_handshake_is_server_name() {
    let ca = Authority::new();
    // Only a rustls acceptor shows the name; the handshake stops after it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let sni = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let start = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.unwrap();
        start.client_hello().server_name().map(ToOwned::to_owned)
    });
    let named = TlsConfig { server_name: Some("node.internal".to_owned()), ..trusting(&ca) };
    assert!(fetch(&client(&with_tls(named)), &format!("https://{addr}/")).await.is_err());
    assert_eq!(sni.await.unwrap().as_deref(), Some("node.internal"));
}

#[tokio::test]
async fn a_client_certificate_is_presented_and_its_absence_explained() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&["127.0.0.1"]), Some(ca.ca())).await;
    let url = format!("https://{}/", server.addr);
    let error = fetch(&client(&with_tls(trusting(&ca))), &url).await.unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");

    let (cert, key) = ca.issue(&["agent"]);
    let mine = TlsConfig {
        cert: Some(Pem::Inline(Secret::new(cert))),
        key: Some(Pem::Inline(Secret::new(key))),
        ..trusting(&ca)
    };
    assert_eq!(fetch(&client(&with_tls(mine)), &url).await.unwrap().body, "hello");
}

#[tokio::test]
async fn a_changed_ca_file_is_used_for_new_connections_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = https(hello(), new.issue(&["127.0.0.1"]), None).await;
    let url = format!("https://{}/", server.addr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &old.pem).unwrap();
    let client = client(&with_tls(TlsConfig { ca: Some(Pem::File(file.clone())), ..TlsConfig::default() }));
    assert_eq!(fetch(&client, &url).await.unwrap_err().kind(), "tls");

    std::fs::write(dir.path().join("next"), &new.pem).unwrap();
    std::fs::rename(dir.path().join("next"), &file).unwrap();
    assert_eq!(fetch(&client, &url).await.unwrap().body, "hello");

    std::fs::write(&file, "garbage").unwrap();
    assert_eq!(fetch(&client, &url).await.unwrap().body, "hello");
}

#[tokio::test]
async fn unusable_certificates_are_named_and_never_shown() {
    let ca = Authority::new();
    let (cert, key) = ca.issue(&["a"]);
    let (_, other_key) = ca.issue(&["b"]);
    let pem = |text: &str| Some(Pem::Inline(Secret::new(text)));
    let cases = [
        (TlsConfig { cert: pem(&cert), key: pem(&other_key), ..TlsConfig::default() }, "do not work together"),
        (TlsConfig { cert: pem(&cert), ..TlsConfig::default() }, "needs both"),
        (TlsConfig { cert: pem(&cert), key: pem("hunter2"), ..TlsConfig::default() }, "client key"),
        (TlsConfig { ca: pem("nothing"), ..TlsConfig::default() }, "BEGIN CERTIFICATE"),
        (
            TlsConfig { ca: Some(Pem::File("/nonexistent/ca.pem".into())), ..TlsConfig::default() },
            "/nonexistent/ca.pem",
        ),
        (
            TlsConfig {
                min_version: Some(TlsVersion::Tls13),
                max_version: Some(TlsVersion::Tls12),
                ..TlsConfig::default()
            },
            "min_version",
        ),
        (TlsConfig { server_name: Some("not a name".to_owned()), ..TlsConfig::default() }, "server_name"),
    ];
    for (tls, expected) in cases {
        let error = Client::new(&with_tls(tls), ClientOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter2") && !error.contains(key.trim()), "{error}");
    }
}

/// Takes every client certificate, as servers with rules of their own may.
#[derive(Debug)]
struct Anyone;

impl rustls::server::danger::ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        Ok(rustls::server::danger::ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[tokio::test]
async fn a_client_certificate_of_version_1_is_presented() {
    net::install_crypto_provider();
    let ca = Authority::new();
    let (chain, key) = ca.issue(&["127.0.0.1"]);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(std::sync::Arc::new(Anyone))
        .with_single_cert(chain, key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)).accept(stream).await.unwrap();
        stream.get_ref().1.peer_certificates().map(|list| list[0].to_vec())
    });
    let both = include_str!("data/version1.pem");
    let pem = || Some(Pem::Inline(Secret::new(both)));
    let client = client(&with_tls(TlsConfig { cert: pem(), key: pem(), ..trusting(&ca) }));
    // Nobody answers over the connection.
    assert!(fetch(&client, &format!("https://{addr}/")).await.is_err());
    let mine = CertificateDer::from_pem_slice(both.as_bytes()).unwrap();
    assert_eq!(seen.await.unwrap().as_deref(), Some(mine.as_ref()));
}
