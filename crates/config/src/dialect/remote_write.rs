//! `remote_write[]`.

use std::time::Duration;

use ::remote_write::{Batching, DestinationConfig, ProtocolConfig};
use model::Labels;
use net::{ProxyConfig, SecretSource};
use url::Url;

use super::{client, destination, identity, relabel, sending};
use crate::{
    DestinationPlan,
    block::{Block, Field, Reader, Shape},
};

pub(super) const REMOTE_WRITE: Shape = Shape {
    name: "remote_write[]",
    keys: &[
        &[
            "url",
            "name",
            "remote_timeout",
            "headers",
            "write_relabel_configs",
            "send_exemplars",
            "send_native_histograms",
            "queue_config",
            "metadata_config",
            "sigv4",
            "aws",
            "azuread",
            "google_iam",
            "protobuf_message",
            "round_robin_dns",
            "failed_request_logging",
            "protocol",
            "enabled",
            "endpoint_url",
            "queue",
        ],
        client::KEYS,
        destination::S3_KEYS,
    ],
};

/// Headers that the protocol, the client or the signature writes.
pub(super) const RESERVED_HEADERS: &[&str] = &[
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Samples older than this are refused by AMP, so there is no use in sending them.
const AMP_MAX_AGE: Duration = Duration::from_secs(3600);

/// AWS asks for small requests to AMP.
const AMP_MAX_SAMPLES: usize = 2000;
/// A request costs about as much as some thousand samples in it, on both sides.
const MAX_SAMPLES: usize = 10_000;

/// Where in the file an entry is read from.
pub(super) struct Place<'p> {
    pub instance: &'p str,
    /// It stands under `metrics.global`, and other instances may have it too.
    pub inherited: bool,
    pub external_labels: &'p Labels,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Prometheus,
    S3,
    Otlp,
}

pub(super) fn read<'a>(reader: &'a Reader<'a>, field: &Field<'a>, place: &Place<'_>) -> Option<DestinationPlan> {
    if field.is_null() {
        reader.error(field, "this remote_write entry is empty", Some("remove the lone `-`"));
        return None;
    }
    let block = Block::open(reader, REMOTE_WRITE, field)?;
    let url = block.required("url", "url: https://host/api/v1/write").and(block.url("url"));
    let endpoint_url = destination::endpoint(&block, url.as_ref());
    let host = url.as_ref().and_then(aws::parse_host);
    let service = host.as_ref().and_then(|h| h.service.as_deref());
    let identity = identity::read(&block, url.as_ref(), host.as_ref());
    exclusive_auth(&block, &["sigv4", "aws", "azuread", "google_iam"]);
    let protocol = protocol(&block, url.as_ref(), service, identity.as_ref());
    let is_amp = protocol == Protocol::Prometheus
        && (service == Some("aps") || identity.as_ref().is_some_and(|i| i.service.as_deref() == Some("aps")));

    let mut client = client::read(&block, ProxyConfig::Environment);
    client.headers.extend(headers(&block, is_amp));
    for header in &client.headers {
        refuse_reserved(&block, &header.0);
    }
    unsupported(&block);

    let queue_config = sending::queue_config(&block);
    let metadata = sending::metadata(&block);
    let queue = destination::queue(&block);
    let (batch_bytes, batch_age) = destination::batch(&block);
    let protocol_config = match protocol {
        Protocol::S3 => destination::s3(&block),
        Protocol::Prometheus | Protocol::Otlp => {
            let objects_only = destination::S3_KEYS.iter().find(|key| block.get(key).is_some());
            if let Some(key) = objects_only {
                block.error_at(
                    key,
                    format!("`{key}` is for destinations that write S3 objects"),
                    Some("add `protocol: s3` if this is one"),
                );
            }
            ProtocolConfig::Prometheus { metadata }
        }
    };
    let objects = protocol == Protocol::S3;
    let batching = Batching {
        max_samples: queue_config.max_samples.unwrap_or(if is_amp { AMP_MAX_SAMPLES } else { MAX_SAMPLES }),
        max_bytes: batch_bytes.unwrap_or(4 << 20),
        max_age: batch_age.unwrap_or(Duration::from_secs(if objects { 15 } else { 0 })),
    };
    let max_age = queue.max_age.or(queue_config.sample_age_limit).or(is_amp.then_some(AMP_MAX_AGE));
    let timeout = block.duration("remote_timeout").unwrap_or(Duration::from_secs(30));
    if timeout.is_zero() {
        block.error_at(
            "remote_timeout",
            "`remote_timeout` must be longer than 0",
            Some("remote_timeout: 30s is the default"),
        );
    }
    unsigned_aws(&block, service, identity.is_some(), client.auth.is_some() || !client.headers.is_empty());
    if is_amp && service == Some("aps") && url.as_ref().is_some_and(|u| !u.path().ends_with("/api/v1/remote_write")) {
        let message = "a workspace's remote write URL ends in /api/v1/remote_write, without a slash after it";
        let help = "https://aps-workspaces.REGION.amazonaws.com/workspaces/WORKSPACE/api/v1/remote_write";
        match block.get("url") {
            Some(field) => block.reader.warn(&field, message, Some(help)),
            None => block.warn(message, Some(help)),
        }
    }
    let write_relabel = relabel::rules(&block, "write_relabel_configs");
    let enabled = block.flag("enabled").unwrap_or(true);
    let url = url?;
    Some(DestinationPlan {
        config: DestinationConfig {
            name: name(&block, &url, place),
            url,
            endpoint_url,
            protocol: protocol_config,
            timeout,
            client,
            external_labels: place.external_labels.clone(),
            write_relabel,
            native_histograms: block.flag("send_native_histograms").unwrap_or(false),
            backoff: queue_config.backoff,
            batching,
            shards: queue.shards.unwrap_or(if objects { 1 } else { queue_config.shards }),
            max_in_flight_bytes: queue.max_in_flight_bytes.unwrap_or(16 << 20),
            max_age,
        },
        identity,
        default_service: if objects { "s3" } else { "aps" },
        on_full: queue.on_full,
        enabled,
    })
}

