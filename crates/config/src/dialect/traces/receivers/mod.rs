//! `receivers`: what is listened for, and where.
//!
//! The keys are those of the OpenTelemetry Collector's receivers, version 0.96, which the Agent embeds.

pub(in crate::dialect) mod spans;

use std::time::Duration;

use net::Pem;
use otlp_receive::{Cors, ListenTls, ReceiverConfig, Signals, Speech};

use super::Instances;
use crate::block::{Block, Field, Shape};

pub(in crate::dialect) const OTLP: Shape =
    Shape { name: "receivers.otlp", keys: &[&["protocols", "metrics_instance", "logs_instance"]] };

pub(in crate::dialect) const PROTOCOLS: Shape = Shape { name: "receivers.otlp.protocols", keys: &[&["grpc", "http"]] };

const LISTEN_KEYS: &[&str] = &["endpoint", "tls", "include_metadata", "auth"];

pub(in crate::dialect) const GRPC: Shape = Shape {
    name: "receivers.otlp.protocols.grpc",
    keys: &[
        LISTEN_KEYS,
        &[
            "transport",
            "max_recv_msg_size_mib",
            "max_concurrent_streams",
            "read_buffer_size",
            "write_buffer_size",
            "keepalive",
        ],
    ],
};

pub(in crate::dialect) const HTTP: Shape = Shape {
    name: "receivers.otlp.protocols.http",
    keys: &[
        LISTEN_KEYS,
        &["cors", "max_request_body_size", "response_headers", "traces_url_path", "metrics_url_path", "logs_url_path"],
    ],
};

pub(in crate::dialect) const KEEPALIVE: Shape =
    Shape { name: "receivers.*.grpc.keepalive", keys: &[&["server_parameters", "enforcement_policy"]] };

pub(in crate::dialect) const SERVER_PARAMETERS: Shape = Shape {
    name: "receivers.*.grpc.keepalive.server_parameters",
    keys: &[&["time", "timeout", "max_connection_idle", "max_connection_age", "max_connection_age_grace"]],
};

pub(in crate::dialect) const TLS: Shape = Shape {
    name: "receivers.*.tls",
    keys: &[&[
        "cert_file",
        "key_file",
        "cert_pem",
        "key_pem",
        "client_ca_file",
        "ca_file",
        "ca_pem",
        "reload_interval",
        "min_version",
        "max_version",
        "cipher_suites",
        "include_system_ca_certs_pool",
    ]],
};

pub(in crate::dialect) const CORS: Shape =
    Shape { name: "receivers.*.cors", keys: &[&["allowed_origins", "allowed_headers", "max_age"]] };

/// Receivers of the Agent that this version has not.
const NOT_YET: &[&str] = &["opencensus", "kafka"];

pub(super) fn read(instance: &Block<'_>) -> Vec<ReceiverConfig> {
    let mut receivers = Vec::new();
    let entries = instance.entries("receivers");
    if entries.is_empty() {
        let help = "receivers: {otlp: {protocols: {grpc: , http: }}}";
        instance.warn("there are no `receivers`: this instance receives nothing", Some(help));
    }
    for (name, field) in entries {
        let kind = name.split('/').next().unwrap_or_default();
        if kind == "otlp" {
            receivers.extend(otlp(instance, name, &field));
        } else if kind == "zipkin" {
            receivers.extend(spans::zipkin(instance, name, &field));
        } else if kind == "jaeger" {
            receivers.extend(spans::jaeger(instance, name, &field));
        } else if NOT_YET.contains(&kind) {
            let message = format!("the receiver `{name}` is not in this version: nothing would listen for it");
            let help = "send OTLP, which current SDKs and collectors speak, and remove this receiver";
            instance.reader.error(&field, message, Some(help));
        } else {
            let message = format!("`{name}` is no receiver");
            instance.reader.error(&field, message, Some("otlp, jaeger or zipkin; otlp/NAME for a second one"));
        }
    }
    receivers
}

