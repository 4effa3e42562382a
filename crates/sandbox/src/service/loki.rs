//! Loki's push endpoint: `POST .../loki/api/v1/push`, snappy protobuf or JSON. A signature, should there be one, is
//! verified; Loki itself asks for none.

use http::{Method, StatusCode};
use serde_json::Value as Json;

use super::{Asked, Call, Done, Service, json11};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    records::{LARGEST_JSON, MOST_AT_ONCE, Record},
    remote_write::{Fields, Value, WriteError, decompress},
    sigv4::Policy,
    target::Target,
};

pub(super) struct Loki;

impl Service for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Text
    }

    fn claims(&self, target: &Target) -> bool {
        target.aws.is_none() && target.path.ends_with("/loki/api/v1/push")
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn policy(&self, asked: &Asked<'_>) -> Option<Policy> {
        let service = asked.target.signed_for.as_ref()?;
        Some(Policy::common(service, asked.region.clone()))
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST {
            return Ok(());
        }
        Err(ServiceError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "a push is a POST"))
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        None
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        push(core, call).map(Done::from)
    }
}

/// Stores a push, whoever it is addressed to.
pub(super) fn push(core: &Core, call: &Call) -> Result<Reply, ServiceError> {
    let bad = |message: String| ServiceError::new(StatusCode::BAD_REQUEST, "BadRequest", message);
    let content_type = call.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let lines = if content_type.starts_with("application/json") {
        let plain = json11::plain_body(call, LARGEST_JSON)?;
        of_json(&plain).ok_or_else(|| bad("the body is not a push".to_owned()))?
    } else {
        let raw = decompress(&call.body, core.limits.decompressed).map_err(|e| bad(e.to_string()))?;
        of_protobuf(&raw).map_err(|e| bad(e.to_string()))?
    };
    if lines.is_empty() {
        return Err(ServiceError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Unprocessable",
            "error at least one valid stream is required for ingestion",
        ));
    }
    let records: Vec<Record<'_>> =
        lines.iter().map(|(at_ms, line)| Record { timestamp_ms: *at_ms, bytes: line.as_bytes() }).collect();
    let destination = format!("loki:{}", crate::refusal::shown(&call.target.path));
    core.records.lock().add(&destination, call.caller_arn(), call.now_ms, &records, 0);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `PushRequest { streams = 1 { labels = 1, entries = 2 { timestamp = 1 { seconds = 1, nanos = 2 }, line = 2 } } }`.
fn of_protobuf(raw: &[u8]) -> Result<Vec<(i64, String)>, WriteError> {
    let mut lines = Vec::new();
    for stream in Fields(raw) {
        let (1, Value::Bytes(stream)) = stream? else { continue };
        for entry in Fields(stream) {
            let (2, Value::Bytes(entry)) = entry? else { continue };
            if lines.len() >= MOST_AT_ONCE {
                return Err(WriteError::Protobuf("more lines than the sandbox takes in one push"));
            }
            let (mut at_ms, mut line) = (0i64, String::new());
            for field in Fields(entry) {
                match field? {
                    (1, Value::Bytes(stamp)) => at_ms = milliseconds(stamp)?,
                    (2, Value::Bytes(text)) => line = String::from_utf8_lossy(text).into_owned(),
                    _ => {}
                }
            }
            lines.push((at_ms, line));
        }
    }
    Ok(lines)
}

fn milliseconds(stamp: &[u8]) -> Result<i64, WriteError> {
    let mut at_ms = 0i64;
    for field in Fields(stamp) {
        match field? {
            (1, Value::Varint(seconds)) => at_ms = at_ms.saturating_add(seconds.cast_signed().saturating_mul(1000)),
            (2, Value::Varint(nanos)) => at_ms = at_ms.saturating_add(nanos.cast_signed() / 1_000_000),
            _ => {}
        }
    }
    Ok(at_ms)
}

/// `{"streams": [{"stream": {...}, "values": [["<ns>", "<line>"], ...]}]}`.
fn of_json(body: &[u8]) -> Option<Vec<(i64, String)>> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let mut lines = Vec::new();
    for stream in json.get("streams")?.as_array()? {
        for value in stream.get("values")?.as_array()? {
            let nanoseconds: i64 = value.get(0)?.as_str()?.parse().ok()?;
            lines.push((nanoseconds / 1_000_000, value.get(1)?.as_str()?.to_owned()));
        }
    }
    Some(lines)
}
