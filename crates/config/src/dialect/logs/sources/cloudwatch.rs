//! `cloudwatch_logs`, also called `aws_api_gateway_access_logs`: log groups of CloudWatch Logs.

use std::time::Duration;

use log_receive::{CloudWatchConfig, LogGroups};

use super::access::{self, Access};
use crate::{
    CloudWatchPlan,
    block::{Block, Shape},
    dialect::metrics,
};

pub(in crate::dialect) const CLOUDWATCH: Shape = Shape {
    name: "cloudwatch_logs",
    keys: &[&[
        "log_groups",
        "log_group_prefix",
        "log_streams",
        "log_stream_prefix",
        "filter_pattern",
        "start",
        "poll_interval",
        "overlap",
        "labels",
        "use_incoming_timestamp",
        "endpoint_url",
        "sigv4",
        "aws",
    ]],
};

/// Of one request.
const MOST_STREAMS: usize = 100;

pub(super) fn read(block: &Block<'_>) -> Option<CloudWatchPlan> {
    let (names, prefix) = (block.texts("log_groups"), block.text("log_group_prefix"));
    let groups = match (names.is_empty(), prefix) {
        (false, None) => Some(LogGroups::Names(names)),
        (true, Some(prefix)) => Some(LogGroups::Prefix(prefix)),
        (false, Some(_)) => {
            let message = "`log_groups` and `log_group_prefix` are both given; give one of them";
            block.error_at("log_group_prefix", message, None);
            None
        }
        (true, None) => {
            let message = "`log_groups` is missing: it names what is read";
            block.error_at("log_groups", message, Some("log_groups: [/aws/apigateway/prod]"));
            None
        }
    };
    let streams = block.texts("log_streams");
    let stream_prefix = block.text("log_stream_prefix");
    if stream_prefix.is_some() && !streams.is_empty() {
        let message = "`log_streams` and `log_stream_prefix` are both given; give one of them";
        block.error_at("log_stream_prefix", message, None);
    }
    if streams.len() > MOST_STREAMS {
        block.error_at("log_streams", "`log_streams` names at most 100 streams", Some("use log_stream_prefix"));
    }
    let endpoint_url = block.url("endpoint_url");
    let Access { region, identity } = access::read(block, None)?;
    let address = format!("https://logs.{region}.{}/", access::suffix(&region));
    let signed_for = match url::Url::parse(&address) {
        Ok(url) => url,
        Err(_) => {
            block.error("the region is no part of a host name", Some("aws: {region: us-east-1}"));
            return None;
        }
    };
    let mut config = CloudWatchConfig::new(endpoint_url.unwrap_or_else(|| signed_for.clone()), &region, groups?);
    config.stream_names = streams;
    config.stream_name_prefix = stream_prefix;
    config.filter_pattern = block.text("filter_pattern");
    config.labels = metrics::labels(block, "labels");
    config.use_incoming_timestamp = block.flag("use_incoming_timestamp").unwrap_or(true);
    if let Some(start) = block.duration("start") {
        config.start_back = start;
    }
    if let Some(overlap) = block.duration("overlap") {
        config.overlap = overlap;
    }
    config.poll_interval = longer(block, "poll_interval", config.poll_interval);
    Some(CloudWatchPlan { config, identity, signed_for })
}

/// A duration of a source that must not be 0.
pub(super) fn longer(block: &Block<'_>, key: &str, default: Duration) -> Duration {
    let duration = block.duration(key).unwrap_or(default);
    if duration.is_zero() {
        block.error_at(key, format!("`{key}` must be longer than 0"), None);
    }
    duration
}
