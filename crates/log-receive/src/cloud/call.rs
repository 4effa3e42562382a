//! One signed call to a service, and what its answer means for whoever asked.
//!
//! Retries nothing but a signature that the identity wants to make anew. Keeps true: no secret in any message.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use net::{Answer, Authorize, BodyBuffer, Client, IdentityVerdict, Reply, ReplyHead, retry_after, service_error};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

/// A client and the identity that signs for one service.
#[derive(Debug, Clone)]
pub struct CloudAccess {
    pub client: Client,
    /// Signs for the service's name and region.
    pub authorize: Arc<dyn Authorize>,
    /// For one request with its answer.
    pub timeout: Duration,
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// Come again later, after this long if it was said.
    Later { why: String, after: Option<Duration> },
    /// A person must change something: identity, permission, name.
    Held { why: String },
    /// The service refused this very request: its code, its words.
    Refused { status: u16, code: String, why: String },
}

impl CallError {
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Later { why, .. } | Self::Held { why } | Self::Refused { why, .. } => why,
        }
    }
}

/// Answers of JSON services are read up to this.
const JSON_LIMIT: u64 = 16 << 20;

/// A body as it came: objects are stored compressed and named so.
#[derive(Default)]
pub(super) struct RawBody(pub Vec<u8>);

impl BodyBuffer for RawBody {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn make_room(&mut self, more: usize, most: usize) -> bool {
        self.0.make_room(more, most)
    }

    fn decompresses(&self, _: &str) -> bool {
        false
    }
}

impl CloudAccess {
    /// A request of the AWS JSON protocol.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        endpoint: &Url,
        target: &str,
        version: &str,
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<(T, Reply), CallError> {
        let held = |why: String| CallError::Held { why };
        let body = Bytes::from(serde_json::to_vec(body).map_err(|e| held(format!("writing a request: {e}")))?);
        let make = || {
            Request::post(endpoint.as_str())
                .header(header::CONTENT_TYPE, format!("application/x-amz-json-{version}"))
                .header("x-amz-target", target)
                .body(body.clone())
        };
        let mut answer = Vec::new();
        let head = self.send(make, timeout, JSON_LIMIT, &mut answer).await?;
        let read = serde_json::from_slice(&answer).map_err(|e| CallError::Later {
            why: format!("{target}: an answer that cannot be read: {e}"),
            after: None,
        })?;
        let ReplyHead { status, headers, truncated, sent_at, received_at, .. } = head;
        Ok((read, Reply { status, headers, body: answer.into(), truncated, sent_at, received_at }))
    }

    /// Any request; 2xx is a success.
    pub(super) async fn send<B: BodyBuffer + AsBytes>(
        &self,
        make: impl Fn() -> Result<Request<Bytes>, http::Error>,
        timeout: Duration,
        limit: u64,
        buf: &mut B,
    ) -> Result<ReplyHead, CallError> {
        let mut signed_anew = false;
        loop {
            buf.bytes().clear();
            let mut request = make()
                .map_err(|e| CallError::Held { why: format!("making a request: {e}; check names and addresses") })?;
            let later = |why: String| CallError::Later { why, after: None };
            self.client.prepare(&mut request).await.map_err(|e| later(e.to_string()))?;
            if let Err(error) = self.authorize.authorize(&mut request).await {
                return Err(later(chain(&error)));
            }
            let head = match self.client.send_into(request, timeout, limit, buf).await {
                Ok(head) => head,
                Err(error) => return Err(later(chain(&error))),
            };
            let answer = Answer {
                status: head.status,
                headers: &head.headers,
                body: buf.as_bytes(),
                sent_at: head.sent_at,
                received_at: head.received_at,
            };
            match self.authorize.judge(&answer) {
                IdentityVerdict::RetryNow { .. } if !signed_anew => {
                    signed_anew = true;
                    continue;
                }
                IdentityVerdict::RetryNow { why } | IdentityVerdict::Hold { why } => {
                    return Err(CallError::Held { why });
                }
                IdentityVerdict::Unrelated => {}
            }
            return judge(&head, buf.as_bytes()).map_or(Ok(head), Err);
        }
    }
}

/// Reads what a buffer holds.
pub(super) trait AsBytes {
    fn as_bytes(&self) -> &[u8];
}

impl AsBytes for Vec<u8> {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl AsBytes for RawBody {
    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn judge(head: &ReplyHead, body: &[u8]) -> Option<CallError> {
    let error = service_error::parse(head.status, &head.headers, body)?;
    let why = match error.message.as_str() {
        "" => error.code.clone(),
        message => format!("{}: {message}", error.code),
    };
    let code = error.code;
    let is_throttle = code.contains("Throttl")
        || code.contains("SlowDown")
        || code.contains("LimitExceeded")
        || code == "RequestLimitExceeded"
        || head.status == StatusCode::TOO_MANY_REQUESTS;
    if is_throttle || head.status.is_server_error() || code == "RequestTimeout" {
        return Some(CallError::Later { why, after: retry_after(&head.headers, SystemTime::now()) });
    }
    if matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || code.contains("AccessDenied") {
        return Some(CallError::Held { why });
    }
    Some(CallError::Refused { status: head.status.as_u16(), code, why })
}
