//! What a sandbox is made from: plain values, no IO.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{authority::Authority, clock::Clock, identity::Identity, world::World};

/// Where to listen, who may call, what to keep.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The plain HTTP listener (services, page and control). Default: a free port on 127.0.0.1.
    pub listen: SocketAddr,
    /// A second listener that speaks TLS.
    pub tls: Option<TlsListener>,
    /// An HTTP CONNECT proxy that plays `*.amazonaws.com`.
    pub proxy: Option<ProxyListener>,
    /// Host names of this machine, besides `localhost` and addresses, by which page, control API, instance metadata and
    /// container credentials may be asked. A page of another site can give its own name this machine's address.
    pub names: Vec<String>,
    /// Keys that exist. Default: [`Identity::example`].
    pub identities: Vec<Identity>,
    /// Roles, token issuers, certificate authorities, instance, containers, secrets.
    pub world: World,
    /// The only signing region accepted on hosts that name none (such as 127.0.0.1). `None`: any.
    pub region: Option<String>,
    /// Keep every (series, timestamp, value) with its count, for exactness checks.
    pub record: bool,
    /// Refuse samples as AMP does; `None` (the default) stores any well-formed sample.
    pub sample_rules: Option<SampleRules>,
    /// Where S3 objects are kept.
    pub objects: ObjectStorage,
    /// Bounds on memory and patience.
    pub limits: Limits,
    /// The sandbox's time.
    pub clock: Clock,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            tls: None,
            proxy: None,
            names: Vec::new(),
            identities: vec![Identity::example()],
            world: World::default(),
            region: None,
            record: false,
            sample_rules: None,
            objects: ObjectStorage::Memory,
            limits: Limits::default(),
            clock: Clock::system(),
        }
    }
}

/// A listener that speaks TLS with a certificate given to it.
#[derive(Debug, Clone)]
pub struct TlsListener {
    /// Where to listen.
    pub listen: SocketAddr,
    /// PEM certificate chain, leaf first.
    pub certificate_pem: String,
    /// Its PEM private key.
    pub key_pem: net::Secret,
}

/// A CONNECT proxy that answers for AWS hosts itself.
#[derive(Debug, Clone)]
pub struct ProxyListener {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Issues a certificate for each host asked for. Clients must trust [`Authority::certificate_pem`].
    pub authority: Authority,
    /// Further host names to play, besides those under `amazonaws.com`, `amazonaws.com.cn` and `api.aws`.
    pub hosts: Vec<String>,
}

/// Which well-formed samples AMP would still refuse (with 400, after storing the good ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRules {
    /// Samples older than this are refused (AMP: 1 h).
    pub max_age: Option<Duration>,
    /// Samples older than the newest of their series by more than this are refused (AMP's default: 60 s).
    pub out_of_order_window: Option<Duration>,
}

impl SampleRules {
    /// The documented defaults of Amazon Managed Service for Prometheus.
    pub const AMP: Self =
        Self { max_age: Some(Duration::from_secs(3600)), out_of_order_window: Some(Duration::from_secs(60)) };
}

/// Where S3 objects are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ObjectStorage {
    /// In memory, within [`Limits::object_bytes`].
    #[default]
    Memory,
    /// One file per object under this directory; what is there at the start is served too.
    Directory(PathBuf),
}

/// Bounds. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a remote write or of a control request.
    pub body: usize,
    /// Largest S3 object.
    pub object: usize,
    /// Largest `WriteRequest` after snappy decompression.
    pub decompressed: usize,
    /// All bodies in flight together; a request that does not fit in waits for room within its body's time.
    pub bodies_in_flight: usize,
    /// Series kept (further ones are counted, not kept).
    pub series: usize,
    /// Label bytes kept over all series.
    pub label_bytes: usize,
    /// Distinct recorded samples kept with `record`; beyond, [`crate::SampleTotals::recording_overflowed`] is set.
    pub recorded_samples: usize,
    /// Bytes of log lines, spans and other records kept with `record`.
    pub record_bytes: usize,
    /// S3 objects kept.
    pub objects: usize,
    /// Bytes of S3 objects kept.
    pub object_bytes: usize,
    /// Connections at a time on each listener.
    pub connections: usize,
    /// Time for a request's head to arrive, from the connection's start or the answer before it.
    pub header_read_timeout: Duration,
    /// Time for a request's body to arrive.
    pub body_read_timeout: Duration,
    /// Longest time a scripted hang lasts.
    pub hang: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            body: 16 * MIB,
            object: 64 * MIB,
            decompressed: 64 * MIB,
            bodies_in_flight: 256 * MIB,
            series: 200_000,
            label_bytes: 128 * MIB,
            recorded_samples: 10_000_000,
            record_bytes: 256 * MIB,
            objects: 100_000,
            object_bytes: 512 * MIB,
            connections: 512,
            header_read_timeout: Duration::from_secs(60),
            body_read_timeout: Duration::from_secs(30),
            hang: Duration::from_secs(600),
        }
    }
}