fn otlp(instance: &Block<'_>, name: &str, field: &Field<'_>) -> Vec<ReceiverConfig> {
    let Some(block) = Block::open(instance.reader, OTLP, field) else {
        return Vec::new();
    };
    let protocols = block.raw("protocols").and_then(|field| Block::open(block.reader, PROTOCOLS, &field));
    let (grpc, http) = match &protocols {
        Some(protocols) => (protocols.raw("grpc"), protocols.raw("http")),
        None => (None, None),
    };
    if grpc.is_none() && http.is_none() {
        block.error("`protocols` of an otlp receiver names at least one", Some("protocols: {grpc: , http: }"));
    }
    let grpc = grpc.and_then(|field| self::grpc(instance, name, &field));
    let http = http.and_then(|field| self::http(instance, name, &field));
    let (metrics, logs) = (block.text("metrics_instance"), block.text("logs_instance"));
    let of = |config: ReceiverConfig| ReceiverConfig {
        metrics_instance: metrics.clone(),
        logs_instance: logs.clone(),
        ..config
    };
    grpc.into_iter().chain(http).map(of).collect()
}

/// Settles where data points and log records go that no destination of the instance takes: to the first instance of their own
/// kind. What the file names must be there.
pub(super) fn settle(instance: &Block<'_>, receivers: &mut [ReceiverConfig], accepts: Signals, others: &Instances) {
    let otlp = receivers.iter_mut().filter(|r| matches!(r.speech, Speech::Grpc | Speech::Http { .. }));
    let mut unknown: Vec<(&str, String)> = Vec::new();
    for receiver in otlp {
        for (key, named, known, own) in [
            ("metrics", &mut receiver.metrics_instance, &others.metrics, accepts.metrics),
            ("logs", &mut receiver.logs_instance, &others.logs, accepts.logs),
        ] {
            match named {
                Some(name) if !known.contains(name) => unknown.push((key, name.clone())),
                Some(_) => {}
                None if !own => *named = known.first().cloned(),
                None => {}
            }
        }
        let instance = receiver.metrics_instance.as_ref();
        let wanted = others.metrics.iter().zip(&others.exponential).find(|(name, _)| Some(*name) == instance);
        receiver.exponential = wanted.map(|(_, form)| *form).unwrap_or_default();
    }
    unknown.dedup();
    for (kind, name) in unknown {
        let message = format!("`{kind}_instance` names `{name}`, and no entry of `{kind}.configs` has that name");
        instance.error_at("receivers", message, Some("name one that is there, or remove the key"));
    }
}

fn grpc(instance: &Block<'_>, name: &str, field: &Field<'_>) -> Option<ReceiverConfig> {
    let block = Block::open(instance.reader, GRPC, field)?;
    let mut config = ReceiverConfig::grpc("0.0.0.0:4317");
    name.clone_into(&mut config.name);
    listening(&block, &mut config);
    grpc_options(&block, &mut config);
    Some(config)
}

fn grpc_options(block: &Block<'_>, config: &mut ReceiverConfig) {
    if block.text("transport").is_some_and(|transport| !matches!(transport.as_str(), "tcp" | "tcp4" | "tcp6")) {
        block.error_at("transport", "`transport` is tcp here", Some("remove it"));
    }
    if let Some(mib) = block.whole("max_recv_msg_size_mib").filter(|mib| *mib > 0) {
        config.max_request = request_limit(block, "max_recv_msg_size_mib", mib.saturating_mul(1 << 20));
    }
    if let Some(most) = block.whole("max_concurrent_streams").filter(|most| *most > 0) {
        config.http2.max_concurrent_streams = u32::try_from(most).unwrap_or(u32::MAX);
    }
    block.size("read_buffer_size");
    block.size("write_buffer_size");
    if let Some(block) = block.block("keepalive", KEEPALIVE) {
        keepalive(&block, config);
    }
}

fn http(instance: &Block<'_>, name: &str, field: &Field<'_>) -> Option<ReceiverConfig> {
    let block = Block::open(instance.reader, HTTP, field)?;
    let mut config = ReceiverConfig::http("0.0.0.0:4318");
    name.clone_into(&mut config.name);
    listening(&block, &mut config);
    http_options(&block, &mut config);
    if let Speech::Http { paths, cors } = &mut config.speech {
        let places = [
            ("traces_url_path", &mut paths.traces),
            ("metrics_url_path", &mut paths.metrics),
            ("logs_url_path", &mut paths.logs),
        ];
        for (key, place) in places {
            let Some(path) = block.text(key) else { continue };
            *place = if path.starts_with('/') { path } else { format!("/{path}") };
        }
        *cors = block.block("cors", CORS).map(|block| self::cors(&block));
    }
    Some(config)
}

