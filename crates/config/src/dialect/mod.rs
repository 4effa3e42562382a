//! The dialect of the file: which blocks there are, what their keys mean, and how they become a plan.
//!
//! One file per block. A block's keys stand in its [`Shape`]; a test wants each of them in docs/reference/configuration.md.

mod client;
mod credentials;
mod destination;
mod discovery;
mod docker;
mod identity;
mod ignored;
mod kubernetes;
mod logs;
mod metrics;
mod names;
mod queue;
mod relabel;
mod remote_write;
mod scrape;
mod secrets;
mod sending;
mod server;
mod traces;

use std::path::PathBuf;

pub(crate) use names::{
    is_identity_block, is_known, is_label_mapping, is_plain_list, is_secret, is_secret_container, meant, meant_in,
    suggest,
};

use otlp_receive::ExponentialForm;

use crate::{
    DestinationPlan, Plan, TracesRoute,
    block::{Block, Field, Reader, Shape},
};

const ROOT: Shape = Shape {
    name: "the file",
    keys: &[
        &["server", "metrics", "queue", "logs", "traces", "integrations", "agent_management", "secrets", "vault"],
        &["prometheus", "loki", "tempo"],
    ],
};

/// Every kind of block with its keys.
pub const SHAPES: &[Shape] = &[
    ROOT,
    server::SERVER,
    server::SERVER_TLS,
    metrics::METRICS,
    metrics::GLOBAL,
    metrics::INSTANCE,
    scrape::SCRAPE,
    discovery::STATIC,
    discovery::FILE,
    discovery::HTTP,
    kubernetes::KUBERNETES,
    kubernetes::NAMESPACES,
    kubernetes::SELECTOR,
    kubernetes::ATTACH,
    relabel::RELABEL,
    remote_write::REMOTE_WRITE,
    sending::QUEUE_CONFIG,
    sending::METADATA_CONFIG,
    destination::DESTINATION_QUEUE,
    destination::BATCH,
    destination::SSE,
    identity::IDENTITY,
    credentials::WEB_IDENTITY,
    credentials::CONTAINER,
    credentials::INSTANCE_METADATA,
    credentials::ROLES_ANYWHERE,
    identity::ASSUME_ROLE,
    client::BASIC_AUTH,
    client::AUTHORIZATION,
    client::OAUTH2,
    client::OAUTH2_OF_TRACES,
    client::TLS_OF_COLLECTOR,
    client::TLS,
    client::HTTP_HEADER,
    queue::QUEUE,
    queue::SHARES,
    secrets::SECRETS,
    secrets::VAULT,
    secrets::VAULT_APPROLE,
    secrets::VAULT_KUBERNETES,
    secrets::VAULT_AWS,
    logs::LOGS,
    logs::GLOBAL,
    logs::INSTANCE,
    logs::clients::CLIENT,
    logs::clients::BACKOFF,
    logs::limits::POSITIONS,
    logs::limits::TARGET,
    logs::limits::LIMITS,
    logs::limits::FILE_WATCH,
    logs::scrape::SCRAPE,
    logs::scrape::DECOMPRESSION,
    logs::sources::JOURNAL,
    logs::sources::SYSLOG,
    logs::sources::PUSH,
    logs::sources::PUSH_SERVER,
    logs::sources::OBJECTS,
    logs::sources::CLOUDWATCH,
    docker::DOCKER,
    docker::FILTER,
    logs::stages::STAGE,
    logs::stages::DOCKER,
    logs::stages::CRI,
    logs::stages::JSON,
    logs::stages::LOGFMT,
    logs::stages::REGEX,
    logs::stages::REPLACE,
    logs::stages::TEMPLATE,
    logs::stages::TIMESTAMP,
    logs::stages::OUTPUT,
    logs::stages::TENANT,
    logs::stages::MATCH,
    logs::stages::DROP,
    logs::stages::LIMIT,
    logs::stages::SAMPLING,
    logs::stages::MULTILINE,
    logs::stages::PACK,
    logs::stages::METRIC,
    logs::stages::METRIC_CONFIG,
    logs::stages::GEOIP,
    logs::stages::EVENT_LOG_MESSAGE,
    logs::stages::DECOLORIZE,
    traces::TRACES,
    traces::INSTANCE,
    traces::processors::BATCH,
    traces::processors::attributes::ATTRIBUTES,
    traces::processors::attributes::ACTION,
    traces::processors::attributes::MATCH,
    traces::processors::attributes::PROPERTY,
    traces::processors::attributes::LIBRARY,
    traces::processors::derived::SPANMETRICS,
    traces::processors::derived::DIMENSION,
    traces::processors::derived::SERVICE_GRAPHS,
    traces::processors::derived::SUCCESS_CODES,
    traces::processors::derived::AUTOMATIC_LOGGING,
    traces::processors::derived::OVERRIDES,
    traces::processors::load_balancing::LOAD_BALANCING,
    traces::processors::load_balancing::EXPORTER,
    traces::processors::load_balancing::RESOLVER,
    traces::processors::load_balancing::STATIC,
    traces::processors::load_balancing::DNS,
    traces::processors::load_balancing::KUBERNETES,
    traces::processors::tail_sampling::TAIL_SAMPLING,
    traces::processors::tail_sampling::POLICY,
    traces::processors::tail_sampling::LATENCY,
    traces::processors::tail_sampling::NUMERIC,
    traces::processors::tail_sampling::PROBABILISTIC,
    traces::processors::tail_sampling::STATUS,
    traces::processors::tail_sampling::STRING,
    traces::processors::tail_sampling::RATE,
    traces::processors::tail_sampling::COUNT,
    traces::processors::tail_sampling::BOOLEAN,
    traces::processors::tail_sampling::STATE,
    traces::processors::tail_sampling::OTTL,
    traces::processors::tail_sampling::AND,
    traces::processors::tail_sampling::COMPOSITE,
    traces::processors::tail_sampling::ALLOCATION,
    traces::receivers::OTLP,
    traces::receivers::PROTOCOLS,
    traces::receivers::GRPC,
    traces::receivers::HTTP,
    traces::receivers::KEEPALIVE,
    traces::receivers::SERVER_PARAMETERS,
    traces::receivers::TLS,
    traces::receivers::CORS,
    traces::receivers::spans::ZIPKIN,
    traces::receivers::spans::JAEGER,
    traces::receivers::spans::JAEGER_PROTOCOLS,
    traces::receivers::spans::THRIFT_HTTP,
    traces::receivers::spans::THRIFT_UDP,
    traces::remote_write::REMOTE_WRITE,
    traces::remote_write::SENDING_QUEUE,
    traces::remote_write::RETRY,
];

