//! AWS X-Ray `PutTraceSegments`: `POST /TraceSegments`, documents as JSON texts, rejected one by one.
//!
//! Looked at are required fields, ids, the order of times, types of fields and sizes ("AWS X-Ray segment documents",
//! developer guide). Not played: how large a whole trace may become, and traces read back.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Done, Service};
use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    core::Core,
    records::Record,
    target::Target,
};

/// Most documents of one request.
const MOST: usize = 50;
/// Most bytes of one document.
const LARGEST: usize = 64 * 1024;

pub(super) struct XRay;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Segments {
    trace_segment_documents: Vec<String>,
}

impl Service for XRay {
    fn name(&self) -> &'static str {
        "xray"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::RestJson
    }

    fn throttling(&self) -> (u16, &'static str, &'static str) {
        (429, "ThrottledException", "Rate exceeded")
    }

    fn claims(&self, target: &Target) -> bool {
        match &target.aws {
            Some(aws) => aws.service == "xray",
            None => target.path == "/TraceSegments",
        }
    }

    fn resource(&self, target: &Target) -> String {
        crate::refusal::shown(&target.path)
    }

    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        if target.method == Method::POST && target.path == "/TraceSegments" {
            return Ok(());
        }
        Err(ServiceError::new(StatusCode::NOT_FOUND, "UnknownOperationException", "only POST /TraceSegments is played"))
    }

    fn action(&self, _call: &Call) -> Option<(String, String)> {
        Some(("xray:PutTraceSegments".to_owned(), "*".to_owned()))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let invalid = |message: &str| ServiceError::new(StatusCode::BAD_REQUEST, "InvalidRequestException", message);
        let asked: Segments =
            serde_json::from_slice(&call.body).map_err(|_| invalid("the body is not JSON of segments"))?;
        let documents = asked.trace_segment_documents;
        if documents.is_empty() {
            return Err(invalid("TraceSegmentDocuments is empty"));
        }
        if documents.len() > MOST {
            return Err(invalid("Exceeding maximum segment count: 50"));
        }
        let mut unprocessed = Vec::new();
        let mut stored = Vec::new();
        for (at, document) in documents.iter().enumerate() {
            let scripted = call.partial.as_ref().filter(|partial| partial.strikes(at));
            let (id, verdict) = judge(document);
            let problem = match scripted {
                Some(partial) => Some((partial.code.clone(), "scripted by the sandbox".to_owned())),
                None => verdict.map(|(code, message)| (code.to_owned(), message)),
            };
            match problem {
                Some((code, message)) => unprocessed.push(json!({ "Id": id, "ErrorCode": code, "Message": message })),
                None => stored.push(Record { timestamp_ms: 0, bytes: document.as_bytes() }),
            }
        }
        core.records.lock().add("xray:", call.caller_arn(), call.now_ms, &stored, unprocessed.len() as u64);
        Ok(Reply::json(StatusCode::OK, &json!({ "UnprocessedTraceSegments": unprocessed })).into())
    }
}

