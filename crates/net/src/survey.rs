//! Looks at the way to a URL step by step, for a person: which proxy, name, connection, tunnel, certificates.
//!
//! Sends no HTTP request but a proxy's CONNECT, and nothing a server could store. Keeps true: each step ends within its own
//! time; certificates are shown whether they are trusted or not; no text holds a secret.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::Engine;
use rustls::{
    CertificateError,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

use crate::{
    CertificateFacts, HttpClientConfig, NetError, Pem, ProxyConfig, TlsConfig, certificate_facts,
    connections::Carrier,
    crypto,
    error::{classify_connect, place, silent},
    tls::{self, VerifiedName},
};

/// What was found on the way to one URL. A step that was not reached, or is not on this way, is `None`.
#[derive(Debug)]
pub struct Survey {
    /// The proxy that carries the requests, if one does.
    pub proxy: Option<ProxySight>,
    /// The addresses of the name that is dialled: the proxy's if there is one, else the URL's.
    pub addresses: Option<Result<Vec<IpAddr>, NetError>>,
    /// The address that took the connection.
    pub connection: Option<Result<SocketAddr, NetError>>,
    /// TLS with the URL's host.
    pub tls: Option<Result<TlsSight, NetError>>,
}

impl Survey {
    /// The first step that failed, the trust in certificates aside.
    pub fn failure(&self) -> Option<&NetError> {
        let failed = |step: Option<&NetError>| step.is_some();
        let steps = [
            self.addresses.as_ref().and_then(|r| r.as_ref().err()),
            self.connection.as_ref().and_then(|r| r.as_ref().err()),
            self.proxy.as_ref().and_then(|p| p.tunnel.as_ref()).and_then(|r| r.as_ref().err()),
            self.tls.as_ref().and_then(|r| r.as_ref().err()),
        ];
        steps.into_iter().find(|step| failed(*step)).flatten()
    }
}

/// A proxy on the way.
#[derive(Debug)]
pub struct ProxySight {
    /// `scheme://host:port`.
    pub url: String,
    /// Who named it: `proxy_url`, or the environment's variables.
    pub origin: &'static str,
    /// Whether it opened a tunnel (CONNECT); `None` where none is asked for (plain HTTP, SOCKS) or it was not reached.
    pub tunnel: Option<Result<(), NetError>>,
}

/// What a TLS handshake showed.
#[derive(Debug)]
pub struct TlsSight {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Leaf first, as sent.
    pub chain: Vec<CertificateFacts>,
    /// The name that the certificate must be for.
    pub name: String,
    /// What trust rests on: `the system's certificates`, a file, nothing (verification is off).
    pub roots: String,
    /// Whether the chain is trusted here.
    pub trust: Result<(), Distrust>,
}

/// Why a chain of certificates is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    pub kind: DistrustKind,
    /// The verifier's own words.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistrustKind {
    /// No trusted authority signed it.
    UnknownIssuer,
    Expired,
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// Nothing is trusted on this machine at all.
    NoRoots,
    Other,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// Looks at the way that a client of `config` takes to `url`. Each step may take `patience`, so that all of it takes at
/// most five times that. The error is a configuration that no client can be built from.
pub async fn survey(config: &HttpClientConfig, url: &Url, patience: Duration) -> Result<Survey, NetError> {
    let carrier = Carrier::new(&config.proxy, &crate::ClientOptions::default())?;
    let proxy = carrier.proxy_for(url);
    let dialled = proxy.as_ref().unwrap_or(url);
    let mut seen = Survey { proxy: None, addresses: None, connection: None, tls: None };
    if let Some(proxy) = &proxy {
        let origin = match config.proxy {
            ProxyConfig::Url { .. } => "proxy_url",
            _ => "HTTPS_PROXY / HTTP_PROXY",
        };
        let url = format!("{}://{}", proxy.scheme(), place(proxy));
        seen.proxy = Some(ProxySight { url, origin, tunnel: None });
    }
    let found = resolve(dialled, patience).await;
    let addresses = found.as_ref().map(Clone::clone).unwrap_or_default();
    seen.addresses = Some(found);
    if addresses.is_empty() {
        return Ok(seen);
    }
    let (tcp, at) = match connect(dialled, &addresses, patience).await {
        Ok(connected) => connected,
        Err(error) => {
            seen.connection = Some(Err(error));
            return Ok(seen);
        }
    };
    seen.connection = Some(Ok(at));
    if url.scheme() != "https" {
        return Ok(seen);
    }
    let mut line = Line::Plain(tcp);
    if let (Some(proxy), Some(sight)) = (&proxy, &mut seen.proxy) {
        if proxy.scheme().starts_with("socks") {
            // Its handshake is the client's business; whether it carries is seen when a request is sent.
            return Ok(seen);
        }
        match tunnel(line, proxy, url, &carrier, config, patience).await {
            Ok(open) => {
                sight.tunnel = Some(Ok(()));
                line = open;
            }
            Err(error) => {
                sight.tunnel = Some(Err(error));
                return Ok(seen);
            }
        }
    }
    seen.tls = Some(handshake(line, url, &config.tls, patience).await);
    Ok(seen)
}

async fn resolve(url: &Url, patience: Duration) -> Result<Vec<IpAddr>, NetError> {
    let name = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => return Ok(vec![ip.into()]),
        Some(Host::Ipv6(ip)) => return Ok(vec![ip.into()]),
        None => return Err(NetError::Url { url: crate::masked(url), why: "it has no host".to_owned() }),
    };
    let failed = |detail: String| NetError::Dns { host: name.clone(), detail };
    match tokio::time::timeout(patience, tokio::net::lookup_host((name.as_str(), 0))).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            if addresses.is_empty() { Err(failed("the name has no address".to_owned())) } else { Ok(addresses) }
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer from the name server within {} s", patience.as_secs_f64()))),
    }
}