fn keepalive(block: &Block<'_>, config: &mut ReceiverConfig) {
    if let Some(server) = block.block("server_parameters", SERVER_PARAMETERS) {
        let positive = |key: &str| server.duration(key).filter(|time| !time.is_zero());
        if let Some(time) = positive("time") {
            config.http2.keep_alive_interval = time;
        }
        if let Some(time) = positive("timeout") {
            config.http2.keep_alive_timeout = time;
        }
        for key in ["max_connection_idle", "max_connection_age", "max_connection_age_grace"] {
            let Some(field) = server.get(key) else { continue };
            server.reader.warn(&field, format!("`{key}` has no effect: connections stay while they answer"), None);
        }
    }
    if let Some(field) = block.get("enforcement_policy") {
        let message = "`enforcement_policy` has no effect: clients may ask as often as they like";
        block.reader.warn(&field, message, None);
    }
}

fn http_options(block: &Block<'_>, config: &mut ReceiverConfig) {
    if let Some(bytes) = block.size("max_request_body_size").filter(|bytes| *bytes > 0) {
        config.max_request = request_limit(block, "max_request_body_size", bytes);
    }
    if let Some(field) = block.get("response_headers") {
        block.reader.warn(&field, "`response_headers` has no effect: answers carry what the protocol says", None);
    }
}

fn cors(block: &Block<'_>) -> Cors {
    let origins = block.texts("allowed_origins");
    if origins.iter().any(|origin| origin.matches('*').count() > 1) {
        block.error_at("allowed_origins", "an origin has at most one `*`", Some("such as https://*.example.com"));
    }
    Cors {
        allowed_origins: origins,
        allowed_headers: block.texts("allowed_headers"),
        max_age: Duration::from_secs(block.whole("max_age").unwrap_or(0).min(86_400)),
    }
}

fn listening(block: &Block<'_>, config: &mut ReceiverConfig) {
    endpoint(block, config);
    config.tls = block.block("tls", TLS).and_then(|block| tls(&block));
    block.flag("include_metadata");
    if let Some(field) = block.get("auth") {
        let message = "`auth` names an extension of the collector, of which there are none here";
        block.reader.error(&field, message, Some("use `tls` with `client_ca_file`, which wants clients' certificates"));
    }
}

fn endpoint(block: &Block<'_>, config: &mut ReceiverConfig) {
    let Some(endpoint) = block.text("endpoint") else { return };
    let port = endpoint.rsplit_once(':').map(|(_, port)| port.parse::<u16>().is_ok());
    if endpoint.contains("://") || port != Some(true) {
        let message = "`endpoint` of a receiver is an address and a port to listen on";
        block.error_at("endpoint", message, Some("such as 0.0.0.0:4317"));
    }
    config.listen = endpoint;
}

/// The largest request that the queue holds in one record.
const LARGEST: u64 = 16 << 20;

fn request_limit(block: &Block<'_>, key: &str, bytes: u64) -> usize {
    if bytes > LARGEST
        && let Some(field) = block.raw(key)
    {
        let message = format!("`{key}` is above 16 MiB, the largest request that is taken: larger ones are refused");
        block.reader.warn(&field, message, None);
    }
    usize::try_from(bytes.min(LARGEST)).unwrap_or(usize::MAX)
}

fn tls(block: &Block<'_>) -> Option<ListenTls> {
    let pem = |key: &str, file_key: &str| {
        block.secret_or_file(key, file_key).map(|source| match source {
            net::SecretSource::Inline(text) => Pem::Inline(text),
            net::SecretSource::File(path) => Pem::File(path),
            net::SecretSource::Stored(stored) => Pem::Stored(stored),
        })
    };
    let (cert, key) = (pem("cert_pem", "cert_file"), pem("key_pem", "key_file"));
    if cert.is_none() || key.is_none() {
        let help = "tls: {cert_file: /path/cert.pem, key_file: /path/key.pem}";
        block.error("TLS of a receiver needs a certificate and its key", Some(help));
    }
    let (min, max) = super::super::client::tls_versions_of_collector(block);
    if let Some(field) = block.get("cipher_suites") {
        let message = "this key has no effect: the TLS library's choice of ciphers holds";
        block.reader.warn(&field, message, None);
    }
    Some(ListenTls {
        cert: cert?,
        key: key?,
        client_ca: block.path("client_ca_file"),
        versions: net::TlsVersions { min, max },
    })
}
