//! Carries one request to the far end once: identity, exchange, verdict.
//!
//! [`Post`] is that for any request; [`Courier`] adds the protocol of a metrics destination. It does not repeat (but for one signing anew at once, when the identity asks for it), does not wait and does not know
//! what is in the body. It keeps true: the identity sees the final bytes and every answer before the protocol does.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use net::{Authorize, Client, ClientOptions, IdentityVerdict, NetError, Reply};
use parking_lot::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::{
    DestinationConfig, DestinationStatus, ProtocolConfig,
    metrics::DestinationMetrics,
    protocol::{Parcel, Protocol},
    traces::OtlpProtocol,
    verdict::{LOOKS_LIKE_GRPC, Verdict, is_no_http1, message_of},
};

/// An answer's body beyond this is not read: it can only be words.
const ANSWER_LIMIT: u64 = 64 * 1024;
const REDIRECTS: u32 = 5;

/// See the file's head. One per destination.
#[derive(Debug)]
pub(crate) struct Courier {
    post: Post,
    protocol: Protocol,
}

/// A destination's client and identity.
#[derive(Debug)]
pub(crate) struct Post {
    config: Arc<DestinationConfig>,
    authorize: Option<Arc<dyn Authorize>>,
    /// Built at first use, and again until it can be: a missing certificate file is a state, not the end.
    client: Mutex<Option<Client>>,
    status: DestinationStatus,
    metrics: DestinationMetrics,
    /// HTTP/2 alone.
    grpc: bool,
}

impl Courier {
    pub(crate) fn new(
        config: Arc<DestinationConfig>,
        authorize: Option<Arc<dyn Authorize>>,
        status: DestinationStatus,
        metrics: DestinationMetrics,
    ) -> Self {
        let protocol = Protocol::new(&config);
        Self { post: Post::new(config, authorize, status, metrics), protocol }
    }

    pub(crate) fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// One attempt.
    pub(crate) async fn attempt(&self, parcel: &Parcel, attempt: u32) -> Verdict {
        let request = || self.protocol.request(parcel, attempt);
        let judge = |status, headers: &HeaderMap, body: &[u8]| self.protocol.judge(status, headers, body);
        self.post.exchange(request, judge).await.unwrap_or_else(|verdict| verdict)
    }
}

impl Post {
    pub(crate) fn new(
        config: Arc<DestinationConfig>,
        authorize: Option<Arc<dyn Authorize>>,
        status: DestinationStatus,
        metrics: DestinationMetrics,
    ) -> Self {
        Self { config, authorize, client: Mutex::new(None), status, metrics, grpc: false }
    }

    /// The same over HTTP/2 alone, whose answers' trailers are found among the headers.
    pub(crate) fn speaking_grpc(self) -> Self {
        Self { grpc: true, ..self }
    }

    fn client(&self) -> Result<Client, NetError> {
        let mut slot = self.client.lock();
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let mut config = self.config.client.clone();
        // A POST that is turned into a GET on its way may be answered 200 by a page: then data would be lost. What can be
        // followed safely is followed below.
        config.follow_redirects = false;
        let client = Client::new(&config, ClientOptions { http2_only: self.grpc, ..ClientOptions::default() })?;
        *slot = Some(client.clone());
        Ok(client)
    }

    /// Sends a request and gives what `judge` makes of the answer. The error is what the way there came to: never
    /// `Accepted`, `Partial`, `TooLarge` or `Refused`.
    pub(crate) async fn exchange<T>(
        &self,
        make: impl Fn() -> Result<Request<Bytes>, http::Error> + Send + Sync,
        judge: impl FnOnce(StatusCode, &HeaderMap, &[u8]) -> T + Send,
    ) -> Result<T, Verdict> {
        let client = self
            .client()
            .map_err(|error| unusable(&error).unwrap_or_else(|| Verdict::Hold { why: error.to_string() }))?;
        let (mut signed_anew, mut moved, mut hops) = (None, None, 0);
        loop {
            let request = self.request(&client, &make, moved.as_ref()).await?;
            // Counted, not copied.
            let address = request.uri().clone();
            let began = Instant::now();
            let result = client.send(request, self.config.timeout, ANSWER_LIMIT).await;
            if result.as_ref().err().and_then(unusable).is_none() {
                self.metrics.duration.observe(began.elapsed().as_secs_f64());
            }
            let reply = match result {
                Ok(reply) => reply,
                Err(error) => return Err(self.unanswered(&error)),
            };
            self.metrics.request(Some(reply.status.as_u16()));
            let words = if reply.status.is_success() { String::new() } else { message_of(&reply.body) };
            self.status.answered(Some(reply.status.as_u16()), words);
            if let Some(authorize) = &self.authorize {
                match (authorize.judge(&reply.answer()), &signed_anew) {
                    (IdentityVerdict::Unrelated, _) => {}
                    (IdentityVerdict::RetryNow { why }, None) => {
                        tracing::debug!(destination = self.config.name, why, "signing again");
                        signed_anew = Some(why);
                        continue;
                    }
                    (IdentityVerdict::RetryNow { why }, Some(_)) | (IdentityVerdict::Hold { why }, _) => {
                        return Err(Verdict::Hold { why });
                    }
                }
            }
            if let Some(next) = self.moved_to(&reply, &address)
                && hops < REDIRECTS
            {
                hops += 1;
                moved = Some(next);
                continue;
            }
            return Ok(judge(reply.status, &reply.headers, &reply.body));
        }
    }