async fn connect(url: &Url, addresses: &[IpAddr], patience: Duration) -> Result<(TcpStream, SocketAddr), NetError> {
    let port = url.port_or_known_default().unwrap_or(443);
    let try_all = async {
        let mut last = None;
        for address in addresses {
            let at = SocketAddr::new(*address, port);
            // One silent address must not take the time of the others.
            let part = patience / u32::try_from(addresses.len().clamp(1, 4)).unwrap_or(1);
            match tokio::time::timeout(part, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => return Ok((stream, at)),
                Ok(Err(error)) => last = Some(classify_connect(&error, url, patience)),
                Err(_) => last = last.or_else(|| Some(silent(url, part))),
            }
        }
        Err(last.unwrap_or_else(|| silent(url, patience)))
    };
    tokio::time::timeout(patience, try_all).await.unwrap_or_else(|_| Err(silent(url, patience)))
}

/// Asks the proxy to connect us to the URL's host.
async fn tunnel(
    line: Line,
    proxy: &Url,
    url: &Url,
    carrier: &Carrier,
    config: &HttpClientConfig,
    patience: Duration,
) -> Result<Line, NetError> {
    let refused = |detail: String| NetError::Proxy {
        proxy: format!("{}://{}", proxy.scheme(), place(proxy)),
        host: place(url),
        detail,
    };
    let work = async {
        let mut line = match (proxy.scheme(), line) {
            ("https", Line::Plain(tcp)) => {
                let tls = tls::client_config(&config.tls, false, VerifiedName::OfUrl)?;
                let name = tls::server_name(proxy.host_str().unwrap_or_default())?;
                let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
                Line::Tls(Box::new(stream.map_err(|e| refused(format!("TLS with the proxy failed: {e}")))?))
            }
            (_, line) => line,
        };
        let mut head = format!("CONNECT {0} HTTP/1.1\r\nhost: {0}\r\n", place(url));
        if !proxy.username().is_empty() {
            let decode = |text: &str| percent_decoded(text);
            let pair = format!("{}:{}", decode(proxy.username()), decode(proxy.password().unwrap_or_default()));
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            head.push_str(&format!("proxy-authorization: Basic {pair}\r\n"));
        }
        let mut head = head.into_bytes();
        for (name, value) in carrier.connect_headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        line.write_all(&head).await.map_err(|e| refused(format!("it hung up: {e}")))?;
        let status = read_status(&mut line).await.map_err(|e| refused(format!("it hung up: {e}")))?;
        match status {
            Some(200..=299) => Ok(line),
            Some(407) => {
                Err(refused("it wants a user name and password (407); put them in the proxy's URL".to_owned()))
            }
            Some(status) => {
                Err(refused(format!("it answered CONNECT with {status}; the proxy's rules or its log say why")))
            }
            None => Err(refused("what listens there does not speak HTTP".to_owned())),
        }
    };
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(refused("no answer to CONNECT in time".to_owned())),
    }
}

