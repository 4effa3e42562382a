//! `remote_write[]` of traces: where an instance's spans go, by which protocol, as whom.
//!
//! Keeps true: a destination's name in the queue does not depend on its credentials; a key of another protocol is an error,
//! not silence.

use std::time::Duration;

use ::remote_write::{
    Backoff, Batching, DestinationConfig, ProtocolConfig,
    traces::{
        OtlpCompression, OtlpFormat, OtlpGrpcConfig, OtlpHttpConfig, OtlpObjectsConfig, OtlpProtocol, XRayConfig,
    },
};
use model::{Labels, otlp::Signal};
use net::{ProxyConfig, SecretSource};
use otlp_receive::Signals;
use url::Url;

use super::{
    super::{client, destination, identity, remote_write},
    processors,
};
use crate::{
    DestinationPlan,
    block::{Block, Field, Reader, Shape, http_url},
};

pub(in crate::dialect) const REMOTE_WRITE: Shape = Shape {
    name: "traces.configs[].remote_write[]",
    keys: &[
        &[
            "endpoint",
            "name",
            "protocol",
            "format",
            "compression",
            "insecure",
            "insecure_skip_verify",
            "headers",
            "timeout",
            "sending_queue",
            "retry_on_failure",
            "sigv4",
            "aws",
            "annotations",
            "log_groups",
            "enabled",
            "endpoint_url",
            "queue",
            "batch",
            "storage_class",
            "sse",
            "expected_bucket_owner",
        ],
        client::KEYS,
    ],
};

pub(in crate::dialect) const SENDING_QUEUE: Shape =
    Shape { name: "sending_queue", keys: &[&["enabled", "num_consumers", "queue_size", "storage"]] };

pub(in crate::dialect) const RETRY: Shape = Shape {
    name: "retry_on_failure",
    keys: &[&["enabled", "initial_interval", "randomization_factor", "multiplier", "max_interval", "max_elapsed_time"]],
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Grpc,
    Http,
    XRay,
    Objects,
}

const PROTOCOLS: &[(&str, Kind)] =
    &[("grpc", Kind::Grpc), ("http", Kind::Http), ("xray", Kind::XRay), ("s3", Kind::Objects)];

/// Keys of single protocols.
const OWNERS: &[(&str, &[Kind])] = &[
    ("annotations", &[Kind::XRay]),
    ("log_groups", &[Kind::XRay]),
    ("batch", &[Kind::Objects]),
    ("storage_class", &[Kind::Objects]),
    ("sse", &[Kind::Objects]),
    ("expected_bucket_owner", &[Kind::Objects]),
];

