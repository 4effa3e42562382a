//! Makes one connection to the far end itself, no proxy between: name, TCP, TLS.
//!
//! Keeps nothing and speaks no HTTP. Keeps true: all of it together takes no longer than the connect timeout; every address
//! of the name is tried, both families; the handshake offers HTTP/1.1 only.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use http::Uri;
use hyper_util::client::legacy::connect::{HttpConnector, dns::Name};
use rustls::{AlertDescription, ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::{Service, ServiceExt};
use url::Url;

use crate::{
    NetError,
    error::{classify_connect, find_tls, silent},
};

/// Opens connections of one client.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    tcp: HttpConnector<Lookup>,
    timeout: Duration,
}

/// Why there is no connection.
pub(crate) enum NoLine {
    Failed(NetError),
    /// The far end refuses HTTP/1.1.
    OnlyHttp2(NetError),
}

impl Dialer {
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Lookup);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(timeout));
        Self { tcp, timeout }
    }

    /// Connects to the scheme, host and port of `to`, with TLS where `tls` is given. `url` is for messages.
    pub(crate) async fn dial(
        &self,
        to: &Uri,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        url: &Url,
    ) -> Result<Stream, NoLine> {
        let work = async {
            let tcp = self.tcp.clone().oneshot(to.clone()).await.map_err(|e| self.unreachable(&e, url))?.into_inner();
            let wire = match tls {
                None => Wire::Plain(tcp),
                Some((config, name)) => {
                    let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|e| {
                        let failed = classify_connect(&e, url, self.timeout);
                        match find_tls(&e) {
                            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                                NoLine::OnlyHttp2(failed)
                            }
                            _ => NoLine::Failed(failed),
                        }
                    })?;
                    Wire::Tls(Box::new(stream))
                }
            };
            Ok(Stream { wire, received: 0 })
        };
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(NoLine::Failed(silent(url, self.timeout))),
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static), url: &Url) -> NoLine {
        let mut next = Some(error);
        while let Some(e) = next {
            if let Some(NoAddress(reason)) = e.downcast_ref() {
                let host = url.host_str().unwrap_or_default().to_owned();
                return NoLine::Failed(NetError::Dns { host, detail: reason.to_string() });
            }
            next = e.source();
        }
        NoLine::Failed(classify_connect(error, url, self.timeout))
    }
}

/// The system's resolver, with errors that can be told from those of TCP.
#[derive(Debug, Clone)]
struct Lookup;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAddress(io::Error);

impl Service<Name> for Lookup {
    type Response = vec::IntoIter<std::net::SocketAddr>;
    type Error = NoAddress;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NoAddress>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NoAddress)?;
            Ok(found.collect::<Vec<_>>().into_iter())
        })
    }
}

/// An open connection, which counts what it received.
pub(crate) struct Stream {
    wire: Wire,
    received: u64,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Bytes received so far, after TLS.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Wire::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        let new = buf.filled().len().saturating_sub(before);
        self.received = self.received.saturating_add(new as u64);
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
