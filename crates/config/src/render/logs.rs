//! Routes of logs, rendered: clients, jobs, stages.

use net::ProxyConfig;
use remote_write::{
    ProtocolConfig,
    logs::{LogCompression, LogFormat, LogProtocol},
};
use stages::config::{Mapping, MetricConfig, StageConfig};

use super::{
    client::{client, masked_url},
    identity::identity,
    job::{discovery, rules},
    labels, queue_block, sources,
};
use crate::{
    CompressionFormat, DestinationPlan, LogJobPlan, LogSource, LogsRoute,
    scalar::{show_duration, show_size},
    yaml_out::{Map, Out},
};

pub(super) fn logs(routes: &[LogsRoute]) -> Map {
    let mut map = Map::default();
    let mut global = Map::default();
    // The same for every route: the dialect has it under `global` only.
    if let Some(first) = routes.first() {
        let mut watch = Map::default();
        watch.word("min_poll_frequency", show_duration(first.watch.min_poll));
        watch.word("max_poll_frequency", show_duration(first.watch.max_poll));
        global.put("file_watch_config", Out::Map(watch));
    }
    map.put("global", Out::Map(global));
    map.put("configs", Out::List(routes.iter().map(|r| Out::Map(route(r))).collect()));
    map
}

fn route(route: &LogsRoute) -> Map {
    let mut map = Map::default();
    map.text("name", &route.name);
    let mut positions = Map::default();
    positions.text("filename", route.positions.file.to_string_lossy());
    positions.word("sync_period", show_duration(route.positions.sync_period));
    if route.positions.ignore_invalid_yaml {
        positions.word("ignore_invalid_yaml", true);
    }
    let mut target = Map::default();
    target.word("sync_period", show_duration(route.sync_period));
    if route.stdin {
        target.word("stdin", true);
    }
    map.put("positions", Out::Map(positions)).put("target_config", Out::Map(target));
    let mut limits = Map::default();
    if let Some(rate) = route.limits.rate {
        limits.word("readline_rate_enabled", true).word("readline_rate", rate.per_second);
        limits.word("readline_burst", rate.burst).word("readline_rate_drop", rate.drop);
    }
    if route.limits.max_streams != 0 {
        limits.word("max_streams", route.limits.max_streams);
    }
    if route.limits.max_line_size != 0 {
        limits.word("max_line_size", show_size(route.limits.max_line_size));
    }
    if route.limits.max_line_size_truncate {
        limits.word("max_line_size_truncate", true);
    }
    map.put("limits_config", Out::Map(limits));
    map.put("clients", Out::List(route.destinations.iter().map(|d| Out::Map(destination(d))).collect()));
    map.put("scrape_configs", Out::List(route.jobs.iter().map(|j| Out::Map(job(j))).collect()));
    map
}

fn destination(plan: &DestinationPlan) -> Map {
    let config = &plan.config;
    let mut map = Map::default();
    map.text("name", &config.name).text("url", masked_url(&config.url));
    if let Some(url) = &config.endpoint_url {
        map.text("endpoint_url", masked_url(url));
    }
    if !plan.enabled {
        map.word("enabled", false);
    }
    map.word("timeout", show_duration(config.timeout));
    let mut objects = false;
    if let ProtocolConfig::Logs(speaks) = &config.protocol {
        objects = matches!(speaks, LogProtocol::Objects(_));
        protocol(&mut map, speaks);
    }
    if objects {
        let mut batch = Map::default();
        batch.word("max_bytes", show_size(config.batching.max_bytes as u64));
        batch.word("max_age", show_duration(config.batching.max_age));
        map.put("batch", Out::Map(batch));
    } else {
        map.word("batchwait", show_duration(config.batching.max_age));
        map.word("batchsize", show_size(config.batching.max_bytes as u64));
    }
    let mut backoff = Map::default();
    backoff.word("min_period", show_duration(config.backoff.min));
    backoff.word("max_period", show_duration(config.backoff.max));
    map.put("backoff_config", Out::Map(backoff));
    if !config.backoff.retry_on_http_429 {
        map.word("drop_rate_limited_batches", true);
    }
    map.put("external_labels", labels(Some(&config.external_labels)));
    map.put("write_relabel_configs", rules(&config.write_relabel));
    if let Some(config) = &plan.identity {
        map.always("sigv4", identity(config));
    }
    client(&mut map, &config.client, &ProxyConfig::Environment);
    map.put("queue", Out::Map(queue_block(plan)));
    map
}

