//! How identity reaches a request without its carrier knowing what kind of identity it is.
//!
//! Keeps true: `authorize` runs last, over the bytes that go out; a refusal is judged by the identity that signed.

use std::{fmt, future::Future, pin::Pin, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Proves who is calling. One value per destination; implementations hold that destination's credentials and clock offset.
pub trait Authorize: Send + Sync + fmt::Debug {
    /// Adds to `request` the headers that prove identity. The body is final: these exact bytes are sent.
    fn authorize<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), AuthorizeError>>;

    /// Sees every answer (for the clock offset) and says whether a refusal is about identity.
    fn judge(&self, answer: &Answer<'_>) -> IdentityVerdict;

    /// Who this is, for people: the source and the key id, never a secret.
    fn describe(&self) -> String;
}

/// What the far end answered, with the local times around the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: StatusCode,
    /// Response headers.
    pub headers: &'a HeaderMap,
    /// The first bytes of the body (bounded; possibly cut).
    pub body: &'a [u8],
    /// Local clock when the attempt was sent.
    pub sent_at: SystemTime,
    /// Local clock when the headers arrived.
    pub received_at: SystemTime,
}

/// What an answer says about the identity that signed the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityVerdict {
    /// The answer is not about identity; the protocol judges it.
    Unrelated,
    /// Something changed (credentials dropped, clock offset learnt): sign again and retry the same bytes at once.
    RetryNow {
        /// What the far end said and what was done about it.
        why: String,
    },
    /// Refused as we are. Keep the data, probe slowly, tell a person `why` (which says what to change).
    Hold {
        /// What the far end said, and what to do.
        why: String,
    },
}

/// Why a request could not be given an identity. Always retried later; never a reason to drop data.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct AuthorizeError {
    /// What was being done and what went wrong, and, where the user can act, how.
    pub what: String,
    #[source]
    /// The underlying error.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