/// A document's id, and what is wrong with it.
fn judge(document: &str) -> (String, Option<(&'static str, String)>) {
    if document.len() > LARGEST {
        return (String::new(), Some(("SegmentTooLarge", format!("the document is larger than {LARGEST} bytes"))));
    }
    let Ok(Value::Object(segment)) = serde_json::from_str(document) else {
        return (String::new(), Some(("JSONFormatError", "the document is not a JSON object".to_owned())));
    };
    let text = |name: &str| segment.get(name).and_then(Value::as_str).unwrap_or_default();
    let id = crate::refusal::shown(text("id"));
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_trace = text("trace_id")
        .strip_prefix("1-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(first, second)| is_hex(first, 8) && is_hex(second, 24));
    let time = |name: &str| segment.get(name).and_then(Value::as_f64);
    let of_kind = |name: &str, is: fn(&Value) -> bool| segment.get(name).is_none_or(is);
    let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    let problem = if text("name").is_empty() {
        Some(("MissingParam", "name is missing".to_owned()))
    } else if text("name").chars().count() > 200 {
        Some(("InvalidSegment", "name is longer than 200 characters".to_owned()))
    } else if !is_hex(text("id"), 16) {
        Some(("InvalidId", "id is not 16 hexadecimal digits".to_owned()))
    } else if !is_trace {
        Some(("InvalidTraceId", "trace_id is not 1-8 digits-24 digits, hexadecimal".to_owned()))
    } else if text("id").bytes().all(|byte| byte == b'0') {
        Some(("InvalidId", "id is all zero".to_owned()))
    } else if segment.get("parent_id").is_some() && !is_hex(text("parent_id"), 16) {
        Some(("InvalidId", "parent_id is not 16 hexadecimal digits".to_owned()))
    } else if !of_kind("type", |kind| kind == "subsegment") {
        Some(("InvalidSegment", "type is not subsegment".to_owned()))
    } else if segment.get("type").is_some() && segment.get("parent_id").is_none() {
        Some(("MissingParam", "parent_id of a subsegment is missing".to_owned()))
    } else if !of_kind("namespace", |namespace| namespace == "aws" || namespace == "remote") {
        Some(("InvalidSegment", "namespace is neither aws nor remote".to_owned()))
    } else if ["error", "fault", "throttle", "in_progress"].iter().any(|name| !of_kind(name, Value::is_boolean)) {
        Some(("JSONFormatError", "error, fault, throttle and in_progress are booleans".to_owned()))
    } else if ["http", "aws", "sql", "annotations", "metadata", "service"]
        .iter()
        .any(|name| !of_kind(name, Value::is_object))
    {
        Some(("JSONFormatError", "a block is not an object".to_owned()))
    } else if segment.get("annotations").and_then(Value::as_object).is_some_and(|all| !all.values().all(is_scalar)) {
        Some(("InvalidSegment", "an annotation is not a text, number or boolean".to_owned()))
    } else if time("start_time").is_none() {
        Some(("MissingParam", "start_time is missing".to_owned()))
    } else if time("start_time").zip(time("end_time")).is_some_and(|(start, end)| end < start) {
        Some(("InvalidSegment", "end_time is before start_time".to_owned()))
    } else if time("end_time").is_none() && segment.get("in_progress") != Some(&Value::Bool(true)) {
        Some(("MissingParam", "end_time is missing and in_progress is not true".to_owned()))
    } else {
        None
    };
    (id, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_looked_at_as_x_ray_does() {
        let good = json!({
            "name": "shop", "id": "53995c3f42cd8ad8", "trace_id": "1-58406520-a006649127e371903a2de979",
            "parent_id": "70de5b6f19ff9a0a", "type": "subsegment", "namespace": "remote", "error": true,
            "start_time": 1.5, "end_time": 1.5, "http": {}, "annotations": { "a": 1, "b": "x", "c": true },
            "cause": "70de5b6f19ff9a0a",
        });
        assert_eq!(judge(&good.to_string()), ("53995c3f42cd8ad8".to_owned(), None));
        for (name, value, code) in [
            ("id", json!("0000000000000000"), "InvalidId"),
            ("id", json!("53995c3f42cd8ad"), "InvalidId"),
            ("parent_id", json!("70de"), "InvalidId"),
            ("parent_id", Value::Null, "InvalidId"),
            ("type", json!("segment"), "InvalidSegment"),
            ("namespace", json!("local"), "InvalidSegment"),
            ("end_time", json!(1.4), "InvalidSegment"),
            ("start_time", json!("1.4"), "MissingParam"),
            ("fault", json!("true"), "JSONFormatError"),
            ("http", json!([]), "JSONFormatError"),
            ("annotations", json!({ "a": [] }), "InvalidSegment"),
            ("trace_id", json!("1-58406520-a006649127e371903a2de97"), "InvalidTraceId"),
        ] {
            let mut wrong = good.clone();
            wrong[name] = value;
            assert_eq!(judge(&wrong.to_string()).1.map(|problem| problem.0), Some(code), "{name}");
        }
        let mut alone = good;
        alone.as_object_mut().unwrap().remove("parent_id");
        assert_eq!(judge(&alone.to_string()).1.map(|problem| problem.0), Some("MissingParam"));
    }
}
