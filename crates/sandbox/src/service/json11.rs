//! What services of AWS's JSON protocol 1.1 have in common: `X-Amz-Target`, bodies, errors.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Call;
use crate::{
    answer::{Reply, ServiceError},
    refusal::shown_long,
    target::Target,
};

/// The operation in `X-Amz-Target: Prefix.Operation`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'t> {
    pub(super) name: &'t str,
}

impl<'t> Operation<'t> {
    pub(super) fn of(target: &'t Target) -> Self {
        let name = target.operation.as_deref().and_then(|text| text.rsplit('.').next()).unwrap_or_default();
        let is_name = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric());
        Self { name: if is_name { name } else { "" } }
    }
}

/// Whether a request is for a service: by host, or else by its operation; a signature for another service is then
/// refused as such.
pub(super) fn claims(target: &Target, service: &str, prefix: &str) -> bool {
    match (&target.aws, &target.operation) {
        (Some(aws), _) => aws.service == service,
        (None, Some(operation)) => operation.starts_with(prefix),
        (None, None) => target.signed_for.as_deref() == Some(service),
    }
}

/// The body's bytes, with gzip undone where `Content-Encoding` says so, at most `limit`.
pub(super) fn plain_body(call: &Call, limit: usize) -> Result<Bytes, ServiceError> {
    match encoding(call) {
        None | Some("" | "identity") if call.body.len() <= limit => Ok(call.body.clone()),
        None | Some("" | "identity") => Err(too_large(limit)),
        Some("gzip") => unpacked(flate2::read::GzDecoder::new(call.body.as_ref()), "gzip", limit),
        Some("zstd") => Err(serialization("Content-Encoding zstd: AWS takes gzip or none")),
        Some(other) => Err(serialization(&format!("Content-Encoding {} is not played", shown_long(other)))),
    }
}

/// The same with zstd, for services that are not AWS's.
pub(super) fn plain_body_with_zstd(call: &Call, limit: usize) -> Result<Bytes, ServiceError> {
    if encoding(call) != Some("zstd") {
        return plain_body(call, limit);
    }
    let failed = |e| serialization(&format!("the body is not zstd: {e}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(call.body.as_ref()).map_err(failed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
    unpacked(decoder, "zstd", limit)
}

/// The window of a zstd frame is memory that the frame asks for: 8 MiB is what common encoders use at most.
const ZSTD_WINDOW_LOG: u32 = 23;

fn encoding(call: &Call) -> Option<&str> {
    call.headers.get(http::header::CONTENT_ENCODING).and_then(|value| value.to_str().ok())
}

fn unpacked(decoder: impl Read, word: &str, limit: usize) -> Result<Bytes, ServiceError> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.take(most).read_to_end(&mut plain);
    read.map_err(|e| serialization(&format!("the body is not {word}: {e}")))?;
    if plain.len() > limit {
        return Err(too_large(limit));
    }
    Ok(plain.into())
}

fn too_large(limit: usize) -> ServiceError {
    let message = format!("the body is larger than {limit} bytes uncompressed");
    ServiceError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
}

/// The body as JSON of an operation.
pub(super) fn body<T: DeserializeOwned>(call: &Call) -> Result<T, ServiceError> {
    serde_json::from_slice(&call.body).map_err(|e| serialization(&shown_long(&e.to_string())))
}

/// The names in a body that permission is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Names {
    pub(super) secret_id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) delivery_stream_name: Option<String>,
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
}

/// Reads them; a body that cannot be read names nothing, which the service itself will say.
pub(super) fn names(call: &Call) -> Names {
    serde_json::from_slice(&call.body).unwrap_or_default()
}

/// Sets a field of an answer that is an object.
pub(super) fn set(answer: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = answer {
        fields.insert(name.to_owned(), value);
    }
}

pub(super) fn reply(answer: &Value) -> Reply {
    let mut reply = Reply::json(StatusCode::OK, answer);
    reply.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    reply
}

/// An answer without content, as operations that give nothing have it.
pub(super) fn empty() -> Reply {
    reply(&json!({}))
}

/// Seconds since the Unix epoch, as these services write times.
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

pub(super) fn serialization(message: &str) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "SerializationException", message)
}

pub(super) fn invalid(message: &str) -> ServiceError {
    ServiceError::new(StatusCode::BAD_REQUEST, "ValidationException", message)
}

pub(super) fn unknown_operation(name: &str) -> ServiceError {
    ServiceError::new(
        StatusCode::BAD_REQUEST,
        "UnknownOperationException",
        format!("the sandbox does not play the operation '{name}'"),
    )
}

pub(super) fn no_caller() -> ServiceError {
    ServiceError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "no caller")
}
