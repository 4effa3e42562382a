//! Which wire protocol a client speaks, and the keys that only one protocol has.
//!
//! Keeps true: the protocol follows from `protocol:`, else from the host, else from the path; a key of another protocol is
//! an error, not silence.

use ::remote_write::logs::{
    CloudWatchConfig, FirehoseConfig, KinesisConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol,
    LokiConfig, OtlpLogsConfig, Template,
};
use url::Url;

use super::{super::destination, names};
use crate::block::Block;

/// Keys of single protocols; those of objects are `destination::S3_KEYS`.
pub(super) const KEYS: &[&str] = &[
    "log_group",
    "log_stream",
    "create",
    "retention_days",
    "delivery_stream",
    "stream_name",
    "partition_key",
    "prefix",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loki,
    CloudWatch,
    Firehose,
    Kinesis,
    Objects,
    Otlp,
}

const KINDS: &[(&str, Kind)] = &[
    ("loki", Kind::Loki),
    ("cloudwatch_logs", Kind::CloudWatch),
    ("firehose", Kind::Firehose),
    ("kinesis", Kind::Kinesis),
    ("s3", Kind::Objects),
    ("otlp", Kind::Otlp),
];

/// Each key of single protocols, with the protocols that have it.
const OWNERS: &[(&str, &[Kind])] = &[
    ("tenant_id", &[Kind::Loki]),
    ("log_group", &[Kind::CloudWatch, Kind::Otlp]),
    ("log_stream", &[Kind::CloudWatch, Kind::Otlp]),
    ("create", &[Kind::CloudWatch, Kind::Otlp]),
    ("retention_days", &[Kind::CloudWatch, Kind::Otlp]),
    ("delivery_stream", &[Kind::Firehose]),
    ("stream_name", &[Kind::Kinesis]),
    ("partition_key", &[Kind::Kinesis]),
    ("format", &[Kind::Firehose, Kind::Kinesis, Kind::Objects]),
    ("compression", &[Kind::CloudWatch, Kind::Objects, Kind::Otlp]),
    ("prefix", &[Kind::Objects]),
    ("batch", &[Kind::Objects]),
    ("storage_class", &[Kind::Objects]),
    ("sse", &[Kind::Objects]),
    ("expected_bucket_owner", &[Kind::Objects]),
];

/// The days that CloudWatch Logs keeps events (`PutRetentionPolicy`, API reference).
const RETENTIONS: &[u64] =
    &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// `None` where something needed is missing, which was reported.
pub(super) fn read(
    block: &Block<'_>,
    url: Option<&Url>,
    service: Option<&str>,
    identity: Option<&aws::IdentityConfig>,
    hostname: &str,
) -> Option<LogProtocol> {
    let kind = kind(block, url, service, identity);
    refuse_keys_of_others(block, kind);
    let template = |key: &str| template(block, key, hostname);
    let or_default = |key: &str, default: &str| match block.get(key) {
        Some(_) => template(key),
        None => Template::parse(default, hostname).ok(),
    };
    let format =
        |default| block.choice("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]).unwrap_or(default);
    let gzip = || block.choice("compression", &[("gzip", true), ("none", false)]).unwrap_or(true);
    let create = || block.flag("create").unwrap_or(true);
    Some(match kind {
        Kind::Loki => LogProtocol::Loki(LokiConfig { tenant_id: block.text("tenant_id") }),
        Kind::CloudWatch => {
            let (log_group, log_stream) =
                (or_default("log_group", "/sigpost/{job}"), or_default("log_stream", "{hostname}{filename}"));
            let retention_days = retention_days(block);
            LogProtocol::CloudWatch(CloudWatchConfig {
                log_group: log_group?,
                log_stream: log_stream?,
                create: create(),
                retention_days,
                gzip: gzip(),
            })
        }
        Kind::Firehose => {
            let stream = needed(block, "delivery_stream", "Firehose", "firehose.us-east-1.amazonaws.com");
            let format = format(LogFormat::Text);
            LogProtocol::Firehose(FirehoseConfig { delivery_stream: stream?, format })
        }
        Kind::Kinesis => {
            let stream = needed(block, "stream_name", "Kinesis", "kinesis.us-east-1.amazonaws.com");
            let (format, partition_key) = (format(LogFormat::Json), template("partition_key"));
            LogProtocol::Kinesis(KinesisConfig { stream_name: stream?, partition_key, format })
        }
        Kind::Objects => {
            let compressions =
                [("gzip", LogCompression::Gzip), ("zstd", LogCompression::Zstd), ("none", LogCompression::None)];
            let storing = destination::storing(block);
            LogProtocol::Objects(LogObjectsConfig {
                prefix: template("prefix"),
                format: format(LogFormat::Json),
                compression: block.choice("compression", &compressions).unwrap_or_default(),
                storage_class: storing.storage_class,
                expected_bucket_owner: storing.expected_bucket_owner,
                sse: storing.sse,
                sse_kms_key_id: storing.sse_kms_key_id,
            })
        }
        Kind::Otlp => LogProtocol::Otlp(OtlpLogsConfig {
            log_group: on_aws(service, block, "log_group", "/sigpost/{job}", hostname),
            log_stream: on_aws(service, block, "log_stream", "{hostname}{filename}", hostname),
            create: create(),
            retention_days: retention_days(block),
            gzip: gzip(),
        }),
    })
}

/// The signing name where neither the block nor the host gives one.
pub(super) fn default_service(protocol: &LogProtocol) -> &'static str {
    match protocol {
        LogProtocol::Loki(_) => "execute-api",
        LogProtocol::CloudWatch(_) | LogProtocol::Otlp(_) => "logs",
        LogProtocol::Firehose(_) => "firehose",
        LogProtocol::Kinesis(_) => "kinesis",
        LogProtocol::Objects(_) => "s3",
    }
}

