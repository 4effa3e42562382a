//! Standing requests over TLS: certificates, names, protocols, and the connection that is kept.

mod support;

use axum::{Router, routing::get};
use net::{Client, ClientOptions, HttpClientConfig, NetError, Pem, Secret, TlsConfig};
use rustls::pki_types::pem::PemObject;
use support::*;

#[tokio::test]
async fn tls_shows_the_certificate_and_the_name_and_keeps_the_connection() {
    let ca = Authority::new();
    let peer = |peer: axum::Extension<net::server::PeerAddr>| async move { peer.0.0.port().to_string() };
    let routes = Router::new().route("/", get(peer)).route("/echo", get(echo));
    let server = https(routes, ca.issue(&["node.internal"]), Some(ca.ca())).await;
    let (url, echo_url) = (format!("https://{}/", server.addr), format!("https://{}/echo", server.addr));
    let (cert, key) = ca.issue(&["agent"]);
    let mine = TlsConfig {
        cert: Some(Pem::Inline(Secret::new(cert))),
        key: Some(Pem::Inline(Secret::new(key))),
        server_name: Some("node.internal".to_owned()),
        ..trusting(&ca)
    };
    let known = client(&with_tls(mine.clone()));
    let mut request = standing(&known, &url);
    let first = ask(&mut request).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&mut request).await.unwrap(), first, "the same connection");
    }
    let text = ask(&mut standing(&known, &echo_url)).await.unwrap();
    assert!(text.contains(&format!("host: {}\n", server.addr)), "{text}");

    let refused = |tls: TlsConfig| {
        let mut request = standing(&client(&with_tls(tls)), &url);
        async move { ask(&mut request).await.unwrap_err() }
    };
    let error = refused(TlsConfig { server_name: None, ..mine.clone() }).await;
    assert!(matches!(&error, NetError::Tls { detail, .. } if detail.contains("server_name")), "{error}");
    let error = refused(TlsConfig { cert: None, key: None, ..mine.clone() }).await;
    assert!(error.to_string().contains("client certificate"), "{error}");
    let error = refused(TlsConfig { ca: Some(Authority::new().ca()), ..mine.clone() }).await;
    assert!(error.kind() == "tls" && error.to_string().contains("ca_file"), "{error}");
    let lax = TlsConfig { ca: None, insecure_skip_verify: true, server_name: None, ..mine };
    ask(&mut standing(&client(&with_tls(lax)), &url)).await.unwrap();
}

#[tokio::test]
async fn the_handshake_names_the_server_and_offers_http_1_1_only() {
    let ca = Authority::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let hello = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let start = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.unwrap();
        let hello = start.client_hello();
        let alpn: Vec<Vec<u8>> = hello.alpn().unwrap().map(<[u8]>::to_vec).collect();
        (hello.server_name().map(ToOwned::to_owned), alpn)
    });
    let named = TlsConfig { server_name: Some("node.internal".to_owned()), ..trusting(&ca) };
    let error = ask(&mut standing(&client(&with_tls(named)), &format!("https://{addr}/"))).await.unwrap_err();
    assert_eq!(error.kind(), "connect", "{error}");
    assert_eq!(hello.await.unwrap(), (Some("node.internal".to_owned()), vec![b"http/1.1".to_vec()]));
}

#[tokio::test]
async fn changed_certificate_files_end_the_old_connection() {
    let ca = Authority::new();
    let peer = |peer: axum::Extension<net::server::PeerAddr>| async move { peer.0.0.port().to_string() };
    let server = https(Router::new().route("/", get(peer)), ca.issue(&["127.0.0.1"]), None).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let client = client(&with_tls(TlsConfig { ca: Some(Pem::File(file.clone())), ..TlsConfig::default() }));
    let mut request = standing(&client, &format!("https://{}/", server.addr));
    let first = ask(&mut request).await.unwrap();
    assert_eq!(ask(&mut request).await.unwrap(), first);

    std::fs::write(&file, format!("{}{}", ca.pem, Authority::new().pem)).unwrap();
    let second = ask(&mut request).await.unwrap();
    assert_ne!(second, first, "a new connection, made with the new files");

    std::fs::write(&file, "garbage").unwrap();
    assert_eq!(ask(&mut request).await.unwrap(), second, "the former files stay in use, and so does the connection");
}

#[tokio::test]
async fn a_far_end_that_insists_on_http_2_is_left_to_the_pooled_connections() {
    let ca = Authority::new();
    let (cert, key) = ca.issue(&["127.0.0.1"]);
    let mut tls =
        rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![rustls::pki_types::CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(tcp).await else { return };
                let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                    Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::from(format!(
                        "{:?}",
                        request.version()
                    ))))
                });
                let executor = hyper_util::rt::TokioExecutor::new();
                let _ = hyper::server::conn::http2::Builder::new(executor)
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let mut request = standing(&client(&with_tls(trusting(&ca))), &url);
    for _ in 0..2 {
        assert_eq!(ask(&mut request).await.unwrap(), "HTTP/2.0");
    }
    let without = HttpClientConfig { enable_http2: false, ..with_tls(trusting(&ca)) };
    assert_eq!(ask(&mut standing(&client(&without), &url)).await.unwrap_err().kind(), "tls");
}

#[tokio::test]
async fn a_certificate_file_may_come_later() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&["127.0.0.1"]), None).await;
    let url = format!("https://{}/", server.addr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let config = with_tls(TlsConfig { ca: Some(Pem::File(file.clone())), ..TlsConfig::default() });
    let strict = ClientOptions { file_check: std::time::Duration::ZERO, ..ClientOptions::default() };
    assert!(matches!(Client::new(&config, strict.clone()), Err(NetError::File { .. })));
    let client = Client::new(&config, ClientOptions { files_may_be_wrong: true, ..strict }).unwrap();
    let mut request = standing(&client, &url);
    for content in [None, Some("no certificate\n"), None] {
        match content {
            Some(content) => std::fs::write(&file, content).unwrap(),
            None => drop(std::fs::remove_file(&file)),
        }
        for error in [ask(&mut request).await.unwrap_err(), fetch(&client, &url).await.unwrap_err()] {
            assert!(matches!(error, NetError::File { .. }), "{error}");
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
    }
    std::fs::write(&file, &ca.pem).unwrap();
    assert_eq!(ask(&mut request).await.unwrap(), "hello");
    assert_eq!(fetch(&client, &url).await.unwrap().body, "hello");
    // From now on a file that breaks leaves what works.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask(&mut request).await.unwrap(), "hello");
}
