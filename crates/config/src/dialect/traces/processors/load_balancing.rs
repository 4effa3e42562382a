//! `load_balancing`: the Collector's load balancing exporter as the Agent configures it.
//!
//! Backends are written down, or found while it runs (`dns`, `kubernetes`): then the plan has none of them, and a template.
//! An instance that has it becomes several routes: one that parts spans by backend, one for each backend, and one behind the port
//! that balanced spans come to, with all processors from `spanmetrics` on and the instance's own destinations.

use std::time::Duration;

use ::discovery::{DiscoveryConfig, KubernetesDiscovery, KubernetesRole, KubernetesSelector};
use ::remote_write::{
    Backoff, Batching, DestinationConfig, ProtocolConfig,
    traces::{OtlpCompression, OtlpGrpcConfig, OtlpProtocol},
};
use model::Labels;
use net::{HttpClientConfig, ProxyConfig};
use otlp_receive::ReceiverConfig;
use traces::{BalanceConfig, RoutingKey};

use super::value::written;
use crate::{
    BackendResolver, DestinationPlan, OnFull, Written,
    block::{Block, Shape, http_url},
    dialect::client,
    traces_plan::backend_destination,
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
pub(in crate::dialect) const DNS: Shape =
    Shape { name: "resolver.dns", keys: &[&["hostname", "port", "interval", "timeout"]] };
pub(in crate::dialect) const KUBERNETES: Shape = Shape { name: "resolver.kubernetes", keys: &[&["service", "ports"]] };

/// What the block comes to.
pub(in crate::dialect::traces) struct Balancing {
    pub config: BalanceConfig,
    pub resolver: BackendResolver,
    /// How backends are spoken to that are found later.
    pub template: DestinationPlan,
    /// One for each backend, in their order.
    pub destinations: Vec<DestinationPlan>,
    /// Where balanced spans come to.
    pub receiver: ReceiverConfig,
}

pub(super) fn read(instance: &Block<'_>, name: &str) -> Option<Balancing> {
    let field = instance.get("load_balancing")?;
    let block = Block::open(instance.reader, LOAD_BALANCING, &field)?;
    let Some(resolver) = block.block("resolver", RESOLVER) else {
        block.error("`resolver` is missing", Some("resolver: {static: {hostnames: ['agent-1:4318', 'agent-2:4318']}}"));
        return None;
    };
    let kinds = ["static", "dns", "kubernetes"];
    if kinds.iter().filter(|kind| resolver.get(kind).is_some()).count() > 1 {
        resolver.error("`resolver` names several ways to find backends", Some("keep one of static, dns, kubernetes"));
        return None;
    }
    let (word, found, backends) = match resolver.block("dns", DNS) {
        Some(dns) => ("dns", self::dns(&dns)?, Vec::new()),
        None => match resolver.block("kubernetes", KUBERNETES) {
            Some(service) => ("k8s", kubernetes(&service)?, Vec::new()),
            None => ("static", BackendResolver::Static, fixed(&resolver)),
        },
    };
    let exporter = block.block("exporter", EXPORTER);
    // Where backends are found later, a name stands for them until then.
    let sample = backends.first().cloned().unwrap_or_else(|| "backend.invalid:4317".to_owned());
    let template = destination(&block, exporter.as_ref(), name, &sample)?;
    let plan = |backend: &String| {
        let config = DestinationConfig {
            url: backend_url(&block, exporter.as_ref(), backend)?,
            name: backend_destination(name, backend),
            ..template.config.clone()
        };
        Some(DestinationPlan { config, ..template.clone() })
    };
    let destinations: Vec<DestinationPlan> = backends.iter().filter_map(plan).collect();
    let keys = [("traceID", RoutingKey::TraceId), ("service", RoutingKey::Service)];
    let port = block.whole("receiver_port").unwrap_or(4318);
    if !(1..=65_535).contains(&port) {
        block.error_at("receiver_port", "`receiver_port` is a port", Some("receiver_port: 4318"));
    }
    let mut receiver = ReceiverConfig::grpc(&format!("0.0.0.0:{port}"));
    "otlp/lb".clone_into(&mut receiver.name);
    let key = block.choice("routing_key", &keys).unwrap_or_default();
    let config = BalanceConfig { key, resolver: word, backends };
    Some(Balancing { config, resolver: found, template, destinations, receiver })
}

/// The backends of `static`.
fn fixed(resolver: &Block<'_>) -> Vec<String> {
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
    backends
}

fn dns(block: &Block<'_>) -> Option<BackendResolver> {
    let hostname = block.required("hostname", "hostname: agents.example")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !hostname.chars().all(is_name) {
        block.error_at("hostname", "`hostname` is a host name without a port", Some("the port has a key: port: 4317"));
        return None;
    }
    let port = port(block, "port", block.text("port").as_deref().unwrap_or("4317"))?;
    let duration = |key: &str, seconds| {
        let given = block.duration(key).filter(|given| !given.is_zero());
        given.unwrap_or(Duration::from_secs(seconds))
    };
    Some(BackendResolver::Dns { hostname, port, interval: duration("interval", 5), timeout: duration("timeout", 1) })
}

/// `service` or `service.namespace`; the Collector's namespace is `default` where none is named.
fn kubernetes(block: &Block<'_>) -> Option<BackendResolver> {
    let service = block.required("service", "service: agents.monitoring")?;
    let (name, namespace) = service.split_once('.').unwrap_or((&service, "default"));
    let namespace = namespace.split('.').next().unwrap_or_default();
    if name.is_empty() || namespace.is_empty() {
        block.error_at(
            "service",
            "`service` is the name of a service and its namespace",
            Some("service: agents.monitoring"),
        );
        return None;
    }
    let given = block.texts("ports");
    let mut ports: Vec<u16> = given.iter().filter_map(|text| port(block, "ports", text)).collect();
    if given.is_empty() {
        ports.push(4317);
    }
    let selector = KubernetesSelector {
        role: KubernetesRole::Endpoints,
        label: String::new(),
        field: format!("metadata.name={name}"),
    };
    let discovery = KubernetesDiscovery {
        role: KubernetesRole::Endpoints,
        api_server: None,
        kubeconfig_file: None,
        namespaces: vec![namespace.to_owned()],
        own_namespace: false,
        selectors: vec![selector],
        attach_node: false,
        client: HttpClientConfig::default(),
    };
    Some(BackendResolver::Kubernetes { endpoints: Box::new(DiscoveryConfig::Kubernetes(Box::new(discovery))), ports })
}

fn port(block: &Block<'_>, key: &str, text: &str) -> Option<u16> {
    let port = text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        block.error_at(key, format!("`{key}`: a port is a number from 1 to 65535"), Some("4317 is OTLP over gRPC"));
    }
    port
}

fn backend_url(block: &Block<'_>, exporter: Option<&Block<'_>>, backend: &str) -> Option<url::Url> {
    let insecure = exporter.and_then(|exporter| exporter.flag("insecure")).unwrap_or(false);
    let scheme = if insecure { "http" } else { "https" };
    let url = http_url(&format!("{scheme}://{backend}"));
    url.map_err(|why| block.error_at("resolver", format!("the backend `{backend}`: {why}"), None)).ok()
}

fn destination(block: &Block<'_>, exporter: Option<&Block<'_>>, name: &str, backend: &str) -> Option<DestinationPlan> {
    let flag = |key: &str| exporter.and_then(|exporter| exporter.flag(key)).unwrap_or(false);
    let url = backend_url(block, exporter, backend)?;
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
            name: backend_destination(name, backend),
            url,
            endpoint_url: None,
            protocol: ProtocolConfig::Otlp(OtlpProtocol::Grpc(OtlpGrpcConfig {
                compression: compression.unwrap_or(OtlpCompression::None),
            })),
            timeout: Duration::from_secs(30),
            client,
            external_labels: Labels::new(),
            write_relabel: Vec::new(),
            native_histograms: false,
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
