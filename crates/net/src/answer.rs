//! An answer as callers get it, and the reading of its body.
//!
//! Judges nothing. Keeps true: a body that is too long is an error for a success and a cut for a refusal, whose status
//! matters more than its text.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use url::Url;

use crate::{
    Answer, NetError,
    body::{self, BodyError, BodyReader},
    error::{classify, masked, place},
};

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    /// Headers, less `Content-Encoding` and `Content-Length` when the body was decompressed.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
    /// The body of a refusal (status 300 and above) was longer than the limit and is cut there.
    pub truncated: bool,
    /// Local clock when the last hop was sent.
    pub sent_at: SystemTime,
    /// Local clock when its headers arrived.
    pub received_at: SystemTime,
}

impl Reply {
    /// The answer as an identity judges it.
    pub fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            headers: &self.headers,
            body: &self.body,
            sent_at: self.sent_at,
            received_at: self.received_at,
        }
    }
}

/// An answer whose body went into the caller's buffer.
#[derive(Debug, Clone)]
pub struct ReplyHead {
    pub status: StatusCode,
    /// Headers, less `Content-Encoding` and `Content-Length` when the body was decompressed.
    pub headers: HeaderMap,
    /// The body of a refusal was cut at the limit.
    pub truncated: bool,
    /// Bytes of the body on the wire, before decompression.
    pub wire_bytes: u64,
    /// Local clock when the last hop was sent.
    pub sent_at: SystemTime,
    /// Local clock when its headers arrived.
    pub received_at: SystemTime,
}

pub(crate) async fn read_body(
    mut response: reqwest::Response,
    url: &Url,
    limit: u64,
    buf: &mut Vec<u8>,
    sent_at: SystemTime,
    received_at: SystemTime,
) -> Result<ReplyHead, NetError> {
    let status = response.status();
    let mut headers = std::mem::take(response.headers_mut());
    let host = || place(url);
    let declared = response.content_length().unwrap_or(0);
    let encoding = body::encoding(&headers);
    if encoding.is_none() && status.is_success() && declared > limit {
        return Err(NetError::BodyTooLarge { host: host(), limit });
    }
    if encoding.is_none() {
        buf.reserve(usize::try_from(declared.min(limit).min(1 << 20)).unwrap_or_default());
    }
    let mut wire_bytes = 0u64;
    let mut truncated = false;
    let failed = |e: BodyError| match e {
        BodyError::TooLarge => NetError::BodyTooLarge { host: host(), limit },
        BodyError::Decode { encoding, detail } => NetError::Decode { host: host(), encoding, detail },
    };
    let mut reader = BodyReader::new(&headers, buf, limit).map_err(failed)?;
    let complete = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                wire_bytes = wire_bytes.saturating_add(chunk.len() as u64);
                match reader.push(&chunk) {
                    Ok(()) => {}
                    Err(BodyError::TooLarge) if !status.is_success() => {
                        truncated = true;
                        break false;
                    }
                    Err(e) => return Err(failed(e)),
                }
            }
            Ok(None) => break true,
            // The status of a refusal says enough even when its text is lost.
            Err(_) if !status.is_success() => {
                truncated = true;
                break false;
            }
            Err(e) => return Err(classify(&e, url, None, Duration::ZERO)),
        }
    };
    // An answer to HEAD, 204 and 304 names an encoding and has no body.
    if complete && wire_bytes > 0 {
        match reader.finish() {
            Err(e) if status.is_success() => return Err(failed(e)),
            Err(_) => truncated = true,
            Ok(()) => {}
        }
    } else {
        drop(reader);
    }
    if encoding.is_some() {
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(ReplyHead { status, headers, truncated, wire_bytes, sent_at, received_at })
}

/// Where a 3xx answer points, if it can be followed.
pub(crate) fn redirect(status: StatusCode, headers: &HeaderMap, from: &Url) -> Option<Result<Url, NetError>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(header::LOCATION)?;
    let fail = |detail: String| Some(Err(NetError::Redirect { host: place(from), detail }));
    let Some(mut next) = location.to_str().ok().and_then(|l| from.join(l).ok()) else {
        return fail("to an address that is not a URL".to_owned());
    };
    if !matches!(next.scheme(), "http" | "https") || next.host().is_none() {
        return fail(format!("to {}, which is not HTTP", masked(&next)));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return fail(format!("from https to plain {}; set the URL to where it really is", masked(&next)));
    }
    next.set_fragment(None);
    Some(Ok(next))
}
