//! One endpoint: from its configuration to a running server.
//!
//! Keeps true: what can fail on a bad configuration (an address in use, a certificate that does not parse) fails in
//! [`Prepared::new`], before anything that runs is touched.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use net::{
    Listening, Sockets, Transport,
    server::{ServerOptions, serve},
};
use pipeline::{LogIntake, MetricIntake, OtlpIntake};
use tokio_util::sync::CancellationToken;

use crate::{
    BodyRoom, OtlpMetrics, ReceiveError, ReceiverConfig, Signals,
    config::Speech,
    door::{Door, Way},
    elsewhere::Elsewhere,
    grpc, http, jaeger,
    metrics::ReceiverCounts,
    plain::{self, Tongue},
};

/// An endpoint that has its socket and usable certificates.
#[derive(Debug)]
pub struct Prepared {
    config: ReceiverConfig,
    listening: Listening,
}

/// What a person wants to know of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverStatus {
    /// `otlp (grpc)`.
    pub title: String,
    pub address: SocketAddr,
    /// Requests answered with success.
    pub requests: u64,
    /// Spans, points and records in them.
    pub items: u64,
}

/// What stays behind of an endpoint that runs, to look at.
#[derive(Debug, Clone)]
pub struct Looking {
    title: String,
    address: SocketAddr,
    counts: ReceiverCounts,
    way: Way,
}

impl Looking {
    /// What is accepted from now on goes another way. Connections stay.
    pub fn turn_to(&self, intake: OtlpIntake) {
        self.way.turn_to(intake);
    }

    /// How it is now.
    pub fn status(&self) -> ReceiverStatus {
        let (requests, items) = self.counts.totals();
        ReceiverStatus { title: self.title.clone(), address: self.address, requests, items }
    }
}

impl Prepared {
    /// Checks and binds. Looks names up.
    pub fn new(config: ReceiverConfig, sockets: &Sockets) -> Result<Self, ReceiveError> {
        if let Some(tls) = &config.tls {
            tls.server().check().map_err(|source| ReceiveError::Net { what: config.title(), source })?;
        }
        let failed = |source| ReceiveError::Listen { what: config.title(), address: config.listen.clone(), source };
        let transport = if config.is_udp() { Transport::Udp } else { Transport::Tcp };
        let listening = sockets.listen(&config.title(), transport, &config.listen).map_err(failed)?;
        Ok(Self { config, listening })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// As it was given.
    pub fn config(&self) -> &ReceiverConfig {
        &self.config
    }

    /// What [`Prepared::run`] needs, and a way to look at it while it runs. `instance` is the entry of `traces.configs`.
    pub fn open(
        self,
        instance: &str,
        intake: OtlpIntake,
        accepts: Signals,
        room: BodyRoom,
        metrics: &OtlpMetrics,
    ) -> Opened {
        let counts = metrics.of(instance, &self.config.name, self.config.speech.word());
        let door = Door {
            intake: Way::new(intake),
            accepts,
            elsewhere: Elsewhere::default(),
            room,
            counts,
            max_request: self.config.max_request.min(pipeline::MAX_OTLP_REQUEST),
            request_time: self.config.request_time,
        };
        Opened { config: self.config, listening: self.listening, door }
    }
}

/// An endpoint that only has to be run.
#[derive(Debug)]
pub struct Opened {
    config: ReceiverConfig,
    listening: Listening,
    door: Door,
}

impl Opened {
    /// Data points go to an instance of metrics as samples, log records to one of logs as lines; `None`: as they came, to the
    /// receiver's own.
    #[must_use]
    pub fn elsewhere(mut self, metrics: Option<MetricIntake>, logs: Option<LogIntake>) -> Self {
        self.door.elsewhere = Elsewhere::new(metrics, logs, self.config.exponential);
        self
    }

    /// To look at while it runs.
    pub fn looking(&self) -> Looking {
        let (title, address, counts) = (self.config.title(), self.listening.address(), self.door.counts.clone());
        Looking { title, address, counts, way: self.door.intake.clone() }
    }

    /// Serves until `stop`; requests under way are answered.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ReceiveError> {
        let Self { config, listening, door } = self;
        let title = config.title();
        let failed = |source| ReceiveError::Listen { what: title.clone(), address: config.listen.clone(), source };
        if let Speech::JaegerUdp { form, max_packet } = config.speech {
            tracing::info!(receiver = title, address = %listening.address(), "receiving traces");
            let socket = listening.udp().map_err(failed)?;
            jaeger::serve_datagrams(socket, &door, form, max_packet, &stop).await;
            drop(listening);
            return Ok(());
        }
        let listener = listening.tcp().map_err(failed)?;
        let options = ServerOptions {
            tls: config.tls.as_ref().map(crate::ListenTls::server),
            connection_limit: config.connections,
            http2: config.http2,
            ..ServerOptions::default()
        };
        let (door, speech) = (Arc::new(door), Arc::new(config.speech.clone()));
        let service = tower::service_fn(move |request| {
            let (door, speech) = (Arc::clone(&door), Arc::clone(&speech));
            async move {
                let answer = match &*speech {
                    Speech::Grpc => grpc::answer(&door, request).await,
                    Speech::Http { paths, cors } => http::answer(&door, paths, cors.as_ref(), request).await,
                    Speech::Zipkin { parse, cors } => {
                        plain::answer(&door, Tongue::Zipkin { parse: *parse }, cors.as_ref(), request).await
                    }
                    Speech::JaegerHttp { cors } => {
                        plain::answer(&door, Tongue::JaegerThrift, cors.as_ref(), request).await
                    }
                    // Datagrams were served above.
                    Speech::JaegerGrpc | Speech::JaegerUdp { .. } => grpc::answer_jaeger(&door, request).await,
                };
                Ok::<_, Infallible>(answer)
            }
        });
        tracing::info!(receiver = title, address = %listening.address(), "receiving telemetry");
        let served = serve(listener, service, options, stop).await;
        // The socket stays open until here: whoever follows has it already.
        drop(listening);
        served.map_err(|source| ReceiveError::Net { what: title, source })
    }
}