pub(super) fn read<'a>(
    reader: &'a Reader<'a>,
    field: &Field<'a>,
    instance: &str,
    batch: processors::Batch,
) -> Option<DestinationPlan> {
    if field.is_null() {
        reader.error(field, "this remote_write entry is empty", Some("remove the lone `-`"));
        return None;
    }
    let block = Block::open(reader, REMOTE_WRITE, field)?;
    let url = endpoint(&block);
    let endpoint_url = destination::endpoint(&block, url.as_ref());
    let host = url.as_ref().and_then(aws::parse_host);
    let service = host.as_ref().and_then(|h| h.service.as_deref());
    let identity = identity::read(&block, url.as_ref(), host.as_ref());
    remote_write::exclusive_auth(&block, &["sigv4", "aws"]);
    let kind = kind(&block, url.as_ref(), service, identity.as_ref());
    refuse_keys_of_others(&block, kind);
    if kind == Kind::Grpc && identity.is_some() {
        let message = "requests over gRPC are not signed: AWS takes OTLP over HTTP alone";
        block.error_at("protocol", message, Some("write `protocol: http`"));
    }
    let mut client = client::read_of_traces(&block, ProxyConfig::Environment);
    client.headers.extend(headers(&block));
    if block.flag("insecure_skip_verify") == Some(true) {
        client.tls.insecure_skip_verify = true;
    }
    if service == Some("logs") && kind == Kind::Http {
        let has = |name: &str| client.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let missing: Vec<&str> =
            ["x-aws-log-group", "x-aws-log-stream"].into_iter().filter(|name| !has(name)).collect();
        if !missing.is_empty() {
            let message = format!("CloudWatch Logs refuses log records without {}", missing.join(" and "));
            let help = "headers: {x-aws-log-group: GROUP, x-aws-log-stream: STREAM}; both have to exist";
            block.error(message, Some(help));
        }
    }
    let otherwise = client.auth.is_some() || !client.headers.is_empty();
    remote_write::unsigned_aws(&block, service, identity.is_some(), otherwise);
    let protocol = protocol(&block, kind);
    let signed = identity.as_ref().and_then(|identity| identity.service.as_deref());
    let of_aws = [service, signed].iter().flatten().any(|service| matches!(*service, "xray" | "logs" | "monitoring"));
    if of_aws && matches!(&protocol, OtlpProtocol::Http(http) if http.compression == OtlpCompression::Zstd) {
        let message = "`compression: zstd` to an OTLP endpoint of AWS: AWS takes gzip or nothing packed";
        block.error_at("compression", message, Some("compression: gzip"));
    }
    let queue = destination::queue(&block);
    let (object_bytes, object_age) = destination::batch(&block);
    let objects = kind == Kind::Objects;
    let batching = Batching {
        max_samples: if objects { usize::MAX } else { batch.most.unwrap_or(MOST_ITEMS) },
        max_bytes: object_bytes.unwrap_or(if objects { 8 << 20 } else { 4 << 20 }),
        max_age: match (objects, object_age) {
            (true, age) => age.unwrap_or(Duration::from_secs(15)),
            (false, _) => batch.wait.unwrap_or_default(),
        },
    };
    let (consumers, backoff) = (consumers(&block), backoff(&block));
    let timeout = block.duration("timeout").unwrap_or(Duration::from_secs(30));
    if timeout.is_zero() {
        block.error_at("timeout", "`timeout` must be longer than 0", Some("timeout: 30s is the default"));
    }
    let enabled = block.flag("enabled").unwrap_or(true);
    let url = url?;
    Some(DestinationPlan {
        default_service: if objects { "s3" } else { "xray" },
        config: DestinationConfig {
            name: block.text("name").unwrap_or_else(|| format!("traces-{instance}-{}", remote_write::url_digits(&url))),
            url,
            endpoint_url,
            protocol: ProtocolConfig::Otlp(protocol),
            timeout,
            client,
            external_labels: Labels::new(),
            write_relabel: Vec::new(),
            native_histograms: false,
            backoff,
            batching,
            shards: queue.shards.unwrap_or(if objects { 1 } else { consumers }),
            max_in_flight_bytes: queue.max_in_flight_bytes.unwrap_or(16 << 20),
            max_age: queue.max_age,
        },
        identity,
        on_full: queue.on_full,
        enabled,
    })
}

/// Items in a request where neither `batch` nor the receiver of the request says less.
const MOST_ITEMS: usize = 8192;

/// `host:port`, which `insecure` makes plain or encrypted, or a URL.
fn endpoint(block: &Block<'_>) -> Option<Url> {
    let text = block.required("endpoint", "endpoint: host:4317")?;
    let insecure = block.flag("insecure").unwrap_or(false);
    let bare = text.trim_start_matches("dns:///");
    let whole = if bare.contains("://") {
        bare.to_owned()
    } else {
        format!("{}://{bare}", if insecure { "http" } else { "https" })
    };
    match http_url(&whole) {
        Ok(url) => Some(url),
        Err(message) => {
            let help = "host:port, or a URL such as https://host:4318";
            block.error_at("endpoint", format!("`endpoint`: {message}"), Some(help));
            None
        }
    }
}

fn kind(block: &Block<'_>, url: Option<&Url>, service: Option<&str>, identity: Option<&aws::IdentityConfig>) -> Kind {
    let written = block.choice("protocol", PROTOCOLS);
    let signs_for = identity.and_then(|identity| identity.service.as_deref());
    let is_otlp = url.is_some_and(|url| url.path().trim_end_matches('/').rsplit_once("/v1/").is_some());
    // `format: xray` is the Agent's key with a new value; in S3 it says how objects are written.
    let format = block.text("format");
    match (written, service.or(signs_for)) {
        (Some(Kind::Http) | None, _) if format.as_deref() == Some("xray") => Kind::XRay,
        // The host alone says so: what is only signed for X-Ray may be a gateway that takes OTLP.
        (Some(Kind::Http) | None, _) if service == Some("xray") && !is_otlp => Kind::XRay,
        (Some(kind), _) => kind,
        (None, Some("s3")) => Kind::Objects,
        (None, Some(_)) => Kind::Http,
        (None, None) if is_otlp || identity.is_some() => Kind::Http,
        (None, None) => Kind::Grpc,
    }
}

