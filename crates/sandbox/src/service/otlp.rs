//! OTLP over HTTP as CloudWatch and X-Ray take it: `POST /v1/logs`, `/v1/traces`, `/v1/metrics`, protobuf or JSON, signed;
//! and under `/plain/` the same as a plain collector, unsigned.
//!
//! Limits: "OpenTelemetry Protocol endpoints", CloudWatch User Guide. Records are counted and told apart by their own
//! bytes; their content is not judged. Not played: bearer tokens, truncation of large log objects, metric rates.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::{Asked, Call, Done, Service, json11};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    records::{LARGEST_JSON, MOST_AT_ONCE, Record},
    remote_write::{Fields, Value},
    sigv4::Policy,
    target::Target,
};

const MB: usize = 1_000_000;
/// Regions whose log endpoint takes 20 MB.
const LARGE: [&str; 9] = [
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "eu-central-1",
    "eu-west-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-south-1",
    "ap-northeast-1",
];

/// One kind of telemetry, at its endpoint.
pub(super) struct Otlp {
    /// Its name in the state and in faults.
    name: &'static str,
    path: &'static str,
    /// The signing name, and the label of AWS's host.
    service: &'static str,
    action: &'static str,
    /// Most records of one request.
    most: usize,
    /// Names in JSON of the lists on the way to the records.
    lists: [&'static str; 3],
}

pub(super) const LOGS: Otlp = Otlp {
    name: "otlp-logs",
    path: "/v1/logs",
    service: "logs",
    action: "logs:PutLogEvents",
    most: 10_000,
    lists: ["resourceLogs", "scopeLogs", "logRecords"],
};
pub(super) const TRACES: Otlp = Otlp {
    name: "otlp-traces",
    path: "/v1/traces",
    service: "xray",
    action: "xray:PutTraceSegments",
    most: 10_000,
    lists: ["resourceSpans", "scopeSpans", "spans"],
};
pub(super) const METRICS: Otlp = Otlp {
    name: "otlp-metrics",
    path: "/v1/metrics",
    service: "monitoring",
    action: "cloudwatch:PutMetricData",
    most: 1000,
    lists: ["resourceMetrics", "scopeMetrics", "metrics"],
};

impl Service for Otlp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::RestJson
    }

    fn claims(&self, target: &Target) -> bool {
        let is_plain = target.path.strip_prefix("/plain") == Some(self.path);
        match &target.aws {
            Some(aws) => aws.service == self.service && target.path == self.path,
            None => target.path == self.path || is_plain,
        }
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn policy(&self, asked: &Asked<'_>) -> Option<Policy> {
        (asked.target.path == self.path).then(|| Policy::common(self.service, asked.region.clone()))
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST {
            return Ok(());
        }
        Err(ServiceError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "OTLP is a POST"))
    }

    fn body_limit(&self, limits: &crate::config::Limits) -> usize {
        // AWS's own limits are looked at after decompression.
        limits.object
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        call.caller.as_ref().map(|_| (self.action.to_owned(), "*".to_owned()))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let is_json = match header(call, "content-type").split(';').next().map(str::trim) {
            Some("application/json") => true,
            Some("application/x-protobuf") => false,
            other => {
                let other = crate::refusal::shown(other.unwrap_or_default());
                let message = format!("Content-Type must be application/x-protobuf or application/json, not '{other}'");
                return Err(ServiceError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message));
            }
        };
        let most = if is_json { LARGEST_JSON } else { core.limits.decompressed };
        let is_aws = call.target.path == self.path;
        let plain = if is_aws { json11::plain_body(call, most)? } else { json11::plain_body_with_zstd(call, most)? };
        let found = if is_json { self.of_json(&plain)? } else { self.of_protobuf(&plain)? };
        let destination = self.check(core, call, plain.len(), &found)?;
        let mut rejected = 0u64;
        let mut stored = Vec::with_capacity(found.len());
        for (at, one) in found.iter().enumerate() {
            if call.partial.as_ref().is_some_and(|partial| partial.strikes(at)) {
                rejected += one.points as u64;
            } else {
                stored.push(Record { timestamp_ms: one.timestamp_ms, bytes: &one.bytes });
            }
        }
        let mut records = core.records.lock();
        records.add(&destination, call.caller_arn(), call.now_ms, &stored, rejected);
        records.add_request(&format!("otlp-request:{}", call.target.path), call.caller_arn(), call.now_ms, &plain);
        drop(records);
        Ok(self.reply(is_json, rejected).into())
    }
}

/// One record: a log record, a span or a metric with its data points.
struct Found {
    bytes: Bytes,
    timestamp_ms: i64,
    points: usize,
}

fn bad(message: impl Into<String>) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "ValidationException", message)
}

fn too_many() -> ServiceError {
    ServiceError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLarge",
        "the sandbox takes no request of so many records or bytes",
    )
}

