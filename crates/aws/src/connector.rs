//! The HTTP connections of the AWS crates (STS, metadata): ours, so that proxies, roots and limits are the same everywhere.
//!
//! Retries nothing. Keeps true: loopback and link-local endpoints are reached directly, everything else as `HTTPS_PROXY`
//! says; an answer is never longer than its limit.

use std::time::Duration;

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::Request;
use net::NetError;

/// The two clients every credential source shares.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    /// Through the proxy of the environment, which itself exempts local addresses.
    pub(crate) outside: net::Client,
    /// Without any proxy and with little patience: metadata answers at once or not at all.
    pub(crate) local: net::Client,
}

/// STS and metadata answers are a few kilobytes.
pub(crate) const ANSWER_LIMIT: u64 = 1 << 20;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

impl Connections {
    /// The client for a URL's host.
    pub(crate) fn for_url(&self, url: &url::Url) -> &net::Client {
        if net::is_local_destination(url) { &self.local } else { &self.outside }
    }
}

#[derive(Debug)]
struct Connector {
    connections: Connections,
    timeout: Duration,
}

impl HttpClient for Connections {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        // Both limits bound parts of one attempt, so their sum bounds the whole.
        let timeout = match (settings.connect_timeout(), settings.read_timeout()) {
            (Some(connect), Some(read)) => connect.saturating_add(read),
            (_, Some(read)) => read.saturating_add(Duration::from_secs(5)),
            (_, None) => DEFAULT_TIMEOUT,
        };
        SharedHttpConnector::new(Connector { connections: self.clone(), timeout })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connections = self.connections.clone();
        let timeout = self.timeout;
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let (parts, body) = request.into_parts();
            let Some(bytes) = body.bytes().map(Bytes::copy_from_slice) else {
                return Err(ConnectorError::user("the request's body is a stream".into()));
            };
            let url = url::Url::parse(&parts.uri.to_string()).map_err(|e| ConnectorError::user(e.into()))?;
            let request = Request::from_parts(parts, bytes);
            match connections.for_url(&url).send(request, timeout, ANSWER_LIMIT).await {
                Ok(reply) => {
                    let status = StatusCode::try_from(reply.status.as_u16())
                        .map_err(|e| ConnectorError::other(e.into(), None))?;
                    let mut response = HttpResponse::new(status, SdkBody::from(reply.body));
                    for (name, value) in &reply.headers {
                        // Text in another encoding is of no use to the callers here.
                        if let Ok(value) = value.to_str() {
                            response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
                        }
                    }
                    Ok(response)
                }
                Err(error) if error.is_timeout() => Err(ConnectorError::timeout(error.into())),
                Err(error @ NetError::BodyTooLarge { .. }) => Err(ConnectorError::other(error.into(), None)),
                Err(error) => Err(ConnectorError::io(error.into())),
            }
        })
    }
}
