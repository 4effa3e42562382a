//! Sources of lines that are no files, rendered.

use log_receive::{JournalConfig, LogGroups, NewObjects, ObjectCompression, PushConfig, SyslogConfig, SyslogFormat};
use net::Transport;
use net::{Pem, TlsConfig, server::ServerTls};

use super::{
    client::{self, masked_url},
    identity::identity,
    job::docker,
    labels,
};
use crate::{
    CloudWatchPlan, LogSource, ObjectsPlan,
    scalar::{show_duration, show_size},
    yaml_out::{Map, Out},
};

/// Puts the key of a source that is no files.
pub(super) fn source(job: &mut Map, source: &LogSource) {
    match source {
        LogSource::Files(_) => {}
        LogSource::Journal(config) => drop(job.always("journal", journal(config))),
        LogSource::Syslog(config) => drop(job.always("syslog", syslog(config))),
        LogSource::Push(config) => drop(job.always("loki_push_api", push(config))),
        LogSource::CloudWatch(plan) => drop(job.always("cloudwatch_logs", cloudwatch(plan))),
        LogSource::Objects(plan) => drop(job.always("s3", objects(plan))),
        LogSource::Docker(config) => {
            let engines = config.engines.iter().map(|engine| Out::Map(docker(engine))).collect();
            job.put("docker_sd_configs", Out::List(engines));
        }
    }
}

fn journal(config: &JournalConfig) -> Map {
    let mut map = Map::default();
    if let Some(path) = &config.path {
        map.text("path", path.to_string_lossy());
    }
    map.word("max_age", show_duration(config.max_age)).word("json", config.json);
    if !config.matches.is_empty() {
        map.text("matches", config.matches.join(" "));
    }
    map.put("labels", labels(Some(&config.labels)));
    map
}

fn syslog(config: &SyslogConfig) -> Map {
    let mut map = Map::default();
    map.text("listen_address", &config.listen);
    map.text("listen_protocol", if config.transport == Transport::Udp { "udp" } else { "tcp" });
    map.word("idle_timeout", show_duration(config.idle_timeout));
    map.word("max_message_length", show_size(config.max_message_length as u64));
    map.word("label_structured_data", config.label_structured_data);
    map.word("use_incoming_timestamp", config.use_incoming_timestamp);
    map.word("use_rfc5424_message", config.use_whole_message);
    let format = match config.format {
        SyslogFormat::Either => "either",
        SyslogFormat::Rfc5424 => "rfc5424",
        SyslogFormat::Rfc3164 => "rfc3164",
    };
    map.text("syslog_format", format).put("labels", labels(Some(&config.labels)));
    if let Some(served) = &config.tls {
        let tls = TlsConfig {
            ca: served.client_ca.clone(),
            cert: Some(served.cert.clone()),
            key: Some(served.key.clone()),
            ..TlsConfig::default()
        };
        map.always("tls_config", client::tls(&tls));
    }
    map
}

fn push(config: &PushConfig) -> Map {
    let (mut map, mut server) = (Map::default(), Map::default());
    let (host, port) = config.listen.rsplit_once(':').unwrap_or((&config.listen, "0"));
    if !host.is_empty() {
        server.text("http_listen_address", host);
    }
    server.word("http_listen_port", port).word("http_listen_conn_limit", config.server.connection_limit);
    server.word("http_server_read_timeout", show_duration(config.limits.read));
    server.word("graceful_shutdown_timeout", show_duration(config.server.drain_timeout));
    if let Some(served) = &config.server.tls {
        server.always("http_tls_config", server_tls(served));
    }
    map.always("server", server).word("use_incoming_timestamp", config.use_incoming_timestamp);
    map.put("labels", labels(Some(&config.labels)));
    map
}

fn server_tls(tls: &ServerTls) -> Map {
    let mut map = Map::default();
    let file = |pem: &Pem| client::pem(pem);
    map.text("cert_file", file(&tls.cert)).text("key_file", file(&tls.key));
    if let Some(ca) = &tls.client_ca {
        map.text("client_ca_file", file(ca));
    }
    if tls.require_client_cert {
        let kind = if tls.client_ca.is_some() { "RequireAndVerifyClientCert" } else { "RequireAnyClientCert" };
        map.text("client_auth_type", kind);
    }
    map
}

fn cloudwatch(plan: &CloudWatchPlan) -> Map {
    let config = &plan.config;
    let mut map = Map::default();
    match &config.groups {
        LogGroups::Names(names) => map.texts("log_groups", names.iter()),
        LogGroups::Prefix(prefix) => map.text("log_group_prefix", prefix),
    };
    map.texts("log_streams", config.stream_names.iter());
    for (key, text) in [("log_stream_prefix", &config.stream_name_prefix), ("filter_pattern", &config.filter_pattern)] {
        if let Some(text) = text {
            map.text(key, text);
        }
    }
    map.word("start", show_duration(config.start_back)).word("poll_interval", show_duration(config.poll_interval));
    map.word("overlap", show_duration(config.overlap)).word("use_incoming_timestamp", config.use_incoming_timestamp);
    map.put("labels", labels(Some(&config.labels)));
    if config.endpoint != plan.signed_for {
        map.text("endpoint_url", masked_url(&config.endpoint));
    }
    map.always("aws", identity(&plan.identity));
    map
}

fn objects(plan: &ObjectsPlan) -> Map {
    let config = &plan.config;
    let mut map = Map::default();
    for (key, text) in [("bucket", &config.bucket), ("prefix", &config.prefix)] {
        if !text.is_empty() {
            map.text(key, text);
        }
    }
    let compression = match config.compression {
        ObjectCompression::Auto => "auto",
        ObjectCompression::None => "none",
        ObjectCompression::Gzip => "gzip",
        ObjectCompression::Zstd => "zstd",
    };
    map.text("compression", compression);
    match &config.objects {
        NewObjects::List { interval, sorted_keys, start_after, start_back, overlap } => {
            map.word("poll_interval", show_duration(*interval)).word("overlap", show_duration(*overlap));
            if *sorted_keys {
                map.word("sorted_keys", true);
            }
            if !start_after.is_empty() {
                map.text("start_after", start_after);
            }
            if let Some(start) = start_back {
                map.word("start", show_duration(*start));
            }
        }
        NewObjects::Queue(queue) => {
            map.text("sqs_queue_url", masked_url(&queue.queue_url));
            if let Some(endpoint) = &queue.endpoint {
                map.text("sqs_endpoint_url", masked_url(endpoint));
            }
            map.word("visibility_timeout", show_duration(queue.visibility)).word("max_receives", queue.max_receives);
        }
    }
    if let Some(endpoint) = &config.endpoint {
        map.text("endpoint_url", masked_url(endpoint));
    }
    if let Some(owner) = &config.expected_bucket_owner {
        map.text("expected_bucket_owner", owner);
    }
    map.put("labels", labels(Some(&config.labels)));
    map.always("aws", identity(&plan.identity));
    map
}