/// What the command line decides.
pub(crate) struct Settings {
    pub data_directory: Option<PathBuf>,
    pub extra_scrape_metrics: bool,
    /// What `{hostname}` stands for.
    pub hostname: String,
}

/// What an instance of metrics wants of exponential histograms: all of its destinations are served.
fn exponential(destinations: &[DestinationPlan]) -> ExponentialForm {
    let natively = destinations.iter().filter(|destination| destination.config.native_histograms).count();
    match natively {
        0 => ExponentialForm::Bounds,
        some if some == destinations.len() => ExponentialForm::Native,
        _ => ExponentialForm::Both,
    }
}

/// Reads the whole file. `None` only if its root is not a mapping.
pub(crate) fn plan<'a>(reader: &'a Reader<'a>, root: &Field<'a>, settings: &Settings) -> Option<Plan> {
    let block = Block::open(reader, ROOT, root)?;
    reader.has_vault.set(block.raw("vault").is_some());
    let server = server::read(&block);
    let metrics_field = renamed(&block, "metrics", "prometheus");
    let metrics = metrics_field.as_ref().and_then(|f| metrics::read(reader, f, settings));
    let metrics = metrics.unwrap_or_else(|| metrics::Metrics::nothing(settings));
    let queue = queue::read(&block, &metrics.data_directory);
    let secret_stores = secrets::read(&block);
    let names = metrics.routes.iter().flat_map(|r| &r.destinations).map(|d| d.config.name.clone()).collect();
    let (logs, sourceless) = renamed(&block, "logs", "loki")
        .map(|field| logs::read(reader, &field, settings, &metrics.data_directory, names))
        .unwrap_or_default();
    let of_metrics = metrics.routes.iter().flat_map(|r| &r.destinations);
    let of_logs = logs.iter().flat_map(|r| &r.destinations);
    let names = of_metrics.chain(of_logs).map(|d| d.config.name.clone()).collect();
    let instances = traces::Instances {
        metrics: metrics.routes.iter().map(|route| route.name.clone()).collect(),
        exponential: metrics.routes.iter().map(|route| exponential(&route.destinations)).collect(),
        logs: logs.iter().map(|route| route.name.clone()).collect(),
    };
    let traces = renamed(&block, "traces", "tempo")
        .map(|field| traces::read(reader, &field, names, &instances))
        .unwrap_or_default();
    let targets: Vec<&str> = traces.iter().flat_map(TracesRoute::logs_instances).collect();
    sourceless.iter().for_each(|instance| instance.check(&targets));
    for (key, why) in [
        ("integrations", "integrations: this version of sigpost runs no built-in exporters yet; nothing under it runs"),
        (
            "agent_management",
            "agent_management: sigpost does not fetch its configuration from elsewhere; this block is ignored",
        ),
    ] {
        ignored::block(reader, block.get(key), why);
    }
    let shares = queue.shares;
    for (key, share, is_empty) in [
        ("metrics", shares.metrics, metrics.routes.is_empty()),
        ("logs", shares.logs, logs.is_empty()),
        ("traces", shares.traces, traces.is_empty()),
    ] {
        if share == 0 && !is_empty {
            let message = format!("`queue.shares` leaves no room for {key}, and there are {key}.configs");
            block.error_at("queue", message, Some("shares: {metrics: 40, logs: 40, traces: 20} is the default"));
        }
    }
    if metrics.routes.is_empty() && logs.is_empty() && traces.is_empty() {
        block.warn(
            "nothing is collected: there is no entry under `metrics.configs`, `logs.configs` or `traces.configs`",
            Some("see config/agent.yaml for a file to start from"),
        );
    }
    let stored_secrets = reader.all_stored();
    Some(Plan {
        server,
        data_directory: metrics.data_directory,
        queue,
        metrics: metrics.routes,
        logs,
        traces,
        secret_stores,
        stored_secrets,
        warnings: Vec::new(),
    })
}

/// A top-level block under its present or its old name.
fn renamed<'a>(block: &Block<'a>, key: &str, old: &str) -> Option<Field<'a>> {
    let (new_field, old_field) = (block.get(key), block.get(old));
    if let Some(field) = &old_field {
        match new_field {
            Some(_) => block.reader.error(
                field,
                format!("`{old}` is the old name of `{key}`; both are given"),
                Some("keep one of them"),
            ),
            None => block.reader.warn(field, format!("`{old}` is the old name of `{key}`"), Some("rename it")),
        }
    }
    new_field.or(old_field)
}
