//! An answer as callers get it, and the reading of its body.
//!
//! Judges nothing. Keeps true: a body that is too long is an error for a success and a cut for a refusal, whose status
//! matters more than its text.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use url::Url;

use crate::{
    Answer, NetError,
    body::{self, BodyBuffer, BodyError, BodyReader},
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

/// An answer on its way into the caller's buffer, chunk by chunk.
pub(crate) struct Incoming<'a> {
    status: StatusCode,
    headers: HeaderMap,
    url: &'a Url,
    limit: u64,
    reader: BodyReader<'a>,
    encoded: bool,
    wire_bytes: u64,
    truncated: bool,
}

impl<'a> Incoming<'a> {
    /// `declared` is the length that the head names, or 0.
    pub(crate) fn begin(
        status: StatusCode,
        headers: HeaderMap,
        declared: u64,
        url: &'a Url,
        limit: u64,
        buf: &'a mut dyn BodyBuffer,
    ) -> Result<Self, NetError> {
        let encoded = body::encoding(&headers).is_some_and(|name| buf.decompresses(name));
        if !encoded && status.is_success() && declared > limit {
            return Err(NetError::BodyTooLarge { host: place(url), limit });
        }
        if !encoded {
            // Where there is none, that shows when the bytes come.
            let _ = buf.make_room(
                usize::try_from(declared.min(limit).min(1 << 20)).unwrap_or_default(),
                usize::try_from(limit).unwrap_or(usize::MAX),
            );
        }
        let reader = BodyReader::new(&headers, buf, limit).map_err(|e| failed(e, url, limit))?;
        Ok(Self { status, headers, url, limit, reader, encoded, wire_bytes: 0, truncated: false })
    }

    /// Takes a chunk. False: the rest is not wanted.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<bool, NetError> {
        self.wire_bytes = self.wire_bytes.saturating_add(chunk.len() as u64);
        match self.reader.push(chunk) {
            Ok(()) => Ok(true),
            Err(BodyError::TooLarge) if !self.status.is_success() => {
                self.truncated = true;
                Ok(false)
            }
            Err(e) => Err(failed(e, self.url, self.limit)),
        }
    }

    /// What came behind the body: gRPC's status stands there, and is found among the headers. Other trailers are not trusted
    /// to change what a head said.
    pub(crate) fn trailers(&mut self, trailers: HeaderMap) {
        let kind = self.headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if kind.starts_with(b"application/grpc") {
            self.headers.extend(trailers);
        }
    }

    /// The rest cannot be had. The status of a refusal says enough even when its text is lost.
    pub(crate) fn lost(&mut self, error: NetError) -> Result<(), NetError> {
        if self.status.is_success() {
            return Err(error);
        }
        self.truncated = true;
        Ok(())
    }

    pub(crate) fn end(mut self, sent_at: SystemTime, received_at: SystemTime) -> Result<ReplyHead, NetError> {
        // An answer to HEAD, 204 and 304 names an encoding and has no body.
        if !self.truncated && self.wire_bytes > 0 {
            match self.reader.finish() {
                Err(e) if self.status.is_success() => return Err(failed(e, self.url, self.limit)),
                Err(_) => self.truncated = true,
                Ok(()) => {}
            }
        }
        if self.encoded {
            self.headers.remove(header::CONTENT_ENCODING);
            self.headers.remove(header::CONTENT_LENGTH);
        }
        let Self { status, headers, truncated, wire_bytes, .. } = self;
        Ok(ReplyHead { status, headers, truncated, wire_bytes, sent_at, received_at })
    }
}

fn failed(error: BodyError, url: &Url, limit: u64) -> NetError {
    match error {
        BodyError::TooLarge => NetError::BodyTooLarge { host: place(url), limit },
        BodyError::Decode { encoding, detail } => NetError::Decode { host: place(url), encoding, detail },
    }
}

pub(crate) async fn read_body(
    mut response: reqwest::Response,
    url: &Url,
    limit: u64,
    buf: &mut dyn BodyBuffer,
    sent_at: SystemTime,
    received_at: SystemTime,
) -> Result<ReplyHead, NetError> {
    let declared = response.content_length().unwrap_or(0);
    let headers = std::mem::take(response.headers_mut());
    let mut incoming = Incoming::begin(response.status(), headers, declared, url, limit, buf)?;
    let mut body = http::Response::from(response).into_body();
    loop {
        let frame = match body.frame().await {
            None => break,
            Some(frame) => frame.map(http_body::Frame::into_data),
        };
        match frame {
            Ok(Ok(chunk)) if incoming.push(&chunk)? => {}
            Ok(Ok(_)) => break,
            Ok(Err(other)) => {
                if let Ok(trailers) = other.into_trailers() {
                    incoming.trailers(trailers);
                }
            }
            Err(e) => {
                incoming.lost(classify(&e, url, None, Duration::ZERO))?;
                break;
            }
        }
    }
    incoming.end(sent_at, received_at)
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