fn kind(block: &Block<'_>, url: Option<&Url>, service: Option<&str>, identity: Option<&aws::IdentityConfig>) -> Kind {
    if let Some(kind) = block.choice("protocol", KINDS) {
        return kind;
    }
    if url.is_some_and(|url| url.path().trim_end_matches('/').ends_with("/v1/logs")) {
        return Kind::Otlp;
    }
    // A host that says nothing may still be told by what is signed for; a host that says something wins.
    let signs_for = identity.and_then(|identity| identity.service.as_deref());
    match service.or(signs_for) {
        Some("logs") => Kind::CloudWatch,
        Some("firehose") => Kind::Firehose,
        Some("kinesis") => Kind::Kinesis,
        Some("s3") => Kind::Objects,
        _ => Kind::Loki,
    }
}

fn refuse_keys_of_others(block: &Block<'_>, kind: Kind) {
    let word = |kind: &Kind| KINDS.iter().find(|(_, other)| other == kind).map_or("", |(word, _)| *word);
    for (key, owners) in OWNERS.iter().filter(|(_, owners)| !owners.contains(&kind)) {
        if block.get(key).is_none() {
            continue;
        }
        let words: Vec<String> = owners.iter().map(|owner| format!("`{}`", word(owner))).collect();
        let message =
            format!("`{key}` is a key of the protocol {}; this client speaks `{}`", words.join(" or "), word(&kind));
        // A tenant means nothing elsewhere, and files that were turned from Loki to AWS still have it.
        if *key == "tenant_id" {
            if let Some(field) = block.get(key) {
                block.reader.warn(&field, message, Some("remove it"));
            }
            continue;
        }
        let help = owners.first().map(|owner| format!("remove it, or add `protocol: {}`", word(owner)));
        block.error_at_key(key, message, help.as_deref());
    }
}

fn template(block: &Block<'_>, key: &str, hostname: &str) -> Option<Template> {
    let field = block.get(key)?;
    let text = block.reader.text(&field).filter(|text| !text.is_empty())?;
    if let Some(wrong) = names::fault(key, &text) {
        block.reader.error(&field, format!("`{key}`: {wrong}"), Some(names::example(key)));
    }
    Template::parse(&text, hostname)
        .map_err(|error| block.reader.error(&field, format!("`{key}`: {error}"), Some("such as /logs/{job}")))
        .ok()
}

/// Headers of AWS's own endpoint alone: elsewhere they are sent only if they are written.
fn on_aws(service: Option<&str>, block: &Block<'_>, key: &str, default: &str, hostname: &str) -> Option<Template> {
    match (block.get(key), service) {
        (Some(_), _) => template(block, key, hostname),
        (None, Some("logs")) => Template::parse(default, hostname).ok(),
        (None, _) => None,
    }
}

fn needed(block: &Block<'_>, key: &str, service: &str, host: &str) -> Option<String> {
    let text = block.text(key);
    if text.is_none() {
        let message = format!("`{key}` is missing: {service} needs the stream's name, which the URL does not hold");
        let help = format!("write it in this entry of `clients`, beside `url: https://{host}/`: {key}: NAME");
        block.error_at(key, message, Some(&help));
    }
    if let Some(wrong) = text.as_deref().and_then(|text| names::fault(key, text)) {
        block.error_at(key, format!("`{key}`: {wrong}"), Some(names::example(key)));
    }
    text
}

fn retention_days(block: &Block<'_>) -> Option<u32> {
    let days = block.whole("retention_days")?;
    if !RETENTIONS.contains(&days) {
        let all: Vec<String> = RETENTIONS.iter().map(u64::to_string).collect();
        let message = "`retention_days`: CloudWatch Logs does not know this number of days";
        block.error_at("retention_days", message, Some(&format!("one of {}", all.join(", "))));
    }
    u32::try_from(days).ok()
}