fn header<'c>(call: &'c Call, name: &str) -> &'c str {
    call.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Otlp {
    /// Holds a request to the endpoint's limits; where its records go.
    fn check(&self, core: &Core, call: &Call, size: usize, found: &[Found]) -> Result<String, ServiceError> {
        let points: usize = found.iter().map(|one| one.points).sum();
        let region = call.caller.as_ref().map(|caller| caller.region.as_str());
        let largest = match (self.service, region) {
            (_, None) => usize::MAX,
            ("logs", Some(region)) if LARGE.contains(&region) => 20 * MB,
            ("logs", _) => 1_048_576,
            ("xray", _) => 5 * MB,
            _ => MB,
        };
        let status = if self.service == "monitoring" { StatusCode::BAD_REQUEST } else { StatusCode::PAYLOAD_TOO_LARGE };
        if size > largest {
            let message = format!("the request has {size} bytes uncompressed; {largest} are allowed");
            return Err(ServiceError::new(status, "RequestEntityTooLarge", message));
        }
        if region.is_some() && points > self.most {
            let message = format!("the request has {points} items; {} are allowed", self.most);
            return Err(ServiceError::new(status, "RequestEntityTooLarge", message));
        }
        if self.service != "logs" || region.is_none() {
            return Ok(format!("otlp:{}", call.target.path));
        }
        let (group, stream) = (header(call, "x-aws-log-group"), header(call, "x-aws-log-stream"));
        if group.is_empty() || stream.is_empty() {
            return Err(bad("the headers x-aws-log-group and x-aws-log-stream are required"));
        }
        if !core.log_groups.lock().has(group, stream) {
            let message = "The specified log group or log stream does not exist.";
            return Err(ServiceError::new(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message));
        }
        Ok(format!("logs:{group}:{stream}"))
    }

    /// The records three messages deep: resources are field 1, scopes field 2 of each, records field 2 of each.
    fn of_protobuf(&self, body: &Bytes) -> Result<Vec<Found>, ServiceError> {
        let torn = |_| bad("the body is not protobuf of an export request");
        let mut found = Vec::new();
        for resource in messages(body, 1) {
            for scope in messages(resource.map_err(torn)?, 2) {
                for record in messages(scope.map_err(torn)?, 2) {
                    let record = record.map_err(torn)?;
                    if found.len() >= MOST_AT_ONCE {
                        return Err(too_many());
                    }
                    found.push(self.record(record).map_err(torn)?);
                }
            }
        }
        Ok(found)
    }

    fn record(&self, record: &[u8]) -> Result<Found, crate::remote_write::WriteError> {
        let mut points = 1;
        let mut timestamp_ms = 0;
        if self.service == "monitoring" {
            points = 0;
            // Gauge, sum, histogram, exponential histogram, summary; data points are field 1 of each.
            for kind in [5, 7, 9, 10, 11] {
                for data in messages(record, kind) {
                    for point in messages(data?, 1) {
                        point?;
                        points += 1;
                    }
                }
            }
        }
        for field in Fields(record) {
            // `time_unix_nano` of a log record, `start_time_unix_nano` of a span.
            if let (1 | 7, Value::Fixed64(nanoseconds)) = field? {
                timestamp_ms = i64::try_from(nanoseconds / 1_000_000).unwrap_or(0);
                break;
            }
        }
        Ok(Found { bytes: Bytes::copy_from_slice(record), timestamp_ms, points })
    }

    fn of_json(&self, body: &[u8]) -> Result<Vec<Found>, ServiceError> {
        let json: Json = serde_json::from_slice(body).map_err(|_| bad("the body is not JSON"))?;
        let list = |json: &Json, name: &str| json.get(name).and_then(Json::as_array).cloned().unwrap_or_default();
        let [resources, scopes, records] = self.lists;
        let mut found = Vec::new();
        for resource in list(&json, resources) {
            for scope in list(&resource, scopes) {
                for record in list(&scope, records) {
                    let points = match self.service {
                        "monitoring" => ["gauge", "sum", "histogram", "exponentialHistogram", "summary"]
                            .iter()
                            .filter_map(|kind| record.get(kind))
                            .map(|data| list(data, "dataPoints").len())
                            .sum(),
                        _ => 1,
                    };
                    let nanoseconds = ["timeUnixNano", "startTimeUnixNano"].iter().find_map(|name| record.get(name));
                    let nanoseconds = nanoseconds.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
                    let timestamp_ms = nanoseconds.and_then(|n| i64::try_from(n / 1_000_000).ok()).unwrap_or(0);
                    found.push(Found { bytes: record.to_string().into(), timestamp_ms, points });
                }
            }
        }
        Ok(found)
    }

    /// An export response, with `partial_success` when something was rejected.
    fn reply(&self, is_json: bool, rejected: u64) -> Reply {
        const MESSAGE: &str = "scripted by the sandbox";
        if is_json {
            let field = match self.service {
                "logs" => "rejectedLogRecords",
                "xray" => "rejectedSpans",
                _ => "rejectedDataPoints",
            };
            let answer = match rejected {
                0 => json!({}),
                count => json!({ "partialSuccess": { field: count.to_string(), "errorMessage": MESSAGE } }),
            };
            return Reply::json(StatusCode::OK, &answer);
        }
        let mut body = Vec::new();
        if rejected > 0 {
            // partial_success = 1 { rejected = 1, error_message = 2 }
            let mut partial = vec![0x08];
            let mut left = rejected;
            while left > 0x7f {
                partial.push(u8::try_from(left & 0x7f).unwrap_or(0) | 0x80);
                left >>= 7;
            }
            partial.push(u8::try_from(left).unwrap_or(0));
            partial.push(0x12);
            partial.push(u8::try_from(MESSAGE.len()).unwrap_or(0));
            partial.extend_from_slice(MESSAGE.as_bytes());
            body.push(0x0a);
            body.push(u8::try_from(partial.len()).unwrap_or(0));
            body.extend(partial);
        }
        Reply::new(StatusCode::OK, "application/x-protobuf", body)
    }
}

/// The messages in one field of a message.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], crate::remote_write::WriteError>> {
    Fields(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(e) => Some(Err(e)),
    })
}
