//! What a destination of any signal may say besides its protocol: how it queues, and how it makes objects.

use std::time::Duration;

use ::remote_write::ProtocolConfig;
use url::Url;

use crate::{
    OnFull,
    block::{Block, Shape},
};

pub(super) const DESTINATION_QUEUE: Shape =
    Shape { name: "remote_write[].queue", keys: &[&["on_full", "max_age", "shards", "max_in_flight_bytes"]] };

pub(super) const BATCH: Shape = Shape { name: "remote_write[].batch", keys: &[&["max_bytes", "max_age"]] };

pub(super) const SSE: Shape = Shape { name: "remote_write[].sse", keys: &[&["type", "kms_key_id"]] };

/// Keys of a destination that writes objects.
pub(super) const S3_KEYS: &[&str] =
    &["batch", "compression", "format", "storage_class", "sse", "expected_bucket_owner"];

/// `endpoint_url`: scheme, host and port to send to, and what comes before the path of `url`.
pub(super) fn endpoint(block: &Block<'_>, url: Option<&Url>) -> Option<Url> {
    let endpoint = block.url("endpoint_url");
    if let (Some(url), Some(found), Some(field)) = (url, &endpoint, block.get("endpoint_url")) {
        let (path, own) = (url.path().trim_end_matches('/'), found.path().trim_end_matches('/'));
        if !path.is_empty() && own.ends_with(path) {
            let message = format!("`endpoint_url` goes before the path of the address: requests go to {own}{path}");
            block.reader.warn(&field, message, Some("write its scheme, host and port alone"));
        }
    }
    endpoint
}

/// A destination's own `queue:` block.
#[derive(Debug, Default)]
pub(super) struct DestinationQueue {
    pub on_full: OnFull,
    pub max_age: Option<Duration>,
    pub shards: Option<u32>,
    pub max_in_flight_bytes: Option<u64>,
}

pub(super) fn queue(block: &Block<'_>) -> DestinationQueue {
    let Some(block) = block.block("queue", DESTINATION_QUEUE) else {
        return DestinationQueue::default();
    };
    let shards = block.whole("shards");
    if shards.is_some_and(|n| n == 0 || n > 256) {
        block.error_at("shards", "`shards` is from 1 to 256", Some("shards: 4 is the default"));
    }
    let max_in_flight_bytes = block.size("max_in_flight_bytes");
    if max_in_flight_bytes.is_some_and(|n| n < 1 << 20) {
        block.error_at(
            "max_in_flight_bytes",
            "`max_in_flight_bytes` is below 1MiB",
            Some("max_in_flight_bytes: 16MiB is the default"),
        );
    }
    DestinationQueue {
        on_full: block.choice("on_full", &[("evict", OnFull::Evict), ("hold", OnFull::Hold)]).unwrap_or_default(),
        max_age: block.duration("max_age").filter(|age| !age.is_zero()),
        shards: shards.and_then(|n| u32::try_from(n).ok()),
        max_in_flight_bytes,
    }
}

/// Size and age at which an object is closed.
pub(super) fn batch(block: &Block<'_>) -> (Option<usize>, Option<Duration>) {
    let Some(block) = block.block("batch", BATCH) else {
        return (None, None);
    };
    let max_bytes = block.size("max_bytes");
    if max_bytes.is_some_and(|n| !(1024..=1 << 30).contains(&n)) {
        block.error_at("max_bytes", "`max_bytes` of an object is from 1KB to 1GiB", None);
    }
    let max_age = block.duration("max_age");
    if max_age.is_some_and(|age| age > Duration::from_secs(3600)) {
        block.error_at("max_age", "`max_age` of a batch is at most 1h", None);
    }
    (max_bytes.and_then(|n| usize::try_from(n).ok()), max_age)
}

/// Objects of samples.
pub(super) fn s3(block: &Block<'_>) -> ProtocolConfig {
    // One body format so far: the snappy block that a remote-write endpoint would have been sent.
    block.choice("format", &[("write_request", ())]);
    block.choice("compression", &[("snappy", ())]);
    let Storing { storage_class, expected_bucket_owner, sse, sse_kms_key_id } = storing(block);
    ProtocolConfig::S3 { storage_class, expected_bucket_owner, sse, sse_kms_key_id }
}

/// What an object's PUT says besides its body.
pub(super) struct Storing {
    pub storage_class: Option<String>,
    pub expected_bucket_owner: Option<String>,
    pub sse: Option<String>,
    pub sse_kms_key_id: Option<String>,
}

/// The bucket that the URL names, by S3's rules: an error at AWS; other stores have rules of their own.
fn check_bucket(block: &Block<'_>) {
    let Some(key) = ["url", "endpoint"].into_iter().find(|key| block.keys().any(|known| known == *key)) else { return };
    let (Some(field), Some(url)) = (block.get(key), block.url(key)) else { return };
    let host = aws::parse_host(&url);
    let bucket = match host.as_ref().and_then(|h| h.s3_style.clone()) {
        Some(aws::S3Style::VirtualHost { bucket }) => bucket,
        _ => url.path().trim_start_matches('/').split('/').next().unwrap_or_default().to_owned(),
    };
    let Some(why) = aws::bucket_fault(&bucket) else { return };
    let help = "https://BUCKET.s3.REGION.amazonaws.com/PREFIX, or https://s3.REGION.amazonaws.com/BUCKET/PREFIX";
    match (host, bucket.is_empty()) {
        (Some(_), true) => block.reader.error(&field, format!("`{key}` names no bucket"), Some(help)),
        (Some(_), false) => {
            block.reader.error(&field, format!("the bucket's name {bucket:?} in `{key}` {why}"), Some(help));
        }
        // The host may name it.
        (None, true) => {}
        (None, false) => {
            let message =
                format!("the bucket's name {bucket:?} in `{key}` {why}; AWS refuses it, and so do most stores");
            block.reader.warn(&field, message, Some("rename the bucket, if this store refuses it"));
        }
    }
}

pub(super) fn storing(block: &Block<'_>) -> Storing {
    check_bucket(block);
    let sse = block.block("sse", SSE);
    let kind = sse.as_ref().and_then(|b| {
        b.choice("type", &[("AES256", "AES256"), ("aws:kms", "aws:kms"), ("aws:kms:dsse", "aws:kms:dsse")])
    });
    let key = sse.as_ref().and_then(|b| b.text("kms_key_id"));
    if let (Some(block), Some(_), None | Some("AES256")) = (&sse, &key, kind) {
        block.error_at("kms_key_id", "`kms_key_id` goes with `type: aws:kms`", None);
    }
    let owner = block.text("expected_bucket_owner");
    if owner.as_ref().is_some_and(|o| o.len() != 12 || !o.chars().all(|c| c.is_ascii_digit())) {
        block.error_at(
            "expected_bucket_owner",
            "`expected_bucket_owner` is a 12-digit account id",
            Some("put it in quotes: '123456789012'"),
        );
    }
    Storing {
        storage_class: block.text("storage_class"),
        expected_bucket_owner: owner,
        sse: kind.map(Into::into),
        sse_kms_key_id: key,
    }
}