fn protocol(block: &Block<'_>, kind: Kind) -> OtlpProtocol {
    let compressions =
        [("gzip", OtlpCompression::Gzip), ("zstd", OtlpCompression::Zstd), ("none", OtlpCompression::None)];
    let compression = block.choice("compression", &compressions).unwrap_or_default();
    if kind != Kind::Objects {
        let formats = [("otlp", true), ("xray", true), ("jaeger", false)];
        if block.choice("format", &formats) == Some(false) {
            let message = "`format: jaeger` has no exporter, as in the Agent";
            block.error_at("format", message, Some("remove it: Jaeger takes OTLP"));
        }
    }
    match kind {
        Kind::Grpc => OtlpProtocol::Grpc(OtlpGrpcConfig { compression }),
        Kind::Http => OtlpProtocol::Http(OtlpHttpConfig { compression, ..OtlpHttpConfig::default() }),
        Kind::XRay => {
            let all = block.texts("annotations");
            let annotate_all = all.iter().any(|name| name == "*");
            let annotations = all.into_iter().filter(|name| name != "*").collect();
            OtlpProtocol::XRay(XRayConfig { annotations, annotate_all, log_groups: block.texts("log_groups") })
        }
        Kind::Objects => {
            let formats = [("json", OtlpFormat::JsonLines), ("protobuf", OtlpFormat::Protobuf)];
            let storing = destination::storing(block);
            OtlpProtocol::Objects(OtlpObjectsConfig {
                format: block.choice("format", &formats).unwrap_or_default(),
                compression,
                storage_class: storing.storage_class,
                expected_bucket_owner: storing.expected_bucket_owner,
                sse: storing.sse,
                sse_kms_key_id: storing.sse_kms_key_id,
            })
        }
    }
}

fn refuse_keys_of_others(block: &Block<'_>, kind: Kind) {
    let word = |kind: &Kind| PROTOCOLS.iter().find(|(_, other)| other == kind).map_or("", |(word, _)| *word);
    for (key, owners) in OWNERS.iter().filter(|(key, owners)| !owners.contains(&kind) && block.get(key).is_some()) {
        let words: Vec<String> = owners.iter().map(|owner| format!("`{}`", word(owner))).collect();
        let message =
            format!("`{key}` is a key of the protocol {}; this entry speaks `{}`", words.join(" or "), word(&kind));
        let help = owners.first().map(|owner| format!("remove it, or add `protocol: {}`", word(owner)));
        block.error_at_key(key, message, help.as_deref());
    }
}

fn headers(block: &Block<'_>) -> Vec<(String, SecretSource)> {
    let mut headers = Vec::new();
    for (name, field) in block.entries("headers") {
        let lower = name.to_ascii_lowercase();
        // The Agent's `headers` may hold the authorization; files have it there.
        let reserved = remote_write::RESERVED_HEADERS.contains(&lower.as_str()) && lower != "authorization";
        if reserved || lower.starts_with("proxy-") || lower.starts_with("grpc-") {
            let message = format!("the header {name} is written by sigpost itself; this one is not sent");
            block.reader.warn(&field, message, Some("remove it"));
            continue;
        }
        if client::check_header_name(block, name, &field)
            && let Some(value) = block.reader.text(&field)
            && let Some(value) = block.reader.secret_source(&field, value)
        {
            headers.push((name.to_owned(), value));
        }
    }
    headers
}

