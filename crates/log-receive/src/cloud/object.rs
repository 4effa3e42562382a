//! One object: fetched in bounded pieces, unpacked, taken apart into lines, handed over.
//!
//! Keeps true: all pieces are of one version of the object (`If-Match`); a piece that fails is asked for again, not the
//! object; memory does not depend on the object's size.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use model::Labels;
use net::Backoff;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{
    call::{CallError, CloudAccess, RawBody},
    decode::{self, ObjectCompression},
};
use crate::{Forward, LONGEST_LINE, ReceiveError, lines::LineSplitter};

/// An object as a list or a notice names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectName {
    pub bucket: String,
    pub key: String,
}

/// How an object is asked for.
#[derive(Debug, Clone)]
pub(super) struct Fetch {
    pub access: CloudAccess,
    pub region: String,
    /// Another place than AWS; buckets are the first part of its paths.
    pub endpoint: Option<Url>,
    pub expected_bucket_owner: Option<String>,
    pub compression: ObjectCompression,
    /// Bytes of one request.
    pub piece: u64,
}

/// What became of an object.
#[derive(Debug)]
pub(super) enum Taken {
    /// All its lines are handed over.
    Whole,
    /// It is not there any more.
    Gone,
    /// What could be read is handed over; the rest never can be.
    Broken(String),
}

/// Why an object was not taken; it must be asked for again.
#[derive(Debug)]
pub(super) enum NotTaken {
    Call(CallError),
    Closed(ReceiveError),
}

/// What a path keeps as it is: letters, digits and `-._~/`.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Attempts at one piece.
const ATTEMPTS: u32 = 5;

impl Fetch {
    /// The address of a bucket's key, or of the bucket.
    pub(super) fn address(&self, bucket: &str, key: &str) -> String {
        let key = utf8_percent_encode(key, PATH);
        match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.as_str().trim_end_matches('/')),
            // A certificate for `*.s3...` does not cover a name with dots.
            None if bucket.contains('.') => format!("https://s3.{}.{}/{bucket}/{key}", self.region, self.suffix()),
            None => format!("https://{bucket}.s3.{}.{}/{key}", self.region, self.suffix()),
        }
    }

    fn suffix(&self) -> &'static str {
        if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    /// Hands all lines of an object over. The caller flushes.
    pub(super) async fn take(
        &self,
        object: &ObjectName,
        labels: &Labels,
        forward: &mut Forward,
    ) -> Result<Taken, NotTaken> {
        let (packed, mut unpacked) = decode::start(self.compression);
        let fetch = async move {
            let result = self.fetch(object, &packed).await;
            drop(packed);
            result
        };
        let read = async {
            let mut splitter = LineSplitter::new(LONGEST_LINE);
            let mut found = Vec::new();
            let mut broken = None;
            while let Some(piece) = unpacked.recv().await {
                match piece {
                    Ok(piece) => splitter.push(&piece, &mut found),
                    Err(error) => {
                        broken = Some(error.to_string());
                        break;
                    }
                }
                for line in found.drain(..) {
                    let at = forward.time();
                    forward.push(labels, at, &line, &[]).await?;
                }
                forward.pace().await;
            }
            // Whoever still fetches is to stop.
            drop(unpacked);
            Ok::<_, ReceiveError>((splitter, broken))
        };
        let (fetched, read) = tokio::join!(fetch, read);
        let (mut splitter, broken) = read.map_err(NotTaken::Closed)?;
        match fetched.map_err(NotTaken::Call)? {
            StatusCode::NOT_FOUND => return Ok(Taken::Gone),
            _ if broken.is_none() => {
                if let Some(line) = splitter.end() {
                    let at = forward.time();
                    forward.push(labels, at, &line, &[]).await.map_err(NotTaken::Closed)?;
                }
            }
            _ => {}
        }
        Ok(broken.map_or(Taken::Whole, Taken::Broken))
    }

    /// Sends the object's bytes on. 404: it is not there.
    async fn fetch(&self, object: &ObjectName, packed: &decode::PackedSender) -> Result<StatusCode, CallError> {
        let (mut from, mut etag) = (0u64, None::<String>);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let mut body = RawBody::default();
            let make = || self.request(object, from, etag.as_deref());
            // A place that knows no ranges sends the whole object, within a limit.
            let limit = self.piece.max(WHOLE);
            let head = match self.access.send(make, self.access.timeout, limit, &mut body).await {
                Ok(head) => head,
                Err(CallError::Refused { status: 404, code, .. }) if code != "NoSuchBucket" => {
                    return Ok(StatusCode::NOT_FOUND);
                }
                // Behind the end: an empty object, or one whose size is a multiple of a piece.
                Err(CallError::Refused { status: 416, .. }) => return Ok(StatusCode::OK),
                Err(CallError::Refused { status: 412, why, .. }) => {
                    return Err(CallError::Later {
                        why: format!("the object was replaced while it was read: {why}"),
                        after: None,
                    });
                }
                Err(CallError::Later { after, why }) => {
                    if backoff.failures() + 1 >= ATTEMPTS {
                        return Err(CallError::Later { after, why });
                    }
                    tokio::time::sleep(backoff.next_delay_after(after.unwrap_or_default())).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            backoff.reset();
            if etag.is_none() {
                etag = head.headers.get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
            }
            let len = body.0.len() as u64;
            let total = head
                .headers
                .get(header::CONTENT_RANGE)
                .and_then(|v| v.to_str().ok()?.rsplit('/').next()?.parse::<u64>().ok());
            // The reader found the object broken, or the queue is closed.
            let is_wanted = packed.send(Bytes::from(body.0)).await.is_ok();
            from = from.saturating_add(len);
            let is_last = match total {
                Some(total) => from >= total,
                None => len < self.piece,
            };
            if !is_wanted || head.status != StatusCode::PARTIAL_CONTENT || is_last || len == 0 {
                return Ok(StatusCode::OK);
            }
        }
    }

    fn request(&self, object: &ObjectName, from: u64, etag: Option<&str>) -> Result<Request<Bytes>, http::Error> {
        let to = from.saturating_add(self.piece.max(1)) - 1;
        let mut request =
            Request::get(self.address(&object.bucket, &object.key)).header(header::RANGE, format!("bytes={from}-{to}"));
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        if let Some(owner) = &self.expected_bucket_owner {
            request = request.header("x-amz-expected-bucket-owner", owner);
        }
        request.body(Bytes::new())
    }
}

/// The largest object taken from a place that does not know ranges.
const WHOLE: u64 = 64 << 20;
