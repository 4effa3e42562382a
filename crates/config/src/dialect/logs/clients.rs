//! `clients[]`: where an instance's lines go, by which protocol, as whom.
//!
//! Keeps true: a client's name in the queue does not depend on its credentials.

use std::time::Duration;

use ::remote_write::{Backoff, Batching, DestinationConfig, ProtocolConfig, logs::LogProtocol};
use net::{ProxyConfig, SecretSource};
use url::Url;

use super::{
    super::{client, destination, identity, metrics, relabel, remote_write},
    protocol,
};
use crate::{
    DestinationPlan,
    block::{Block, Field, Reader, Shape},
};

pub(in crate::dialect) const CLIENT: Shape = Shape {
    name: "clients[]",
    keys: &[
        &[
            "url",
            "name",
            "batchwait",
            "batchsize",
            "timeout",
            "backoff_config",
            "external_labels",
            "write_relabel_configs",
            "tenant_id",
            "headers",
            "drop_rate_limited_batches",
            "stream_lag_labels",
            "sigv4",
            "aws",
            "protocol",
            "enabled",
            "endpoint_url",
            "queue",
        ],
        protocol::KEYS,
        destination::S3_KEYS,
        client::KEYS,
    ],
};

pub(in crate::dialect) const BACKOFF: Shape =
    Shape { name: "backoff_config", keys: &[&["min_period", "max_period", "max_retries"]] };

/// Where in the file an entry is read from.
pub(super) struct Place<'p> {
    pub instance: &'p str,
    /// It stands under `logs.global`, and other instances may have it too.
    pub inherited: bool,
    pub hostname: &'p str,
}

pub(super) fn read<'a>(reader: &'a Reader<'a>, field: &Field<'a>, place: &Place<'_>) -> Option<DestinationPlan> {
    if field.is_null() {
        reader.error(field, "this client is empty", Some("remove the lone `-`"));
        return None;
    }
    let block = Block::open(reader, CLIENT, field)?;
    let url = block.required("url", "url: https://host/loki/api/v1/push").and(block.url("url"));
    let endpoint_url = destination::endpoint(&block, url.as_ref());
    let host = url.as_ref().and_then(aws::parse_host);
    let service = host.as_ref().and_then(|h| h.service.as_deref());
    let identity = identity::read(&block, url.as_ref(), host.as_ref());
    remote_write::exclusive_auth(&block, &["sigv4", "aws"]);
    let protocol = protocol::read(&block, url.as_ref(), service, identity.as_ref(), place.hostname);

    let mut client = client::read(&block, ProxyConfig::Environment);
    client.headers.extend(headers(&block));
    remote_write::unsigned_aws(
        &block,
        service,
        identity.is_some(),
        client.auth.is_some() || !client.headers.is_empty(),
    );

    let queue = destination::queue(&block);
    let batching = batching(&block, protocol.as_ref());
    let backoff = backoff(&block);
    let timeout = block.duration("timeout").unwrap_or(Duration::from_secs(10));
    if timeout.is_zero() {
        block.error_at("timeout", "`timeout` must be longer than 0", Some("timeout: 10s is the default"));
    }
    block.text("stream_lag_labels");
    let objects = matches!(protocol, Some(LogProtocol::Objects(_)));
    let external_labels = metrics::labels(&block, "external_labels");
    let write_relabel = relabel::rules(&block, "write_relabel_configs");
    let enabled = block.flag("enabled").unwrap_or(true);
    let (url, protocol) = (url?, protocol?);
    Some(DestinationPlan {
        default_service: protocol::default_service(&protocol),
        config: DestinationConfig {
            name: name(&block, &url, place),
            url,
            endpoint_url,
            protocol: ProtocolConfig::Logs(protocol),
            timeout,
            client,
            external_labels,
            write_relabel,
            native_histograms: false,
            backoff,
            batching,
            shards: queue.shards.unwrap_or(if objects { 1 } else { 4 }),
            max_in_flight_bytes: queue.max_in_flight_bytes.unwrap_or(16 << 20),
            max_age: queue.max_age,
        },
        identity,
        on_full: queue.on_full,
        enabled,
    })
}