fn percent_decoded(text: &str) -> String {
    let protected = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(protected.as_bytes()).map(|(k, _)| k.into_owned()).next().unwrap_or_default()
}

/// The status of an answer, byte by byte so that nothing of the tunnel is swallowed. At most 16 KiB of head.
async fn read_status(line: &mut Line) -> io::Result<Option<u16>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        let mut byte = [0];
        line.read_exact(&mut byte).await?;
        head.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split_whitespace();
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    Ok(words.next().filter(|_| is_http).and_then(|status| status.parse().ok()))
}

async fn handshake(line: Line, url: &Url, config: &TlsConfig, patience: Duration) -> Result<TlsSight, NetError> {
    // Verification is off for the handshake and done afterwards, because a refused chain would not be shown.
    let blind = TlsConfig { insecure_skip_verify: true, ..config.clone() };
    let settings = tls::client_config(&blind, false, VerifiedName::OfUrl)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let wanted = config.server_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(host).to_owned();
    let name = tls::server_name(&wanted)?;
    let connecting = TlsConnector::from(Arc::new(settings)).connect(name.clone(), line);
    let stream = match tokio::time::timeout(patience, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(match classify_connect(&error, url, patience) {
                NetError::Connect { host, detail } => NetError::Tls { host, detail },
                other => other,
            });
        }
        Err(_) => {
            let detail = format!("no answer to the handshake within {} s", patience.as_secs_f64());
            return Err(NetError::Tls { host: place(url), detail });
        }
    };
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let chain: Vec<CertificateDer<'static>> =
        connection.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
    let trust = if config.insecure_skip_verify { Ok(()) } else { verify(config, &chain, &name)? };
    Ok(TlsSight {
        version,
        chain: chain.iter().filter_map(|der| certificate_facts(der)).collect(),
        name: wanted,
        roots: roots_of(config),
        trust,
    })
}

fn roots_of(config: &TlsConfig) -> String {
    match (&config.ca, config.insecure_skip_verify) {
        (_, true) => "nothing (insecure_skip_verify)".to_owned(),
        (Some(Pem::File(path)), _) => format!("tls_config.ca_file {}", path.display()),
        (Some(Pem::Inline(_)), _) => "tls_config.ca".to_owned(),
        (Some(Pem::Stored(stored)), _) => format!("tls_config.ca {}", stored.reference()),
        (None, _) => match std::env::var_os("SSL_CERT_FILE").or_else(|| std::env::var_os("SSL_CERT_DIR")) {
            Some(path) => format!("{}", std::path::Path::new(&path).display()),
            None => "the system's certificates".to_owned(),
        },
    }
}

fn verify(
    config: &TlsConfig,
    chain: &[CertificateDer<'static>],
    name: &rustls::pki_types::ServerName<'static>,
) -> Result<Result<(), Distrust>, NetError> {
    let roots = match &config.ca {
        Some(pem) => Arc::new(tls::roots_from(pem)?),
        None => tls::system_roots(),
    };
    let distrust = |kind, detail: String| Ok(Err(Distrust { kind, detail }));
    if roots.is_empty() {
        return distrust(DistrustKind::NoRoots, "no trusted certificates are installed on this machine".to_owned());
    }
    let Some((leaf, intermediates)) = chain.split_first() else {
        return distrust(DistrustKind::Other, "the server sent no certificate".to_owned());
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, crypto::provider())
        .build()
        .map_err(|e| NetError::Config { what: format!("tls_config: the trusted certificates are unusable: {e}") })?;
    match verifier.verify_server_cert(leaf, intermediates, name, &[], UnixTime::now()) {
        Ok(_) => Ok(Ok(())),
        Err(error) => distrust(kind_of(&error), error.to_string()),
    }
}

fn kind_of(error: &rustls::Error) -> DistrustKind {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(error) = error else {
        return DistrustKind::Other;
    };
    match error {
        C::UnknownIssuer | C::BadSignature => DistrustKind::UnknownIssuer,
        // A leaf that is its own authority, or an authority used as a leaf.
        C::Other(_) => DistrustKind::UnknownIssuer,
        C::Expired | C::ExpiredContext { .. } => DistrustKind::Expired,
        C::NotValidYet | C::NotValidYetContext { .. } => DistrustKind::NotYetValid,
        C::NotValidForName | C::NotValidForNameContext { .. } => DistrustKind::WrongName,
        _ => DistrustKind::Other,
    }
}

/// A connection, with or without TLS to a proxy.
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
