//! The plan as text in the file's own dialect: what `sigpost check` prints.
//!
//! Keeps true: every default that is in force is written out; every secret is `<secret>`; what is printed loads again.

mod client;
mod identity;
mod job;
mod logs;
mod secrets;
mod sources;
mod traces;

use model::Labels;
use net::ProxyConfig;
use remote_write::ProtocolConfig;

use self::{
    client::{client, masked_url, versions},
    identity::identity,
    job::rules,
};
use crate::{
    DestinationPlan, LogFormat, LogLevel, MetricsRoute, MinFree, OnFull, Plan, ServerTls,
    scalar::{show_duration, show_size},
    yaml_out::{Map, Out},
};

const SECRET: &str = "<secret>";

impl Plan {
    /// The effective configuration as YAML, without any secret. Custom headers and everything in a URL that may
    /// authenticate are hidden too.
    pub fn render_masked(&self) -> String {
        let mut root = Map::default();
        let mut server = Map::default();
        server.text(
            "log_level",
            match self.server.log_level {
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
                LogLevel::Error => "error",
            },
        );
        server.text("log_format", if self.server.log_format == LogFormat::Json { "json" } else { "logfmt" });
        for (key, tls) in [("http_tls_config", &self.server.http_tls), ("grpc_tls_config", &self.server.grpc_tls)] {
            server.put(key, Out::Map(tls.as_ref().map(server_tls).unwrap_or_default()));
        }
        let mut metrics = Map::default();
        metrics.text("wal_directory", self.data_directory.to_string_lossy());
        if self.metrics.iter().flat_map(|r| &r.jobs).any(|(job, _)| job.client.disable_keepalives) {
            metrics.word("http_disable_keepalives", true);
        }
        let mut global = Map::default();
        // The same for every route: the dialect has them under `global` only.
        global.put("external_labels", labels(self.metrics.first().map(|r| &r.external_labels)));
        metrics.put("global", Out::Map(global));
        metrics.put("configs", Out::List(self.metrics.iter().map(|r| Out::Map(route(r))).collect()));
        root.put("server", Out::Map(server)).put("queue", Out::Map(queue(self)));
        if !self.stored_secrets.is_empty() || self.secret_stores != aws::SecretStoresConfig::default() {
            secrets::stores(&mut root, &self.secret_stores);
        }
        root.put("metrics", Out::Map(metrics));
        if !self.logs.is_empty() {
            root.put("logs", Out::Map(logs::logs(&self.logs)));
        }
        if !self.traces.is_empty() {
            root.put("traces", Out::Map(traces::traces(&self.traces)));
        }
        root.document()
    }
}

fn server_tls(tls: &ServerTls) -> Map {
    let mut map = Map::default();
    map.text("cert_file", tls.cert_file.to_string_lossy()).text("key_file", tls.key_file.to_string_lossy());
    if let Some(ca) = &tls.client_ca_file {
        map.text("client_ca_file", ca.to_string_lossy());
    }
    map.text("client_auth_type", format!("{:?}", tls.client_auth));
    versions(&mut map, tls.min_version, tls.max_version);
    map
}

fn queue(plan: &Plan) -> Map {
    let mut shares = Map::default();
    let s = &plan.queue.shares;
    shares.word("metrics", s.metrics).word("logs", s.logs).word("traces", s.traces);
    let mut map = Map::default();
    map.text("directory", plan.queue.directory.to_string_lossy());
    map.word("max_bytes", show_size(plan.queue.max_bytes));
    map.word(
        "min_free",
        match plan.queue.min_free {
            MinFree::Auto => "auto".to_owned(),
            MinFree::Percent(percent) => format!("{percent}%"),
            MinFree::Bytes(bytes) => show_size(bytes),
        },
    );
    map.put("shares", Out::Map(shares)).word("commit_interval", show_duration(plan.queue.commit_interval));
    map
}

fn route(route: &MetricsRoute) -> Map {
    let mut map = Map::default();
    map.text("name", &route.name);
    if route.host_filter {
        map.word("host_filter", true).put("host_filter_relabel_configs", rules(&route.host_filter_relabel));
    }
    map.word("write_stale_on_shutdown", route.write_stale_on_shutdown)
        .word("remote_flush_deadline", show_duration(route.remote_flush_deadline));
    map.put("remote_write", Out::List(route.destinations.iter().map(|d| Out::Map(destination(d))).collect()));
    map.put(
        "scrape_configs",
        Out::List(route.jobs.iter().map(|(job, found)| Out::Map(job::job(job, found))).collect()),
    );
    map
}

fn labels(labels: Option<&Labels>) -> Out {
    let mut map = Map::default();
    for (name, value) in labels.iter().flat_map(|l| l.iter()) {
        map.text(name, value);
    }
    Out::Map(map)
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
    map.word("remote_timeout", show_duration(config.timeout));
    match &config.protocol {
        ProtocolConfig::Prometheus { metadata } => {
            let mut block = Map::default();
            block.word("send", metadata.send).word("send_interval", show_duration(metadata.send_interval));
            block.word("max_samples_per_send", metadata.max_samples_per_send);
            map.text("protocol", "prometheus").put("metadata_config", Out::Map(block));
        }
        ProtocolConfig::S3 { storage_class, expected_bucket_owner, sse, sse_kms_key_id } => {
            map.text("protocol", "s3");
            let mut batch = Map::default();
            batch.word("max_bytes", config.batching.max_bytes).word("max_age", show_duration(config.batching.max_age));
            map.put("batch", Out::Map(batch));
            let mut encryption = Map::default();
            for (block, key, value) in [
                (0, "storage_class", storage_class),
                (0, "expected_bucket_owner", expected_bucket_owner),
                (1, "type", sse),
                (1, "kms_key_id", sse_kms_key_id),
            ] {
                if let Some(value) = value {
                    let into = if block == 0 { &mut map } else { &mut encryption };
                    into.text(key, value);
                }
            }
            map.put("sse", Out::Map(encryption));
        }
        ProtocolConfig::Logs(protocol) => {
            map.text("protocol", protocol.name());
        }
        ProtocolConfig::Otlp(protocol) => {
            map.text("protocol", protocol.name());
        }
    }
    if let Some(config) = &plan.identity {
        map.always("sigv4", identity(config));
    }
    client(&mut map, &config.client, &ProxyConfig::Environment);
    map.put("write_relabel_configs", rules(&config.write_relabel));
    if config.native_histograms {
        map.word("send_native_histograms", true);
    }
    let mut sending = Map::default();
    sending.word("max_samples_per_send", config.batching.max_samples);
    sending
        .word("min_backoff", show_duration(config.backoff.min))
        .word("max_backoff", show_duration(config.backoff.max));
    sending.word("retry_on_http_429", config.backoff.retry_on_http_429);
    map.put("queue_config", Out::Map(sending)).put("queue", Out::Map(queue_block(plan)));
    map
}

/// A destination's own `queue:`.
fn queue_block(plan: &DestinationPlan) -> Map {
    let config = &plan.config;
    let mut queue = Map::default();
    queue.text("on_full", if plan.on_full == OnFull::Hold { "hold" } else { "evict" });
    if let Some(age) = config.max_age {
        queue.word("max_age", show_duration(age));
    }
    queue.word("shards", config.shards).word("max_in_flight_bytes", show_size(config.max_in_flight_bytes));
    queue
}