/// A written name; under `metrics.global` with the instance before it, since each instance has its own place in the
/// queue. Else the instance and six digits of the URL's hash: not of the credentials, which may change.
fn name(block: &Block<'_>, url: &Url, place: &Place<'_>) -> String {
    match block.text("name") {
        Some(name) if place.inherited => format!("{}-{name}", place.instance),
        Some(name) => name,
        None => format!("{}-{}", place.instance, url_digits(url)),
    }
}

/// Six digits of the URL's hash, without what may authenticate in it.
pub(super) fn url_digits(url: &Url) -> String {
    let mut bare = url.clone();
    // Neither can fail for an http URL with a host.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare.set_query(None);
    let hash = bare
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:06x}", (hash ^ (hash >> 24) ^ (hash >> 48)) & 0xff_ffff)
}

/// `signing`: the keys of `block` that sign.
pub(super) fn exclusive_auth(block: &Block<'_>, signing: &[&str]) {
    let signing = client::auth_keys_given(block, signing);
    let other =
        client::auth_keys_given(block, &["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"]);
    if let (Some(signing), Some(other)) = (signing.first(), other.first()) {
        let message = format!("`{other}` and `{signing}` are both given; a destination has one kind of authentication");
        block.error_at(other, message, Some("for AWS keep the identity block and remove the other"));
    }
}

fn protocol(
    block: &Block<'_>,
    url: Option<&Url>,
    service: Option<&str>,
    identity: Option<&aws::IdentityConfig>,
) -> Protocol {
    let choices = [("prometheus", Protocol::Prometheus), ("s3", Protocol::S3), ("otlp", Protocol::Otlp)];
    let written = block.choice("protocol", &choices);
    let protocol = written.unwrap_or_else(|| {
        let signs_for_s3 = identity.and_then(|i| i.service.as_deref()) == Some("s3");
        match url {
            _ if service == Some("s3") || signs_for_s3 => Protocol::S3,
            Some(url) if url.path().trim_end_matches('/').ends_with("/v1/metrics") => Protocol::Otlp,
            _ => Protocol::Prometheus,
        }
    });
    if protocol == Protocol::Otlp {
        let key = if written.is_some() { "protocol" } else { "url" };
        let message = "metrics by OTLP are not supported in this version of sigpost";
        block.error_at(
            key,
            message,
            Some("send by remote write; if this URL is a remote-write endpoint, add `protocol: prometheus`"),
        );
    }
    protocol
}

fn headers(block: &Block<'_>, is_amp: bool) -> Vec<(String, SecretSource)> {
    let mut headers = Vec::new();
    for (name, field) in block.entries("headers") {
        if is_amp && name.eq_ignore_ascii_case("x-scope-orgid") {
            let message = "Amazon Managed Service for Prometheus refuses requests with X-Scope-OrgID: the workspace in the URL is the tenant";
            block.reader.warn(&field, message, Some("remove this header"));
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

fn refuse_reserved(block: &Block<'_>, name: &str) {
    let lower = name.to_ascii_lowercase();
    if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        let help = if lower == "authorization" { "use `authorization:` or `basic_auth:`" } else { "remove it" };
        for key in ["headers", "http_headers"] {
            if let Some((_, field)) = block.entries(key).into_iter().find(|(n, _)| *n == name) {
                block.reader.error(&field, format!("the header {name} is written by sigpost itself"), Some(help));
            }
        }
    }
}

fn unsupported(block: &Block<'_>) {
    for key in ["azuread", "google_iam"] {
        if let Some(field) = block.get(key) {
            block.reader.error(
                &field,
                format!("`{key}` is not supported by sigpost"),
                Some("sigv4, basic_auth, authorization and oauth2 work"),
            );
        }
    }
    let messages = [("prometheus.WriteRequest", true), ("io.prometheus.write.v2.Request", false)];
    if block.choice("protobuf_message", &messages) == Some(false) {
        let message = "remote write 2.0 is not supported in this version of sigpost";
        block.error_at("protobuf_message", message, Some("remove the key, or write prometheus.WriteRequest"));
    }
    block.flag("send_exemplars");
    if block.flag("round_robin_dns") == Some(true) {
        block.warn("`round_robin_dns` has no effect: connections follow the resolver", None);
    }
    if let Some(field) = block.get("failed_request_logging") {
        block.reader.entries(&field);
    }
}

pub(super) fn unsigned_aws(block: &Block<'_>, service: Option<&str>, signed: bool, otherwise: bool) {
    if !signed && !otherwise && service.is_some() {
        block.warn(
            "this is an AWS endpoint and there is no identity block: AWS refuses unsigned requests",
            Some("add `sigv4: {}` for the standard credential chain"),
        );
    }
}
