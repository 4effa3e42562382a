//! `load_balancing`: the Collector's load balancing exporter as the Agent configures it.
//!
//! An instance that has it becomes several routes: one that parts spans by backend, one for each backend, and one behind the port
//! that balanced spans come to, with all processors from `spanmetrics` on and the instance's own destinations.

use std::time::Duration;

use ::remote_write::{
    Backoff, Batching, DestinationConfig, ProtocolConfig,
    traces::{OtlpCompression, OtlpGrpcConfig, OtlpProtocol},
};
use model::Labels;
use net::ProxyConfig;
use otlp_receive::ReceiverConfig;
use traces::{BalanceConfig, RoutingKey};

use super::value::written;
use crate::{
    DestinationPlan, OnFull, Written,
    block::{Block, Shape, http_url},
    dialect::client,
};

pub(in crate::dialect) const LOAD_BALANCING: Shape = Shape {
    name: "traces.configs[].load_balancing",
    keys: &[&["exporter", "resolver", "receiver_port", "routing_key"]],
};
pub(in crate::dialect) const EXPORTER: Shape = Shape {
    name: "load_balancing.exporter",
    keys: &[&["compression", "insecure", "insecure_skip_verify", "format"], client::KEYS],
};
pub(in crate::dialect) const RESOLVER: Shape =
    Shape { name: "load_balancing.resolver", keys: &[&["static", "dns", "kubernetes"]] };
pub(in crate::dialect) const STATIC: Shape = Shape { name: "resolver.static", keys: &[&["hostnames"]] };

/// What the block comes to.
pub(in crate::dialect::traces) struct Balancing {
    pub config: BalanceConfig,
    /// One for each backend, in their order.
    pub destinations: Vec<DestinationPlan>,
    /// Where balanced spans come to.
    pub receiver: ReceiverConfig,
}

/// `None` with `held` set: the block asks for what does not run.
pub(super) fn read(instance: &Block<'_>, name: &str, held: &mut Vec<String>) -> Option<Balancing> {
    let field = instance.get("load_balancing")?;
    let block = Block::open(instance.reader, LOAD_BALANCING, &field)?;
    let resolver = block.block("resolver", RESOLVER);
    let Some(resolver) = resolver else {
        block.error("`resolver` is missing", Some("resolver: {static: {hostnames: ['agent-1:4318', 'agent-2:4318']}}"));
        return None;
    };
    for kind in ["dns", "kubernetes"] {
        if let Some(field) = resolver.get(kind) {
            let message = format!("the resolver `{kind}` does not run in this version: `{name}` receives nothing");
            instance.reader.warn(&field, message, Some("name the backends: static: {hostnames: [...]}"));
            held.push("load_balancing".to_owned());
            return None;
        }
    }
    let mut backends = Vec::new();
    if let Some(fixed) = resolver.block("static", STATIC) {
        for host in fixed.texts("hostnames") {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let backend = if has_port { host } else { format!("{host}:4317") };
            if !backends.contains(&backend) {
                backends.push(backend);
            }
        }
    }
    if backends.is_empty() {
        resolver.error("`static.hostnames` names no backend", Some("static: {hostnames: ['agent-1:4318']}"));
    }
    let exporter = block.block("exporter", EXPORTER);
    let plan = |backend: &String| destination(&block, exporter.as_ref(), name, backend);
    let destinations: Vec<DestinationPlan> = backends.iter().filter_map(plan).collect();
    let keys = [("traceID", RoutingKey::TraceId), ("service", RoutingKey::Service)];
    let port = block.whole("receiver_port").unwrap_or(4318);
    if !(1..=65_535).contains(&port) {
        block.error_at("receiver_port", "`receiver_port` is a port", Some("receiver_port: 4318"));
    }
    let mut receiver = ReceiverConfig::grpc(&format!("0.0.0.0:{port}"));
    "otlp/lb".clone_into(&mut receiver.name);
    let config = BalanceConfig { key: block.choice("routing_key", &keys).unwrap_or_default(), backends };
    Some(Balancing { config, destinations, receiver })
}

fn destination(block: &Block<'_>, exporter: Option<&Block<'_>>, name: &str, backend: &str) -> Option<DestinationPlan> {
    let flag = |key: &str| exporter.and_then(|exporter| exporter.flag(key)).unwrap_or(false);
    let scheme = if flag("insecure") { "http" } else { "https" };
    let url = http_url(&format!("{scheme}://{backend}"));
    let url = url.map_err(|why| block.error_at("resolver", format!("the backend `{backend}`: {why}"), None)).ok()?;
    let compressions =
        [("gzip", OtlpCompression::Gzip), ("zstd", OtlpCompression::Zstd), ("none", OtlpCompression::None)];
    let compression = exporter.and_then(|exporter| exporter.choice("compression", &compressions));
    if let Some(exporter) = exporter {
        exporter.choice("format", &[("otlp", ())]);
    }
    let proxy = ProxyConfig::Environment;
    let mut client = exporter.map(|exporter| client::read(exporter, proxy)).unwrap_or_default();
    client.tls.insecure_skip_verify |= flag("insecure_skip_verify");
    Some(DestinationPlan {
        default_service: "xray",
        config: DestinationConfig {
            name: format!("traces-{name}/{backend}"),
            url,
            endpoint_url: None,
            protocol: ProtocolConfig::Otlp(OtlpProtocol::Grpc(OtlpGrpcConfig {
                compression: compression.unwrap_or(OtlpCompression::None),
            })),
            timeout: Duration::from_secs(30),
            client,
            external_labels: Labels::new(),
            write_relabel: Vec::new(),
            backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_secs(30), retry_on_http_429: true },
            batching: Batching { max_samples: 8192, max_bytes: 3 << 20, max_age: Duration::ZERO },
            shards: 4,
            max_in_flight_bytes: 16 << 20,
            max_age: None,
        },
        identity: None,
        on_full: OnFull::Evict,
        enabled: true,
    })
}

/// The block as it is shown: without credentials.
pub(super) fn shown(instance: &Block<'_>) -> Option<(String, Written)> {
    let field = instance.get("load_balancing")?;
    let Written::Map(mut entries) = written(instance.reader, field.node) else { return None };
    for (_, block) in entries.iter_mut().filter(|(key, _)| key == "exporter") {
        if let Written::Map(keys) = block {
            let is_plain = |key: &str| {
                matches!(key, "compression" | "insecure" | "insecure_skip_verify" | "format" | "enable_http2")
            };
            for (_, value) in keys.iter_mut().filter(|(key, _)| !is_plain(key)) {
                hide(value);
            }
        }
    }
    Some(("load_balancing".to_owned(), Written::Map(entries)))
}

/// Whatever stands in it, its form stays.
fn hide(block: &mut Written) {
    match block {
        Written::Text(text) | Written::Word(text) => "<secret>".clone_into(text),
        Written::List(items) => items.iter_mut().for_each(hide),
        Written::Map(entries) => entries.iter_mut().for_each(|(_, block)| hide(block)),
    }
}
