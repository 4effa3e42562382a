//! AWS X-Ray `PutTraceSegments`: `POST /TraceSegments`, documents as JSON texts, rejected one by one.

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
    let problem = if text("name").is_empty() {
        Some(("MissingParam", "name is missing".to_owned()))
    } else if text("name").chars().count() > 200 {
        Some(("InvalidSegment", "name is longer than 200 characters".to_owned()))
    } else if !is_hex(text("id"), 16) {
        Some(("InvalidId", "id is not 16 hexadecimal digits".to_owned()))
    } else if !is_trace {
        Some(("InvalidTraceId", "trace_id is not 1-8 digits-24 digits, hexadecimal".to_owned()))
    } else if segment.get("start_time").and_then(Value::as_f64).is_none() {
        Some(("MissingParam", "start_time is missing".to_owned()))
    } else if segment.get("end_time").and_then(Value::as_f64).is_none()
        && segment.get("in_progress") != Some(&Value::Bool(true))
    {
        Some(("MissingParam", "end_time is missing and in_progress is not true".to_owned()))
    } else {
        None
    };
    (id, problem)
}
