//! Loopback parts for the tests: a certificate authority, servers, and a CONNECT proxy.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod scripted;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, http::HeaderMap, routing::get};
use bytes::Bytes;
use http::Request;
use net::{
    Client, ClientOptions, HttpClientConfig, NetError, Pem, Reply, Secret, SecretSource, StandingRequest, TlsConfig,
    server::{ServerOptions, ServerTls, serve},
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A throwaway certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Authorities of one name and different keys would fail as forgeries, not as strangers.
        let name = format!("throwaway authority {}", fastrand::u64(..));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.self_signed(&key).unwrap();
        let pem = cert.pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for DNS names and addresses.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|n| match n.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName((*n).try_into().unwrap()),
            })
            .collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    pub fn ca(&self) -> Pem {
        Pem::Inline(Secret::new(self.pem.clone()))
    }
}

/// A server that ends when dropped.
pub struct Server {
    pub addr: SocketAddr,
    _stop: DropGuard,
}

pub async fn http(router: Router) -> Server {
    start(router, ServerOptions::default()).await
}

pub async fn https(router: Router, (cert, key): (String, String), client_ca: Option<Pem>) -> Server {
    let tls = ServerTls {
        cert: Pem::Inline(Secret::new(cert)),
        key: Pem::Inline(Secret::new(key)),
        require_client_cert: client_ca.is_some(),
        client_ca,
        versions: net::TlsVersions::default(),
    };
    start(router, ServerOptions { tls: Some(tls), ..ServerOptions::default() }).await
}

pub async fn start(router: Router, options: ServerOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, router, options, stop.clone()));
    Server { addr, _stop: stop.drop_guard() }
}

/// A proxy that answers CONNECT by opening a tunnel to one address, whatever was asked for, and notes the request heads.
pub struct Proxy {
    pub addr: SocketAddr,
    pub heads: Arc<Mutex<Vec<String>>>,
}

pub async fn proxy(target: SocketAddr, answer: &'static str) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match client.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let connect = head.starts_with("CONNECT ");
                seen.lock().unwrap().push(head.clone());
                if !connect {
                    // Absolute-form request: answered by the proxy itself.
                    let _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nforwarded").await;
                    return;
                }
                let _ = client.write_all(answer.as_bytes()).await;
                if answer.contains(" 200 ") {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut far).await;
                }
            });
        }
    });
    Proxy { addr, heads }
}

pub const SECONDS: Duration = Duration::from_secs(20);
pub const AMP: &str = "aps-workspaces.us-east-1.amazonaws.com";

pub fn client(config: &HttpClientConfig) -> Client {
    Client::new(config, ClientOptions { file_check: Duration::ZERO, ..ClientOptions::default() }).unwrap()
}

pub fn with_tls(tls: TlsConfig) -> HttpClientConfig {
    HttpClientConfig { tls, ..HttpClientConfig::default() }
}

pub fn trusting(ca: &Authority) -> TlsConfig {
    TlsConfig { ca: Some(ca.ca()), ..TlsConfig::default() }
}

pub fn get_request(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

pub async fn fetch(client: &Client, url: &str) -> Result<Reply, NetError> {
    client.send(get_request(url), SECONDS, 1 << 20).await
}

pub fn standing(client: &Client, url: &str) -> StandingRequest {
    client.standing(&url.parse().unwrap(), HeaderMap::new()).unwrap()
}

pub const LIMIT: u64 = 1 << 20;

/// One sending that must end in a 200.
pub async fn ask(request: &mut StandingRequest) -> Result<String, NetError> {
    let mut buf = b"what was there before".to_vec();
    let head = request.send_into(SECONDS, LIMIT, &mut buf).await?;
    assert_eq!(head.status, axum::http::StatusCode::OK);
    Ok(String::from_utf8(buf).unwrap())
}

pub fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

pub fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

/// Answers with the request's headers, one a line.
pub async fn echo(headers: HeaderMap) -> String {
    headers.iter().map(|(k, v)| format!("{k}: {}\n", v.to_str().unwrap())).collect()
}
