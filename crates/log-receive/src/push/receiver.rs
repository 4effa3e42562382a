//! The listener of a `loki_push_api` source.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, body::Body};
use model::Labels;
use net::{
    Listening, Sockets, Transport,
    server::{ServerOptions, serve},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    PushLimits,
    routes::{Door, router},
};
use crate::{Forward, ReceiveError};

/// `loki_push_api`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// `server.http_listen_address` and `http_listen_port`: `0.0.0.0:3500`.
    pub listen: String,
    /// TLS and connection limits of the listener.
    pub server: ServerOptions,
    /// Added to every stream; they win over the stream's own.
    pub labels: Labels,
    /// Keep the times of the entries instead of the time of taking in.
    pub use_incoming_timestamp: bool,
    pub limits: PushLimits,
}

impl PushConfig {
    /// Listens on `listen`; everything else as documented.
    pub fn new(listen: &str) -> Self {
        Self {
            listen: listen.to_owned(),
            server: ServerOptions::default(),
            labels: Labels::new(),
            use_incoming_timestamp: false,
            limits: PushLimits::default(),
        }
    }
}

const WHAT: &str = "loki_push_api";

/// A receiver that listens.
pub struct PushReceiver {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
    router: Router,
}

impl PushReceiver {
    /// The socket of a configuration, after a look at its TLS. Blocking: may look up a name.
    pub fn listen(config: &PushConfig, sockets: &Sockets) -> Result<Listening, ReceiveError> {
        if let Some(tls) = &config.server.tls {
            tls.check()?;
        }
        let failed = |source| ReceiveError::Listen { what: WHAT, address: config.listen.clone(), source };
        sockets.listen(WHAT, Transport::Tcp, &config.listen).map_err(failed)
    }

    /// A receiver on that socket. Must be called within a runtime.
    pub fn new(config: PushConfig, listening: &Listening, mut forward: Forward) -> Result<Self, ReceiveError> {
        let address = listening.address();
        let failed = |source| ReceiveError::Listen { what: WHAT, address: address.to_string(), source };
        let listener = listening.tcp().map_err(failed)?;
        forward.state().listening(Some(address));
        forward.gather_whole();
        let door = Door {
            counts: forward.counts(),
            forward: Mutex::new(forward),
            labels: config.labels,
            use_incoming_timestamp: config.use_incoming_timestamp,
            under_way: Semaphore::new(config.limits.requests.clamp(1, 4096)),
            limits: config.limits,
        };
        Ok(Self { listener, address, options: config.server, router: router(Arc::new(door)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; requests under way are answered.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ReceiveError> {
        let router = self.router;
        let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
        Ok(serve(self.listener, service, self.options, stop).await?)
    }
}
