//! Sockets: plain and TLS listeners, and the CONNECT proxy that plays AWS hosts. No request is judged here.
//!
//! It has its own accept loop because scripted faults must be able to break a connection, which a well-behaved server
//! does not let one do. Keeps true: connections are bounded in number and each waits for heads with a time limit.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn, upgrade::Upgraded};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authority::Authority,
    core::Core,
    error::SandboxError,
    front::Front,
    target::{AwsHost, host_name},
};

/// Time for answers under way when the sandbox stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Most bytes of one request's head.
const HEAD_BYTES: u16 = 60 * 1024;

/// What a listener does with its connections.
#[derive(Clone)]
pub(crate) enum Role {
    Plain,
    Tls(Arc<ServerConfig>),
    Proxy { authority: Authority, hosts: Arc<[String]> },
}

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Hall {
    pub(crate) core: Arc<Core>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// Opens a listening socket.
pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |source| SandboxError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Hall {
    /// Accepts connections until told to stop.
    pub(crate) async fn accept(self, listener: TcpListener, role: Role) {
        let places = Arc::new(Semaphore::new(self.core.limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    // Out of descriptors, most likely: wait for some to come back.
                    tracing::warn!(error = %e, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (hall, role) = (self.clone(), role.clone());
            self.tasks.spawn(async move {
                match role {
                    Role::Plain => hall.converse(stream, false).await,
                    Role::Tls(config) => hall.converse_tls(stream, config).await,
                    Role::Proxy { authority, hosts } => hall.converse_proxy(stream, authority, hosts).await,
                }
                drop(place);
            });
        }
    }

    async fn converse_tls<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, config: Arc<ServerConfig>) {
        let handshake = TlsAcceptor::from(config).accept(io);
        match tokio::time::timeout(self.core.limits.header_read_timeout, handshake).await {
            Ok(Ok(stream)) => self.converse(stream, true).await,
            Ok(Err(e)) => tracing::info!(error = %e, "a client did not complete the TLS handshake"),
            Err(_) => tracing::info!("a client did not complete the TLS handshake in time"),
        }
    }

    /// Serves HTTP/1.1 or HTTP/2 on one connection.
    async fn converse<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, io: I, is_tls: bool) {
        let front = Front { core: Arc::clone(&self.core), stop: self.stop.clone(), is_tls };
        let has_asked = CancellationToken::new();
        let asked = has_asked.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            asked.cancel();
            front.clone().serve(request)
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        // The server waits for ever for the bytes that tell HTTP/1 from HTTP/2, so the first request has a limit here.
        let silence = async {
            if tokio::time::timeout(self.core.limits.header_read_timeout, has_asked.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = connection.as_mut() => return,
            () = silence => return,
            () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        // What is being answered is answered; what hangs is cut by `stop`.
        let _ = tokio::time::timeout(DRAIN, connection).await;
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.core.limits.header_read_timeout)
            .max_buf_size(HEAD_BYTES.into());
        builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES.into()).max_concurrent_streams(64);
        builder
    }

    /// Answers CONNECT; everything else is told what this is.
    async fn converse_proxy<I>(self, io: I, authority: Authority, hosts: Arc<[String]>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let hall = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = hall.clone().connect(request, &authority, &hosts);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.core.limits.header_read_timeout)
            .max_buf_size(HEAD_BYTES.into());
        let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        tokio::select! {
            _ = connection => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn connect(self, request: Request<Incoming>, authority: &Authority, hosts: &[String]) -> Response<Full<Bytes>> {
        let answer = |status: StatusCode, text: String| {
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            response
        };
        let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        if request.method() != Method::CONNECT {
            return answer(StatusCode::METHOD_NOT_ALLOWED, "this proxy takes CONNECT only\n".to_owned());
        }
        self.core.arrivals.lock().tunnel(&target);
        self.core.changed();
        let host = host_name(&target).trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if AwsHost::read(&host).is_none() && !hosts.contains(&host) {
            tracing::info!(host = %crate::refusal::shown(&host), "the proxy was asked for a host that it does not play");
            return answer(StatusCode::BAD_GATEWAY, "the sandbox's proxy plays AWS hosts only\n".to_owned());
        }
        let config = match authority.server(&host) {
            Ok(config) => config,
            Err(e) => return answer(StatusCode::BAD_GATEWAY, format!("{e}\n")),
        };
        let tasks = self.tasks.clone();
        tasks.spawn(async move {
            let stop = self.stop.clone();
            let upgraded = tokio::select! {
                upgraded = hyper::upgrade::on(request) => upgraded,
                () = stop.cancelled() => return,
            };
            match upgraded {
                Ok(stream) => self.converse_tls(TokioIo::<Upgraded>::new(stream), config).await,
                Err(e) => tracing::debug!(error = %e, "a tunnel was not used"),
            }
        });
        answer(StatusCode::OK, String::new())
    }
}
