//! `s3`: the lines of objects, of a bucket that is listed or of those that a queue tells of.

use log_receive::{NewObjects, ObjectCompression, S3Config, SqsConfig};

use super::{
    access::{self, Access},
    cloudwatch::longer,
};
use crate::{
    ObjectsPlan,
    block::{Block, Shape},
    dialect::metrics,
};

pub(in crate::dialect) const OBJECTS: Shape = Shape {
    name: "s3",
    keys: &[
        &["bucket", "prefix", "compression", "labels", "expected_bucket_owner", "endpoint_url", "sigv4", "aws"],
        LISTED,
        QUEUED,
    ],
};

/// Of a bucket that is listed.
const LISTED: &[&str] = &["poll_interval", "start", "start_after", "sorted_keys", "overlap"];
/// Of one that a queue tells of.
const QUEUED: &[&str] = &["sqs_queue_url", "sqs_endpoint_url", "visibility_timeout", "max_receives"];

pub(super) fn read(block: &Block<'_>) -> Option<ObjectsPlan> {
    let queue_url = block.url("sqs_queue_url");
    let is_queued = block.get("sqs_queue_url").is_some();
    let strangers: &[&str] = if is_queued { LISTED } else { QUEUED };
    for key in strangers.iter().filter(|key| block.get(key).is_some()) {
        let (there, here) = if is_queued { ("with", "a bucket that is listed") } else { ("without", "a queue") };
        block.error_at_key(
            key,
            format!("`{key}` is a key of {here}, and this is a source {there} `sqs_queue_url`"),
            None,
        );
    }
    let bucket = if is_queued { block.text("bucket") } else { block.required("bucket", "bucket: example-logs") };
    if bucket.as_ref().is_some_and(|bucket| bucket.contains('/')) {
        block.error_at("bucket", "`bucket` is a bucket's name alone", Some("put what follows it in `prefix`"));
    } else if let Some(why) = bucket.as_deref().filter(|name| !name.is_empty()).and_then(aws::bucket_fault) {
        // With an endpoint of its own it may be another store's, which has rules of its own.
        let message = format!("the bucket's name in `bucket` {why}");
        match block.get("endpoint_url").and(block.get("bucket")) {
            Some(field) => block.reader.warn(&field, message, None),
            None => block.error_at("bucket", message, None),
        }
    }
    let host = queue_url.as_ref().and_then(aws::parse_host);
    let access = access::read(block, host.as_ref());
    let compressions = [
        ("auto", ObjectCompression::Auto),
        ("none", ObjectCompression::None),
        ("gzip", ObjectCompression::Gzip),
        ("zstd", ObjectCompression::Zstd),
    ];
    let compression = block.choice("compression", &compressions).unwrap_or_default();
    let (endpoint, labels) = (block.url("endpoint_url"), metrics::labels(block, "labels"));
    let (prefix, owner) = (block.text("prefix").unwrap_or_default(), block.text("expected_bucket_owner"));
    let objects = if is_queued { queue(block, queue_url) } else { Some(listing(block)) };
    let Access { region, identity } = access?;
    let mut config = S3Config::new(&bucket.or_else(|| is_queued.then(String::new))?, &region);
    (config.prefix, config.endpoint, config.labels) = (prefix, endpoint, labels);
    (config.expected_bucket_owner, config.compression) = (owner, compression);
    config.objects = objects?;
    Some(ObjectsPlan { config, identity })
}

fn queue(block: &Block<'_>, url: Option<url::Url>) -> Option<NewObjects> {
    let endpoint = block.url("sqs_endpoint_url");
    let mut config = SqsConfig { endpoint, ..SqsConfig::new(url?) };
    config.visibility = longer(block, "visibility_timeout", config.visibility);
    if let Some(most) = block.whole("max_receives").and_then(|most| u32::try_from(most).ok()) {
        config.max_receives = most;
    }
    Some(NewObjects::Queue(config))
}

fn listing(block: &Block<'_>) -> NewObjects {
    let sorted_keys = block.flag("sorted_keys").unwrap_or(false);
    let start_after = block.text("start_after").unwrap_or_default();
    if !start_after.is_empty() && !sorted_keys {
        block.error_at("start_after", "`start_after` needs `sorted_keys: true`", Some("keys that rise with time"));
    }
    NewObjects::List {
        interval: longer(block, "poll_interval", std::time::Duration::from_secs(60)),
        sorted_keys,
        start_after,
        start_back: block.duration("start"),
        overlap: block.duration("overlap").unwrap_or(std::time::Duration::from_secs(3600)),
    }
}
