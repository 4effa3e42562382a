//! The body of a push request: read within limits of size and time, and decompressed within them.

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use super::{json, message, message::PushStream};

/// What one receiver takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushLimits {
    /// Bytes of a body as sent.
    pub body: usize,
    /// Bytes of a body decompressed; at most 10 MiB are of use.
    pub decompressed: usize,
    /// Requests under way; more are told to come again.
    pub requests: usize,
    /// How long a body may take to arrive.
    pub read: std::time::Duration,
    /// How long a request waits for room in the queue before it is told to come again.
    pub wait: std::time::Duration,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self {
            body: 8 << 20,
            decompressed: 10 << 20,
            requests: 16,
            read: std::time::Duration::from_secs(30),
            wait: std::time::Duration::from_secs(5),
        }
    }
}

/// Why a request is refused.
pub(super) type Refusal = (StatusCode, String);

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Message,
    Json,
}

pub(super) fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(Format::Json),
        // As Loki does when the type is missing.
        "" | "application/x-protobuf" => Ok(Format::Message),
        other => Err((
            StatusCode::BAD_REQUEST,
            format!(
                "content type {:?} is not known here: send application/json or application/x-protobuf",
                short(other)
            ),
        )),
    }
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

pub(super) async fn read(body: Body, limits: &PushLimits) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(limits.read, axum::body::to_bytes(body, limits.body));
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let too_large = format!("{error:?}").contains("LengthLimit");
            if too_large {
                Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {} bytes", limits.body)))
            } else {
                Err((StatusCode::BAD_REQUEST, "the body did not arrive whole".to_owned()))
            }
        }
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive".to_owned())),
    }
}

/// Undoes `Content-Encoding`, and the snappy block in which messages are sent.
pub(super) fn unpack(body: Bytes, headers: &HeaderMap, format: Option<Format>, limit: usize) -> Result<Bytes, Refusal> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let body = match encoding.trim() {
        "gzip" => bounded("gzip", flate2::read::MultiGzDecoder::new(&body[..]), limit)?,
        "deflate" => bounded("deflate", flate2::read::DeflateDecoder::new(&body[..]), limit)?,
        "" | "identity" | "snappy" => body,
        other => return Err(bad(format!("content encoding {:?} is not known here", short(other)))),
    };
    let is_block = match format {
        Some(Format::Message) => !matches!(encoding.trim(), "gzip" | "deflate"),
        _ => encoding.trim() == "snappy",
    };
    if !is_block {
        return Ok(body);
    }
    let len = snap::raw::decompress_len(&body).map_err(|_| bad("the body is not a snappy block".to_owned()))?;
    if len > limit || len > body.len().saturating_mul(22) + 64 {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes decompressed")));
    }
    let mut raw = vec![0; len];
    let filled = snap::raw::Decoder::new()
        .decompress(&body, &mut raw)
        .map_err(|_| bad("the body is not a whole snappy block".to_owned()))?;
    raw.truncate(filled);
    Ok(raw.into())
}

fn bounded(name: &str, reader: impl Read, limit: usize) -> Result<Bytes, Refusal> {
    let mut raw = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader
        .take(most)
        .read_to_end(&mut raw)
        .map_err(|e| (StatusCode::BAD_REQUEST, format!("the body is not whole {name}: {e}")))?;
    if raw.len() > limit {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes decompressed")));
    }
    Ok(raw.into())
}

pub(super) fn parse(body: &[u8], format: Format) -> Result<Vec<PushStream<'_>>, Refusal> {
    match format {
        Format::Message => message::parse(body),
        Format::Json => json::parse(body),
    }
    .map_err(|why| (StatusCode::BAD_REQUEST, why))
}
