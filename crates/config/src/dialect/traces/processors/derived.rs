//! What is made of spans besides forwarding them: `spanmetrics`, `service_graphs`, `automatic_logging`, with the Agent's defaults.

use std::time::Duration;

use traces::{
    AutomaticLoggingConfig, Dimension, LogBackend, LogKeys, ServiceGraphsConfig, SpanMetricsConfig, SpanMetricsOutput,
};

use super::super::Instances;
use crate::{
    block::{Block, Field, Shape},
    scalar,
};

pub(in crate::dialect) const SPANMETRICS: Shape = Shape {
    name: "traces.configs[].spanmetrics",
    keys: &[&[
        "metrics_instance",
        "handler_endpoint",
        "latency_histogram_buckets",
        "dimensions",
        "const_labels",
        "namespace",
        "dimensions_cache_size",
        "aggregation_temporality",
        "metrics_flush_interval",
        "exemplars",
    ]],
};

pub(in crate::dialect) const DIMENSION: Shape =
    Shape { name: "spanmetrics.dimensions[]", keys: &[&["name", "default"]] };

pub(in crate::dialect) const SERVICE_GRAPHS: Shape = Shape {
    name: "traces.configs[].service_graphs",
    keys: &[&["enabled", "wait", "max_items", "workers", "success_codes"]],
};

pub(in crate::dialect) const SUCCESS_CODES: Shape =
    Shape { name: "service_graphs.success_codes", keys: &[&["http", "grpc"]] };

pub(in crate::dialect) const AUTOMATIC_LOGGING: Shape = Shape {
    name: "traces.configs[].automatic_logging",
    keys: &[&[
        "backend",
        "logs_instance_name",
        "loki_name",
        "spans",
        "roots",
        "processes",
        "span_attributes",
        "process_attributes",
        "overrides",
        "labels",
        "timeout",
    ]],
};

pub(in crate::dialect) const OVERRIDES: Shape = Shape {
    name: "automatic_logging.overrides",
    keys: &[&[
        "logs_instance_tag",
        "loki_tag",
        "service_key",
        "span_name_key",
        "status_key",
        "duration_key",
        "trace_id_key",
    ]],
};

/// Milliseconds.
const BUCKETS: &[u64] = &[2, 4, 6, 8, 10, 50, 100, 200, 400, 800, 1000, 1400, 2000, 5000, 10_000, 15_000];

/// More would be a series each for every combination.
const MOST_BUCKETS: usize = 100;

pub(super) fn span_metrics(instance: &Block<'_>, instances: &Instances) -> Option<SpanMetricsConfig> {
    let field = instance.get("spanmetrics")?;
    let block = Block::open(instance.reader, SPANMETRICS, &field)?;
    if block.get("exemplars").is_some() {
        let message = "`exemplars` is a key of the Collector's spanmetrics connector, not of the Agent's: exemplars are not in this version";
        let help = "remove it; `automatic_logging` writes a line with the trace id for each span, root or process";
        block.error_at_key("exemplars", message, Some(help));
    }
    let output = match (block.text("metrics_instance"), block.text("handler_endpoint")) {
        (Some(name), None) => {
            known(&block, "metrics_instance", "metrics.configs", &name, &instances.metrics);
            SpanMetricsOutput::Instance(name)
        }
        (None, Some(endpoint)) => {
            if endpoint.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                let message = "`handler_endpoint` is an address and a port to listen on";
                block.error_at("handler_endpoint", message, Some("handler_endpoint: 127.0.0.1:8889"));
            }
            SpanMetricsOutput::Endpoint(endpoint)
        }
        _ => {
            block.error("`spanmetrics` has exactly one of `metrics_instance` and `handler_endpoint`", None);
            return None;
        }
    };
    let bucket = |item: &Field<'_>| {
        let text = block.reader.text(item)?;
        scalar::duration(&text).map_err(|why| block.reader.error(item, format!("a bucket: {why}"), None)).ok()
    };
    let mut buckets: Vec<Duration> = block.items("latency_histogram_buckets").iter().filter_map(bucket).collect();
    if buckets.is_empty() {
        buckets = BUCKETS.iter().copied().map(Duration::from_millis).collect();
    }
    if buckets.len() > MOST_BUCKETS || buckets.windows(2).any(|two| two.first() >= two.last()) {
        let message = format!("`latency_histogram_buckets` are rising, and at most {MOST_BUCKETS}");
        block.error_at("latency_histogram_buckets", message, None);
    }
    let dimension = |item: &Field<'_>| {
        let block = Block::open(block.reader, DIMENSION, item)?;
        let default = block.get("default").and_then(|field| block.reader.text(&field));
        Some(Dimension { name: block.required("name", "name: http.method")?, default })
    };
    let label = |(name, field): (&str, Field<'_>)| Some((name.to_owned(), block.reader.text(&field)?));
    let cache = block.whole("dimensions_cache_size").filter(|size| *size > 0).unwrap_or(1000);
    let temporality = [
        ("AGGREGATION_TEMPORALITY_CUMULATIVE", false),
        ("AGGREGATION_TEMPORALITY_DELTA", true),
        ("cumulative", false),
        ("delta", true),
    ];
    let interval = block.duration("metrics_flush_interval").filter(|interval| !interval.is_zero());
    let config = SpanMetricsConfig {
        buckets,
        dimensions: block.items("dimensions").iter().filter_map(dimension).collect(),
        const_labels: block.entries("const_labels").into_iter().filter_map(label).collect(),
        namespace: block.text("namespace"),
        output,
        dimensions_cache_size: usize::try_from(cache.min(1_000_000)).unwrap_or(usize::MAX),
        delta: block.choice("aggregation_temporality", &temporality).unwrap_or(false),
        flush_interval: interval.unwrap_or(Duration::from_secs(15)),
    };
    if let Some((one, other)) = config.collision() {
        let message = format!("`{one}` and `{other}` would be the same label of a series");
        block.error_at(
            "dimensions",
            message,
            Some("service_name, operation, span_kind, status_code and le are there already"),
        );
    }
    Some(config)
}