fn protocol(map: &mut Map, protocol: &LogProtocol) {
    map.text("protocol", protocol.name());
    let put = |map: &mut Map, key: &str, value: Option<&str>| {
        if let Some(value) = value {
            map.text(key, value);
        }
    };
    let format = |format: LogFormat| if format == LogFormat::Text { "text" } else { "json" };
    let gzip = |gzip: bool| if gzip { "gzip" } else { "none" };
    match protocol {
        LogProtocol::Loki(loki) => put(map, "tenant_id", loki.tenant_id.as_deref()),
        LogProtocol::CloudWatch(c) => {
            map.text("log_group", c.log_group.text()).text("log_stream", c.log_stream.text());
            map.word("create", c.create).text("compression", gzip(c.gzip));
            if let Some(days) = c.retention_days {
                map.word("retention_days", days);
            }
        }
        LogProtocol::Firehose(f) => {
            map.text("delivery_stream", &f.delivery_stream).text("format", format(f.format));
        }
        LogProtocol::Kinesis(k) => {
            map.text("stream_name", &k.stream_name).text("format", format(k.format));
            put(map, "partition_key", k.partition_key.as_ref().map(|t| t.text()));
        }
        LogProtocol::Objects(o) => {
            map.text("format", format(o.format)).text(
                "compression",
                match o.compression {
                    LogCompression::None => "none",
                    LogCompression::Gzip => "gzip",
                    LogCompression::Zstd => "zstd",
                },
            );
            put(map, "prefix", o.prefix.as_ref().map(|t| t.text()));
            put(map, "storage_class", o.storage_class.as_deref());
            put(map, "expected_bucket_owner", o.expected_bucket_owner.as_deref());
            let mut sse = Map::default();
            put(&mut sse, "type", o.sse.as_deref());
            put(&mut sse, "kms_key_id", o.sse_kms_key_id.as_deref());
            map.put("sse", Out::Map(sse));
        }
        LogProtocol::Otlp(o) => {
            put(map, "log_group", o.log_group.as_ref().map(|t| t.text()));
            put(map, "log_stream", o.log_stream.as_ref().map(|t| t.text()));
            map.word("create", o.create).text("compression", gzip(o.gzip));
            if let Some(days) = o.retention_days {
                map.word("retention_days", days);
            }
        }
    }
}

fn job(job: &LogJobPlan) -> Map {
    let mut map = Map::default();
    map.text("job_name", &job.job_name);
    match &job.source {
        LogSource::Files(found) => discovery(&mut map, found),
        other => sources::source(&mut map, other),
    }
    if let Some(encoding) = &job.encoding {
        map.text("encoding", encoding);
    }
    if let Some(decompression) = job.decompression {
        let mut block = Map::default();
        block.word("enabled", true).word("initial_delay", show_duration(decompression.initial_delay));
        block.text(
            "format",
            match decompression.format {
                CompressionFormat::Gzip => "gz",
                CompressionFormat::Zlib => "z",
                CompressionFormat::Bzip2 => "bz2",
                CompressionFormat::Zstd => "zst",
            },
        );
        map.put("decompression", Out::Map(block));
    }
    map.put("relabel_configs", rules(&job.relabel));
    map.put("pipeline_stages", stages(&job.stages.stages));
    map
}

fn stages(all: &[StageConfig]) -> Out {
    let one = |stage: &StageConfig| {
        let mut map = Map::default();
        match stage {
            StageConfig::LabelDrop(names) | StageConfig::LabelAllow(names) => map.texts(stage.key(), names),
            _ => map.always(stage.key(), body(stage)),
        };
        Out::Map(map)
    };
    Out::List(all.iter().map(one).collect())
}