/// `sending_queue`: everything waits on disk; what is left of it is how many requests are under way.
fn consumers(destination: &Block<'_>) -> u32 {
    let Some(block) = destination.block("sending_queue", SENDING_QUEUE) else {
        return DEFAULT_CONSUMERS;
    };
    if let Some(field) = block.get("storage") {
        block.reader.warn(&field, "`storage` has no effect: what is not delivered waits on disk anyway", None);
    }
    block.flag("enabled");
    block.whole("queue_size");
    let consumers = block.whole("num_consumers");
    if consumers == Some(0) {
        block.error_at("num_consumers", "`num_consumers` is at least 1", None);
    }
    consumers.and_then(|n| u32::try_from(n).ok()).unwrap_or(DEFAULT_CONSUMERS).clamp(1, 256)
}

const DEFAULT_CONSUMERS: u32 = 4;

fn backoff(destination: &Block<'_>) -> Backoff {
    let mut backoff = Backoff { min: Duration::from_secs(5), max: Duration::from_secs(30), retry_on_http_429: true };
    let Some(block) = destination.block("retry_on_failure", RETRY) else {
        return backoff;
    };
    if block.flag("enabled") == Some(false)
        && let Some(field) = block.raw("enabled")
    {
        let message = "`enabled: false` gives nothing up here: what is not delivered waits on disk and is sent again";
        block.reader.warn(&field, message, Some("to give up old spans, write queue: {max_age: 1h}"));
    }
    if let Some(min) = block.duration("initial_interval").filter(|interval| !interval.is_zero()) {
        backoff.min = min;
    }
    if let Some(max) = block.duration("max_interval").filter(|interval| !interval.is_zero()) {
        backoff.max = max;
    }
    if backoff.min > backoff.max {
        block.error_at("initial_interval", "`initial_interval` is longer than `max_interval` (default 30s)", None);
    }
    block.real("randomization_factor");
    block.real("multiplier");
    // Spans are not given up after a time: they wait on disk.
    block.duration("max_elapsed_time");
    backoff
}

/// Signals that at least one destination takes. Without any destination, spans: so that what is sent is on disk for one that
/// comes.
pub(super) fn accepted(destinations: &[DestinationPlan]) -> Signals {
    let mut accepted = Signals { traces: destinations.is_empty(), ..Signals::default() };
    for destination in destinations {
        let takes = taken(destination);
        accepted.traces |= takes.traces;
        accepted.metrics |= takes.metrics;
        accepted.logs |= takes.logs;
    }
    accepted
}

fn taken(destination: &DestinationPlan) -> Signals {
    let one = |signal: Signal| Signals {
        traces: signal == Signal::Traces,
        metrics: signal == Signal::Metrics,
        logs: signal == Signal::Logs,
    };
    let config = &destination.config;
    match &config.protocol {
        ProtocolConfig::Otlp(OtlpProtocol::XRay(_)) => one(Signal::Traces),
        ProtocolConfig::Otlp(OtlpProtocol::Http(_)) => {
            // A URL of one signal, and AWS's hosts, take that signal alone.
            let path = config.url.path().trim_end_matches('/');
            let host = aws::parse_host(&config.url).and_then(|host| host.service);
            let of = |signal: Signal, service: &str| {
                path.ends_with(&format!("/v1/{signal}")) || host.as_deref() == Some(service)
            };
            let all = [(Signal::Traces, "xray"), (Signal::Metrics, "monitoring"), (Signal::Logs, "logs")];
            all.into_iter()
                .find(|(signal, service)| of(*signal, service))
                .map_or(Signals::ALL, |(signal, _)| one(signal))
        }
        _ => Signals::ALL,
    }
}

/// Names are a destination's place in the queue. Where destinations of different instances or signals have one name (the
/// Agent knows them apart), the later one gets its instance's name.
pub(super) fn set_apart(taken: &mut Vec<String>, instance: &str, destinations: &mut [DestinationPlan]) -> Vec<String> {
    let mut changed = Vec::new();
    for destination in destinations {
        let name = destination.config.name.clone();
        if taken.contains(&name) {
            let mut number = 1;
            destination.config.name = format!("traces-{instance}-{name}");
            while taken.contains(&destination.config.name) {
                number += 1;
                destination.config.name = format!("traces-{instance}-{name}-{number}");
            }
            changed.push(name);
        }
        taken.push(destination.config.name.clone());
    }
    changed
}
