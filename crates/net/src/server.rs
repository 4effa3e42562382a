//! Listens for HTTP: an accept loop with limits that `axum::serve` lacks (header time, connections, TLS, drain).
//!
//! Routes nothing and bounds no body; the service it is given does. Keeps true: one connection's fault ends that
//! connection only; after `shutdown` no connection is accepted and those open have `drain_timeout` to finish.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{FileStamps, NetError, Pem, TlsVersions, crypto, tls};

/// Who connected; in every request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Limits of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Serve HTTPS.
    pub tls: Option<ServerTls>,
    /// A connection that has not sent a complete request head (or finished its TLS handshake) in this time is closed.
    pub header_read_timeout: Duration,
    /// Connections open at the same time; more wait in the kernel's backlog.
    pub connection_limit: usize,
    /// Bytes of request head; larger is refused.
    pub head_limit: usize,
    /// After shutdown, how long requests under way may take.
    pub drain_timeout: Duration,
    pub http2: Http2Options,
}

/// What only HTTP/2 has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Options {
    /// A connection that is silent for so long is asked whether it lives.
    pub keep_alive_interval: Duration,
    /// And closed without an answer in this time.
    pub keep_alive_timeout: Duration,
    /// Requests under way on one connection.
    pub max_concurrent_streams: u32,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(20),
            max_concurrent_streams: 200,
        }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tls: None,
            header_read_timeout: Duration::from_secs(10),
            connection_limit: 1024,
            head_limit: 64 << 10,
            drain_timeout: Duration::from_secs(5),
            http2: Http2Options::default(),
        }
    }
}

/// Certificate of a listener; files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Chain, leaf first.
    pub cert: Pem,
    pub key: Pem,
    /// Authorities whose client certificates are accepted.
    pub client_ca: Option<Pem>,
    /// Refuse clients without a certificate.
    pub require_client_cert: bool,
    pub versions: TlsVersions,
}

impl ServerTls {
    /// What is wrong with the certificate or the key, before anything listens.
    pub fn check(&self) -> Result<(), NetError> {
        TlsSlot::new(self.clone()).map(drop)
    }
}

/// Serves until `shutdown`, then drains. Only an unusable TLS configuration is an error.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    options: ServerOptions,
    shutdown: CancellationToken,
) -> Result<(), NetError>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tls = options.tls.clone().map(TlsSlot::new).transpose()?.map(Arc::new);
    let room = Arc::new(Semaphore::new(options.connection_limit.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let aborted = CancellationToken::new();
    let options = Arc::new(options);
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors, or the client is gone already: neither may end the server nor spin it.
                if !is_of_one_connection(&error) {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (tls, service, options, watcher, aborted) =
            (tls.clone(), service.clone(), Arc::clone(&options), graceful.watcher(), aborted.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let work = async {
                let Some(tls) = tls else {
                    return talk(stream, peer, service, &options, watcher).await;
                };
                let handshake = TlsAcceptor::from(tls.current()).accept(stream);
                match tokio::time::timeout(options.header_read_timeout, handshake).await {
                    Ok(Ok(stream)) => talk(stream, peer, service, &options, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                }
            };
            tokio::select! {
                () = aborted.cancelled() => {}
                () = work => {}
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(options.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after the drain time; their connections are closed");
    }
    aborted.cancel();
    Ok(())
}

async fn talk<IO, S, B>(
    stream: IO,
    peer: SocketAddr,
    service: S,
    options: &ServerOptions,
    watcher: hyper_util::server::graceful::Watcher,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_buf_size(options.head_limit.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(options.head_limit).unwrap_or(u32::MAX))
        .keep_alive_interval(options.http2.keep_alive_interval)
        .keep_alive_timeout(options.http2.keep_alive_timeout)
        .max_concurrent_streams(options.http2.max_concurrent_streams);
    let spoken = Arc::new(AtomicBool::new(false));
    let stream = UntilFirstRequest {
        stream,
        spoken: Arc::clone(&spoken),
        deadline: Box::pin(tokio::time::sleep(options.header_read_timeout)),
    };
    let service = tower::ServiceExt::map_request(service, move |mut request: Request<Incoming>| {
        spoken.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(PeerAddr(peer));
        request
    });
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, error, "a connection ended with an error");
    }
}

/// Ends a connection that has not brought a whole request head by its deadline. hyper's own header timer starts only
/// after it has told HTTP/1 from HTTP/2, for which it would wait for ever.
struct UntilFirstRequest<IO> {
    stream: IO,
    spoken: Arc<AtomicBool>,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for UntilFirstRequest<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.spoken.load(Ordering::Relaxed) && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for UntilFirstRequest<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// The TLS configuration of the newest readable state of its files.
struct TlsSlot {
    tls: ServerTls,
    state: Mutex<(Arc<ServerConfig>, FileStamps, Instant)>,
}

const FILE_CHECK: Duration = Duration::from_secs(10);

impl TlsSlot {
    fn new(tls: ServerTls) -> Result<Self, NetError> {
        let stamps = FileStamps::take(files(&tls));
        let built = server_config(&tls)?;
        Ok(Self { tls, state: Mutex::new((built, stamps, Instant::now())) })
    }

    fn current(&self) -> Arc<ServerConfig> {
        let mut state = self.state.lock();
        let (built, stamps, checked) = &mut *state;
        if !stamps.is_empty() && checked.elapsed() >= FILE_CHECK {
            *checked = Instant::now();
            let now = stamps.again();
            if now != *stamps {
                match server_config(&self.tls) {
                    Ok(fresh) => *built = fresh,
                    Err(error) => {
                        tracing::warn!(%error, "the server's certificate files changed but cannot be used; the old ones stay in use")
                    }
                }
                *stamps = now;
            }
        }
        Arc::clone(built)
    }
}

/// Server side of TLS for protocols other than HTTP, with the certificate that is newest at each handshake.
#[derive(Clone)]
pub struct TlsAccept(Arc<TlsSlot>);

impl TlsAccept {
    /// Fails when the certificate or the key is of no use.
    pub fn new(tls: ServerTls) -> Result<Self, NetError> {
        TlsSlot::new(tls).map(|slot| Self(Arc::new(slot)))
    }

    /// Shakes hands. The caller bounds the time. No application protocol is agreed on.
    pub async fn accept<IO>(&self, stream: IO) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut config = ServerConfig::clone(&self.0.current());
        config.alpn_protocols.clear();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await
    }
}

fn files(tls: &ServerTls) -> Vec<PathBuf> {
    [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|pem| match pem {
            Pem::File(path) => Some(path.clone()),
            Pem::Inline(_) | Pem::Stored(_) => None,
        })
        .collect()
}

fn server_config(config: &ServerTls) -> Result<Arc<ServerConfig>, NetError> {
    let bad = |what: String| NetError::Config { what };
    let provider = crypto::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls::versions(config.versions)?)
        .map_err(|e| bad(format!("server TLS: {e}")))?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in tls::certificates(pem, "client authorities")? {
                roots.add(certificate).map_err(|e| bad(format!("server TLS: a client authority is unusable: {e}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if config.require_client_cert { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| bad(format!("server TLS: {e}")))?)
        }
    };
    let chain = tls::certificates(&config.cert, "server certificate")?;
    let key = tls::private_key(&config.key, "server key")?;
    let mut built = builder
        .with_single_cert(chain, key)
        .map_err(|e| bad(format!("the server certificate and its key do not work together: {e}")))?;
    built.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(built))
}