/// As for metrics, with the signal's word before what is made up, so that the two never meet.
fn name(block: &Block<'_>, url: &Url, place: &Place<'_>) -> String {
    match block.text("name") {
        Some(name) if place.inherited => format!("{}-{name}", place.instance),
        Some(name) => name,
        None => format!("logs-{}-{}", place.instance, remote_write::url_digits(url)),
    }
}

fn batching(block: &Block<'_>, protocol: Option<&LogProtocol>) -> Batching {
    let (bytes, age) = (block.size("batchsize"), block.duration("batchwait"));
    for (key, nothing) in [("batchsize", bytes == Some(0)), ("batchwait", age.is_some_and(|age| age.is_zero()))] {
        if nothing {
            block.error_at(key, format!("`{key}` must be more than 0"), Some("batchwait: 1s, batchsize: 1MiB"));
        }
    }
    if age.is_some_and(|age| age > Duration::from_secs(3600)) {
        block.error_at("batchwait", "`batchwait` is at most 1h", None);
    }
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let (object_bytes, object_age) = destination::batch(block);
    let objects = matches!(protocol, Some(LogProtocol::Objects(_)));
    let (default_bytes, default_age) =
        if objects { (OBJECT_BYTES, Duration::from_secs(15)) } else { (1 << 20, Duration::from_secs(1)) };
    Batching {
        max_samples: usize::MAX,
        max_bytes: object_bytes.or(bytes).unwrap_or(default_bytes),
        max_age: object_age.or(age).unwrap_or(default_age),
    }
}

/// Lines in one object, before compression.
const OBJECT_BYTES: usize = 8 << 20;

fn backoff(client: &Block<'_>) -> Backoff {
    let retry_on_http_429 = !client.flag("drop_rate_limited_batches").unwrap_or(false);
    let mut backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(300), retry_on_http_429 };
    let Some(block) = client.block("backoff_config", BACKOFF) else {
        return backoff;
    };
    if let Some(min) = block.duration("min_period").filter(|period| !period.is_zero()) {
        backoff.min = min;
    }
    if let Some(max) = block.duration("max_period").filter(|period| !period.is_zero()) {
        backoff.max = max;
    }
    if backoff.min > backoff.max {
        block.error_at("min_period", "`min_period` is longer than `max_period`", None);
    }
    if block.whole("max_retries").is_some_and(|retries| retries > 0) {
        let message = "`max_retries` gives nothing up here: what is not delivered waits on disk";
        let help = "to give up old lines, write queue: {max_age: 24h}";
        if let Some(field) = block.raw("max_retries") {
            block.reader.warn(&field, message, Some(help));
        }
    }
    backoff
}

/// Names that the protocol, the client or the signature write are left out with a warning, as Promtail does it.
fn headers(block: &Block<'_>) -> Vec<(String, SecretSource)> {
    let mut headers = Vec::new();
    for (name, field) in block.entries("headers") {
        let lower = name.to_ascii_lowercase();
        if remote_write::RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
            let help = if lower == "authorization" { "use `authorization:` or `basic_auth:`" } else { "remove it" };
            block.reader.warn(
                &field,
                format!("the header {name} is written by sigpost itself; this one is not sent"),
                Some(help),
            );
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

/// Names are a destination's place in the queue. Where two clients of different instances, or a client and a
/// `remote_write` entry, have one name (the Agent knows them apart), the later one gets its instance's name.
pub(super) fn set_apart(taken: &mut Vec<String>, instance: &str, destinations: &mut [DestinationPlan]) -> Vec<String> {
    let mut changed = Vec::new();
    for destination in destinations {
        let name = destination.config.name.clone();
        if taken.contains(&name) {
            let mut number = 1;
            destination.config.name = format!("logs-{instance}-{name}");
            while taken.contains(&destination.config.name) {
                number += 1;
                destination.config.name = format!("logs-{instance}-{name}-{number}");
            }
            changed.push(name);
        }
        taken.push(destination.config.name.clone());
    }
    changed
}

/// Whether two clients would send the same to the same place.
pub(super) fn same_but_name(one: &DestinationPlan, other: &DestinationPlan) -> bool {
    let bare = |plan: &DestinationPlan| {
        let mut plan = plan.clone();
        plan.config.name = String::new();
        plan
    };
    bare(one) == bare(other)
}
