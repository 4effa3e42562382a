//! What a receiver needs to know, defaults applied. Plain data.

use std::{path::PathBuf, time::Duration};

use model::otlp::Signal;
use net::{
    Pem, TlsVersions,
    server::{Http2Options, ServerTls},
};
use otlp_translate::ExponentialForm;

/// One endpoint that is listened on.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceiverConfig {
    /// The receiver's name in the file: `otlp`, or `otlp/second`.
    pub name: String,
    /// `host:port`; `:port` is every address.
    pub listen: String,
    pub speech: Speech,
    pub tls: Option<ListenTls>,
    /// Bytes of a request, unpacked. At most what the queue holds in one record.
    pub max_request: usize,
    /// How long a request may take to arrive.
    pub request_time: Duration,
    /// Connections at the same time; more wait.
    pub connections: usize,
    /// Of gRPC's connections.
    pub http2: Http2Options,
    /// The entry of `metrics.configs` that data points go to as samples; `None`: as they came, with the spans.
    pub metrics_instance: Option<String>,
    /// What exponential histograms become there.
    pub exponential: ExponentialForm,
    /// The same of `logs.configs` for log records, as lines.
    pub logs_instance: Option<String>,
}

/// What is spoken at an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Speech {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP: protobuf and JSON.
    Http { paths: HttpPaths, cors: Option<Cors> },
    /// Zipkin's JSON (v1, v2) and protobuf over HTTP. `parse`: tags that are numbers or booleans become such.
    Zipkin { parse: bool, cors: Option<Cors> },
    /// `jaeger.api_v2.CollectorService` over gRPC.
    JaegerGrpc,
    /// Batches of `jaeger.thrift` in the binary protocol over HTTP.
    JaegerHttp { cors: Option<Cors> },
    /// Calls of Jaeger's agent, a datagram each.
    JaegerUdp {
        form: ThriftForm,
        /// Longer datagrams are cut by the kernel and refused.
        max_packet: usize,
    },
}

impl Speech {
    /// The word in messages and labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http { .. } | Self::Zipkin { .. } => "http",
            Self::JaegerGrpc => "grpc",
            Self::JaegerHttp { .. } => "thrift_http",
            Self::JaegerUdp { form: ThriftForm::Compact, .. } => "thrift_compact",
            Self::JaegerUdp { form: ThriftForm::Binary, .. } => "thrift_binary",
        }
    }
}

/// Thrift's protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThriftForm {
    Binary,
    Compact,
}

/// Where each signal is posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPaths {
    pub traces: String,
    pub metrics: String,
    pub logs: String,
}

impl Default for HttpPaths {
    fn default() -> Self {
        let path = |signal: Signal| format!("/v1/{signal}");
        Self { traces: path(Signal::Traces), metrics: path(Signal::Metrics), logs: path(Signal::Logs) }
    }
}

/// Which pages of other origins may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// `https://*.example.com`; `*` is every origin.
    pub allowed_origins: Vec<String>,
    /// Besides those that are always allowed; `*` is every header.
    pub allowed_headers: Vec<String>,
    /// How long a browser may keep the answer; zero: not said.
    pub max_age: Duration,
}

/// Certificate and key; with `client_ca`, clients must show one that it issued. Files are read again when they change.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenTls {
    pub cert: Pem,
    pub key: Pem,
    pub client_ca: Option<PathBuf>,
    pub versions: TlsVersions,
}

impl ListenTls {
    pub(crate) fn server(&self) -> ServerTls {
        ServerTls {
            cert: self.cert.clone(),
            key: self.key.clone(),
            client_ca: self.client_ca.clone().map(Pem::File),
            require_client_cert: self.client_ca.is_some(),
            versions: self.versions,
        }
    }
}

/// Which signals somebody behind the receiver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    pub traces: bool,
    pub metrics: bool,
    pub logs: bool,
}

impl Signals {
    /// All three.
    pub const ALL: Self = Self { traces: true, metrics: true, logs: true };

    /// Whether one of them is taken.
    pub fn has(self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
        }
    }
}

impl ReceiverConfig {
    /// OTLP over gRPC at this address, everything else as documented.
    pub fn grpc(listen: &str) -> Self {
        Self {
            name: "otlp".to_owned(),
            listen: listen.to_owned(),
            speech: Speech::Grpc,
            tls: None,
            max_request: 4 << 20,
            request_time: Duration::from_secs(30),
            connections: 1024,
            http2: Http2Options::default(),
            metrics_instance: None,
            exponential: ExponentialForm::default(),
            logs_instance: None,
        }
    }

    /// The same over HTTP.
    pub fn http(listen: &str) -> Self {
        let speech = Speech::Http { paths: HttpPaths::default(), cors: None };
        // Sixty-four bytes of it are the record's: see `Prepared::open`.
        Self { speech, max_request: 16 << 20, ..Self::grpc(listen) }
    }

    /// Zipkin at this address, everything else as documented.
    pub fn zipkin(listen: &str) -> Self {
        let speech = Speech::Zipkin { parse: false, cors: None };
        Self { name: "zipkin".to_owned(), speech, ..Self::http(listen) }
    }

    /// Jaeger over gRPC.
    pub fn jaeger_grpc(listen: &str) -> Self {
        Self { name: "jaeger".to_owned(), speech: Speech::JaegerGrpc, ..Self::grpc(listen) }
    }

    /// Jaeger's Thrift over HTTP.
    pub fn jaeger_http(listen: &str) -> Self {
        Self { name: "jaeger".to_owned(), speech: Speech::JaegerHttp { cors: None }, ..Self::http(listen) }
    }

    /// Jaeger's Thrift in datagrams.
    pub fn jaeger_udp(listen: &str, form: ThriftForm) -> Self {
        let speech = Speech::JaegerUdp { form, max_packet: 65_000 };
        Self { name: "jaeger".to_owned(), speech, ..Self::http(listen) }
    }

    /// Whether datagrams are listened for, and not connections.
    pub fn is_udp(&self) -> bool {
        matches!(self.speech, Speech::JaegerUdp { .. })
    }

    /// Which signals can come in here at all.
    pub fn brings(&self) -> Signals {
        match self.speech {
            Speech::Grpc | Speech::Http { .. } => Signals::ALL,
            _ => Signals { traces: true, ..Signals::default() },
        }
    }

    /// `otlp (grpc)`: for messages.
    pub fn title(&self) -> String {
        format!("{} ({})", self.name, self.speech.word())
    }
}
