//! An answer that may never end: its pieces as they come.
//!
//! Keeps nothing of the body. Keeps true: a piece is waited for no longer than the caller says.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use url::Url;

use crate::{
    Client, NetError,
    client::CONNECTING,
    error::{classify, place},
};

/// The head of an answer, and what reads the rest.
#[derive(Debug)]
pub struct OpenReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    response: reqwest::Response,
    url: Url,
}

impl OpenReply {
    /// The next piece of the body; `None` at its end.
    pub async fn piece(&mut self, timeout: Duration) -> Result<Option<Bytes>, NetError> {
        match tokio::time::timeout(timeout, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(classify(&error, &self.url, None, timeout)),
            Err(_) => Err(NetError::Timeout {
                host: place(&self.url),
                after: timeout,
                phase: "waiting for more of the answer",
            }),
        }
    }
}

impl Client {
    /// Sends a request and answers when the head of the answer is there, within `timeout`. Follows no redirect and asks for
    /// a body that is not compressed.
    pub async fn open(&self, request: Request<Bytes>, timeout: Duration) -> Result<OpenReply, NetError> {
        let url = self.inner.url_of(request.uri())?;
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let work = async {
            self.inner.prepare(&mut headers).await?;
            self.inner.hop(&parts.method, &url, headers, body).await
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(Ok((response, _, _))) => {
                let (status, headers) = (response.status(), response.headers().clone());
                if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                    self.inner.doubt_secrets();
                }
                Ok(OpenReply { status, headers, response, url })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NetError::Timeout { host: place(&url), after: timeout, phase: CONNECTING }),
        }
    }
}