    /// A request with everything but the journey; the error is what to do instead.
    async fn request(
        &self,
        client: &Client,
        make: &(impl Fn() -> Result<Request<Bytes>, http::Error> + Sync),
        moved: Option<&Url>,
    ) -> Result<Request<Bytes>, Verdict> {
        let hold = |why: String| Verdict::Hold { why };
        let mut request = make().map_err(|e| hold(format!("making a request: {e}; check the url")))?;
        if let Some(moved) = moved {
            let uri = moved
                .as_str()
                .parse()
                .map_err(|e| hold(format!("following a redirect to {}: {e}", net::masked(moved))))?;
            *request.uri_mut() = uri;
        }
        // Without a signer the client adds what is configured when it sends, and asks for a new token when one is refused.
        if let Some(authorize) = &self.authorize {
            match client.prepare(&mut request).await {
                Ok(()) => {}
                Err(error) => return Err(self.unanswered(&error)),
            }
            authorize.authorize(&mut request).await.map_err(|error| {
                let mut why = error.to_string();
                let mut source = error.source();
                while let Some(cause) = source {
                    why.push_str(": ");
                    why.push_str(&cause.to_string());
                    source = cause.source();
                }
                self.status.answered(None, why.clone());
                Verdict::Unready { why }
            })?;
        }
        Ok(request)
    }

    fn speaks_otlp_http(&self) -> bool {
        matches!(self.config.protocol, ProtocolConfig::Otlp(OtlpProtocol::Http(_)))
    }

    /// No (usable) answer came.
    fn unanswered(&self, error: &NetError) -> Verdict {
        if let Some(verdict) = unusable(error) {
            return verdict;
        }
        let why = error.to_string();
        self.metrics.request(None);
        self.status.answered(None, why.clone());
        match error {
            NetError::Protocol { detail, .. } if self.speaks_otlp_http() && is_no_http1(detail) => {
                Verdict::Hold { why: format!("{why}: {LOOKS_LIKE_GRPC}") }
            }
            // A success with a long text: whoever says that does not take data.
            NetError::BodyTooLarge { .. } => {
                Verdict::Hold { why: format!("{why}; no receiver of data answers so: check the url") }
            }
            // Overloaded or gone: either way it is met gently when it comes back.
            _ => Verdict::Retry { after: None, pressure: true, why },
        }
    }

    /// 307 and 308 ask for the same request elsewhere. Followed as Prometheus does, but only to the same host (HTTPS or
    /// another path), since our credentials are not for others, and never when signed, since a signature names its place.
    fn moved_to(&self, reply: &Reply, address: &Uri) -> Option<Url> {
        let moved = matches!(reply.status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if !moved || !self.config.client.follow_redirects || self.authorize.is_some() {
            return None;
        }
        let from = Url::parse(&address.to_string()).ok()?;
        let to = from.join(reply.headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
        let downgrade = from.scheme() == "https" && to.scheme() != "https";
        (to.host() == from.host() && matches!(to.scheme(), "http" | "https") && !downgrade).then_some(to)
    }
}

/// What an error means that is ours: a file may appear at any moment, a setting waits for a person.
fn unusable(error: &NetError) -> Option<Verdict> {
    match error {
        NetError::File { .. } => Some(Verdict::Unready { why: error.to_string() }),
        NetError::Config { .. } | NetError::Url { .. } => Some(Verdict::Hold { why: error.to_string() }),
        _ => None,
    }
}