pub(super) fn service_graphs(instance: &Block<'_>) -> Option<ServiceGraphsConfig> {
    let field = instance.get("service_graphs")?;
    let block = Block::open(instance.reader, SERVICE_GRAPHS, &field)?;
    // Pairs are counted where spans pass: nothing is handed to workers.
    block.whole("workers");
    let codes = block.block("success_codes", SUCCESS_CODES);
    let of = |key: &str| -> Vec<i64> {
        let Some(codes) = &codes else { return Vec::new() };
        let code = |item: &Field<'_>| {
            let code = codes.reader.text(item)?.parse::<i64>();
            code.map_err(|_| codes.reader.error(item, "a status code is a whole number", None)).ok()
        };
        codes.items(key).iter().filter_map(code).collect()
    };
    let config = ServiceGraphsConfig {
        wait: block.duration("wait").filter(|wait| !wait.is_zero()).unwrap_or(Duration::from_secs(10)),
        max_items: usize::try_from(
            block.whole("max_items").filter(|items| *items > 0).unwrap_or(10_000).min(1_000_000),
        )
        .unwrap_or(usize::MAX),
        success_http: of("http"),
        success_grpc: of("grpc"),
    };
    block.flag("enabled").unwrap_or(false).then_some(config)
}

pub(super) fn automatic_logging(instance: &Block<'_>, instances: &Instances) -> Option<AutomaticLoggingConfig> {
    let field = instance.get("automatic_logging")?;
    let block = Block::open(instance.reader, AUTOMATIC_LOGGING, &field)?;
    let backends = [("stdout", false), ("logs_instance", true), ("loki", true)];
    let to_instance = block.choice("backend", &backends).unwrap_or(false);
    let name = block.either(&["logs_instance_name", "loki_name"]).and_then(|field| block.reader.text(&field));
    let backend = match (to_instance, name.filter(|name| !name.is_empty())) {
        (false, _) => LogBackend::Stdout,
        (true, Some(name)) => {
            known(&block, "logs_instance_name", "logs.configs", &name, &instances.logs);
            LogBackend::Instance(name)
        }
        (true, None) => {
            block.error("`logs_instance_name` is missing: it names an entry of `logs.configs`", None);
            return None;
        }
    };
    let on = |key: &str| block.flag(key).unwrap_or(false);
    let (spans, roots, processes) = (on("spans"), on("roots"), on("processes"));
    if !(spans || roots || processes) {
        block.error("`automatic_logging` logs nothing: one of `spans`, `roots` and `processes` has to be true", None);
    }
    let mut overrides = LogKeys::default();
    if let Some(block) = block.block("overrides", OVERRIDES) {
        let tag = block.either(&["logs_instance_tag", "loki_tag"]).and_then(|field| block.reader.text(&field));
        overrides.logs_instance_tag = tag.filter(|tag| !tag.is_empty()).unwrap_or(overrides.logs_instance_tag);
        for (key, place) in [
            ("service_key", &mut overrides.service_key),
            ("span_name_key", &mut overrides.span_name_key),
            ("status_key", &mut overrides.status_key),
            ("duration_key", &mut overrides.duration_key),
            ("trace_id_key", &mut overrides.trace_id_key),
        ] {
            if let Some(text) = block.text(key) {
                *place = text;
            }
        }
    }
    Some(AutomaticLoggingConfig {
        backend,
        spans,
        roots,
        processes,
        span_attributes: block.texts("span_attributes"),
        process_attributes: block.texts("process_attributes"),
        overrides,
        labels: block.texts("labels"),
        timeout: block.duration("timeout").filter(|timeout| !timeout.is_zero()).unwrap_or(Duration::from_millis(1)),
    })
}

fn known(block: &Block<'_>, key: &str, list: &str, name: &str, all: &[String]) {
    if all.iter().all(|known| known != name) {
        let help = match all {
            [] => format!("there is none: add one, or remove `{key}`"),
            all => format!("there are {}", all.join(", ")),
        };
        block.error_at(key, format!("`{name}` is no entry of `{list}`"), Some(&help));
    }
}