fn body(stage: &StageConfig) -> Map {
    let mut map = Map::default();
    match stage {
        StageConfig::Docker | StageConfig::Decolorize | StageConfig::LabelDrop(_) | StageConfig::LabelAllow(_) => {}
        StageConfig::Cri(c) => {
            map.word("max_partial_lines", c.max_partial_lines);
            if c.max_partial_line_size != 0 {
                map.word("max_partial_line_size", show_size(c.max_partial_line_size));
            }
            if c.max_partial_line_size_truncate {
                map.word("max_partial_line_size_truncate", true);
            }
        }
        StageConfig::Json(c) => {
            optional(&mut map, "source", &c.source);
            map.put("expressions", Out::Map(pairs(&c.expressions)));
            if c.drop_malformed {
                map.word("drop_malformed", true);
            }
        }
        StageConfig::Logfmt(c) => {
            optional(&mut map, "source", &c.source);
            map.put("mapping", Out::Map(pairs(&c.mapping)));
        }
        StageConfig::Regex(c) => {
            optional(&mut map, "source", &c.source);
            map.text("expression", &c.expression);
        }
        StageConfig::Replace(c) => {
            optional(&mut map, "source", &c.source);
            map.text("expression", &c.expression).text("replace", &c.replace);
        }
        StageConfig::Template(c) => {
            map.text("source", &c.source).text("template", &c.template);
        }
        StageConfig::Labels(c) | StageConfig::StructuredMetadata(c) => map = pairs(c),
        StageConfig::StaticLabels(c) => {
            for (name, value) in c {
                map.text(name, value);
            }
        }
        StageConfig::Timestamp(c) => {
            optional(&mut map, "location", &c.location);
            optional(&mut map, "action_on_failure", &c.action_on_failure);
            map.text("source", &c.source).text("format", &c.format).texts("fallback_formats", &c.fallback_formats);
        }
        StageConfig::Output(c) => {
            map.text("source", &c.source);
        }
        StageConfig::Tenant(c) => {
            optional(&mut map, "label", &c.label);
            optional(&mut map, "source", &c.source);
            optional(&mut map, "value", &c.value);
        }
        StageConfig::Match(c) => {
            optional(&mut map, "action", &c.action);
            optional(&mut map, "pipeline_name", &c.pipeline_name);
            optional(&mut map, "drop_counter_reason", &c.drop_counter_reason);
            map.text("selector", &c.selector).put("stages", stages(&c.stages));
        }
        StageConfig::Drop(c) => {
            optional(&mut map, "separator", &c.separator);
            optional(&mut map, "value", &c.value);
            optional(&mut map, "expression", &c.expression);
            optional(&mut map, "drop_counter_reason", &c.drop_counter_reason);
            optional(&mut map, "older_than", &c.older_than.map(show_duration));
            optional(&mut map, "longer_than", &c.longer_than.map(show_size));
            map.texts("source", c.source.iter().flatten());
        }
        StageConfig::Limit(c) => {
            optional(&mut map, "by_label_name", &c.by_label_name);
            map.word("rate", c.rate).word("burst", c.burst).word("drop", c.drop);
            if c.max_distinct_labels != 0 {
                map.word("max_distinct_labels", c.max_distinct_labels);
            }
        }
        StageConfig::Sampling(c) => {
            optional(&mut map, "drop_counter_reason", &c.drop_counter_reason);
            map.word("rate", c.rate);
        }
        StageConfig::Multiline(c) => {
            optional(&mut map, "max_wait_time", &c.max_wait_time.map(show_duration));
            map.text("firstline", &c.firstline);
            if let Some(lines) = c.max_lines {
                map.word("max_lines", lines);
            }
        }
        StageConfig::Pack(c) => {
            map.texts("labels", &c.labels).word("ingest_timestamp", c.ingest_timestamp);
        }
        StageConfig::Metrics(all) => {
            for (name, config) in all {
                map.always(name, metric(config));
            }
        }
        StageConfig::GeoIp(c) => {
            optional(&mut map, "source", &c.source);
            map.text("db", c.db.to_string_lossy()).text("db_type", &c.db_type);
        }
        StageConfig::EventLogMessage(c) => {
            optional(&mut map, "source", &c.source);
            map.word("drop_invalid_labels", c.drop_invalid_labels).word("overwrite_existing", c.overwrite_existing);
        }
    }
    map
}

fn optional(map: &mut Map, key: &str, value: &Option<String>) {
    if let Some(value) = value {
        map.text(key, value);
    }
}

fn pairs(mapping: &Mapping) -> Map {
    let mut map = Map::default();
    for (name, source) in mapping {
        map.text(name, source.clone().unwrap_or_default());
    }
    map
}

fn metric(metric: &MetricConfig) -> Map {
    let mut map = Map::default();
    map.text("type", &metric.kind);
    if !metric.description.is_empty() {
        map.text("description", &metric.description);
    }
    for (key, value) in [
        ("source", metric.source.clone()),
        ("prefix", metric.prefix.clone()),
        ("max_idle_duration", metric.max_idle_duration.map(show_duration)),
    ] {
        if let Some(value) = value {
            map.text(key, value);
        }
    }
    let mut config = Map::default();
    for (key, value) in [("action", &metric.config.action), ("value", &metric.config.value)] {
        if let Some(value) = value {
            config.text(key, value);
        }
    }
    for (key, on) in [("match_all", metric.config.match_all), ("count_entry_bytes", metric.config.count_entry_bytes)] {
        if on {
            config.word(key, true);
        }
    }
    config.put("buckets", Out::List(metric.config.buckets.iter().map(|b| Out::Word(b.to_string())).collect()));
    map.put("config", Out::Map(config));
    map
}
