//! A GET that is sent again and again to one place, over at most one connection of its own.
//!
//! Speaks HTTP/1.1 directly where no proxy is in the way; a proxy, a redirect and a far end that insists on HTTP/2 are left
//! to the client's pooled connections. Keeps true: the idle connection is a bare socket (with its TLS state), no buffer and
//! no task; it is closed with the request that owns it; a body that ends early is an error.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::Empty;
use hyper::body::Incoming as HyperBody;
use rustls::{ClientConfig, pki_types::ServerName};
use url::{Host, Url};

use crate::{
    Client, NetError,
    answer::{Incoming, ReplyHead, redirect},
    body::BodyBuffer,
    client::{CONNECTING, READING, check_url, header_value, is_signed, take_userinfo},
    dial::{NoLine, Stream},
    error::{classify_exchange, masked, place},
    http1::Exchange,
    tls,
};

/// The body of a redirect is read, to keep the connection, only if it is at most this long.
const REDIRECT_BODY: u64 = 4 << 10;

/// A GET of one URL, ready to be sent any number of times. Made by [`Client::standing`]; holds its client.
pub struct StandingRequest {
    client: Client,
    /// Without user name and password, which are in `headers`.
    url: Url,
    headers: HeaderMap,
    host: HeaderValue,
    user_agent: HeaderValue,
    /// `path?query`.
    path: Uri,
    /// `scheme://host:port`.
    to: Uri,
    /// For https: the name in the handshake.
    name: Option<ServerName<'static>>,
    /// Not for us: a proxy carries it, or the far end has no HTTP/1.1.
    pooled: bool,
    idle: Option<Idle>,
}

struct Idle {
    stream: Stream,
    since: Instant,
    /// What its handshake was made with.
    tls: Option<Arc<ClientConfig>>,
}

/// The beginning of an answer.
struct Begun {
    exchange: Exchange,
    response: http::Response<HyperBody>,
    authorization: Option<HeaderValue>,
    tls: Option<Arc<ClientConfig>>,
    sent_at: SystemTime,
    received_at: SystemTime,
}

impl fmt::Debug for StandingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingRequest")
            .field("url", &masked(&self.url))
            .field("pooled", &self.pooled)
            .field("connected", &self.idle.is_some())
            .finish_non_exhaustive()
    }
}

impl StandingRequest {
    pub(crate) fn new(client: Client, url: &Url, mut headers: HeaderMap) -> Result<Self, NetError> {
        check_url(url)?;
        let mut url = url.clone();
        url.set_fragment(None);
        take_userinfo(&mut url, &mut headers)?;
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
        let inner = &client.inner;
        let unusable = |why: String| NetError::Url { url: masked(&url), why };
        let uri = |text: &str| text.parse::<Uri>().map_err(|e| unusable(e.to_string()));
        let (Some(real), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(unusable("it has no host or no port".to_owned()));
        };
        let host = url.port().map_or_else(|| real.to_string(), |p| format!("{real}:{p}"));
        let name = match (url.scheme(), inner.config.tls.server_name.as_deref().filter(|n| !n.is_empty())) {
            ("https", Some(name)) => Some(tls::server_name(name)?),
            ("https", None) => Some(match &real {
                Host::Domain(domain) => ServerName::try_from((*domain).to_owned())
                    .map_err(|_| unusable("its host is not a DNS name".to_owned()))?,
                Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
                Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
            }),
            _ => None,
        };
        Ok(Self {
            host: header_value(&host, "host")?,
            user_agent: header_value(&inner.options.user_agent, "user-agent")?,
            path: uri(&url[url::Position::BeforePath..])?,
            to: uri(&format!("{}://{real}:{port}", url.scheme()))?,
            name,
            pooled: inner.connections.proxy_for(&url).is_some(),
            idle: None,
            headers,
            url,
            client,
        })
    }

    /// The client whose configuration and identity it uses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The headers that go with every request.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Says when the next request is to be expected: a connection that would be idle for too long until then is closed now.
    pub fn rest(&mut self, until_next: Duration) {
        if until_next >= self.client.inner.options.pool_idle_timeout {
            self.idle = None;
        }
    }

    /// Sends the request and reads the whole answer into `buf`, which is emptied first and holds the decompressed body
    /// after; a buffer that refuses room makes the body too large. Limits, redirects and errors are those of [`Client::send`]. A future that is dropped closes the connection.
    pub async fn send_into(
        &mut self,
        timeout: Duration,
        body_limit: u64,
        buf: &mut dyn BodyBuffer,
    ) -> Result<ReplyHead, NetError> {
        buf.bytes().clear();
        let mut phase = CONNECTING;
        match tokio::time::timeout(timeout, self.send(body_limit, buf, &mut phase)).await {
            Ok(result) => result,
            Err(_) => Err(NetError::Timeout { host: place(&self.url), after: timeout, phase }),
        }
    }

    async fn send(
        &mut self,
        limit: u64,
        buf: &mut dyn BodyBuffer,
        phase: &mut &'static str,
    ) -> Result<ReplyHead, NetError> {
        let client = self.client.clone();
        let inner = &*client.inner;
        let mut asked_for_token = false;
        while !self.pooled {
            let begun = match self.begin().await {
                Ok(begun) => begun,
                Err(NoLine::OnlyHttp2(_)) if inner.config.enable_http2 => {
                    self.pooled = true;
                    break;
                }
                Err(NoLine::OnlyHttp2(error) | NoLine::Failed(error)) => return Err(error),
            };
            let (status, headers) = (begun.response.status(), begun.response.headers());
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                inner.doubt_secrets();
            }
            let token_refused = status == StatusCode::UNAUTHORIZED
                && !asked_for_token
                && !self.headers.contains_key(header::AUTHORIZATION);
            if token_refused && let (Some(tokens), Some(refused)) = (&inner.tokens, &begun.authorization) {
                tokens.refused(refused);
                asked_for_token = true;
                self.discard(begun).await;
                continue;
            }
            let follow = inner.config.follow_redirects && !is_signed(&self.headers);
            if follow && redirect(status, headers, &self.url).is_some() {
                self.discard(begun).await;
                break;
            }
            *phase = READING;
            return self.read(begun, limit, buf).await;
        }
        let mut request = Request::new(Bytes::new());
        request.headers_mut().clone_from(&self.headers);
        // Large and rare: not part of every scrape's future.
        Box::pin(inner.follow(request, self.url.clone(), limit, buf, phase)).await
    }

    /// Sends the request over the idle connection, or, where the far end has closed that meanwhile, over a new one.
    async fn begin(&mut self) -> Result<Begun, NoLine> {
        let client = self.client.clone();
        let inner = &*client.inner;
        let tls = match self.name.is_some().then(|| inner.connections.tls()) {
            Some(tls) => Some(tls.map_err(NoLine::Failed)?),
            None => None,
        };
        let usable = |idle: &Idle| {
            idle.since.elapsed() < inner.options.pool_idle_timeout
                && match (&idle.tls, &tls) {
                    (Some(then), Some(now)) => Arc::ptr_eq(then, now),
                    _ => true,
                }
        };
        let mut idle = self.idle.take().filter(usable);
        loop {
            let request = self.request().await.map_err(NoLine::Failed)?;
            let authorization = match inner.tokens {
                Some(_) => request.headers().get(header::AUTHORIZATION).cloned(),
                None => None,
            };
            let (stream, reused) = match idle.take() {
                Some(idle) => (idle.stream, true),
                None => (inner.dialer.dial(&self.to, tls.clone().zip(self.name.clone()), &self.url).await?, false),
            };
            let sent_at = SystemTime::now();
            match Exchange::begin(stream, request).await {
                Ok((exchange, response)) => {
                    let received_at = SystemTime::now();
                    return Ok(Begun { exchange, response, authorization, tls, sent_at, received_at });
                }
                Err(unanswered) if reused && unanswered.untouched => {}
                Err(unanswered) => return Err(NoLine::Failed(classify_exchange(&unanswered.error, &self.url))),
            }
        }
    }

    async fn request(&self) -> Result<Request<Empty<Bytes>>, NetError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        self.client.inner.prepare(headers).await?;
        headers.entry(header::HOST).or_insert_with(|| self.host.clone());
        headers.entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if self.client.inner.config.disable_keepalives {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(request)
    }

    async fn read(&mut self, begun: Begun, limit: u64, buf: &mut dyn BodyBuffer) -> Result<ReplyHead, NetError> {
        let Begun { mut exchange, response, tls, sent_at, received_at, .. } = begun;
        let (head, mut body) = response.into_parts();
        let declared = body.size_hint().exact().unwrap_or(0);
        let mut incoming = Incoming::begin(head.status, head.headers, declared, &self.url, limit, buf)?;
        let complete = loop {
            match exchange.frame(&mut body).await {
                None => break true,
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(bytes) if !incoming.push(bytes)? => break false,
                    _ => {}
                },
                Some(Err(e)) => {
                    incoming.lost(classify_exchange(&e, &self.url))?;
                    break false;
                }
            }
        };
        let head = incoming.end(sent_at, received_at)?;
        if complete {
            self.keep(exchange, tls).await;
        }
        Ok(head)
    }

    /// Reads past an answer that is not the last, if that is quickly done.
    async fn discard(&mut self, begun: Begun) {
        let Begun { mut exchange, response, tls, .. } = begun;
        let mut body = response.into_body();
        if body.size_hint().exact().is_none_or(|length| length > REDIRECT_BODY) {
            return;
        }
        while let Some(frame) = exchange.frame(&mut body).await {
            if frame.is_err() {
                return;
            }
        }
        self.keep(exchange, tls).await;
    }

    async fn keep(&mut self, exchange: Exchange, tls: Option<Arc<ClientConfig>>) {
        if self.client.inner.config.disable_keepalives {
            return;
        }
        self.idle = exchange.end().await.map(|stream| Idle { stream, since: Instant::now(), tls });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Nothing can listen on ports 80 and 443 in a test, so that this is seen from inside.
    #[test]
    fn the_host_header_names_the_port_only_where_it_is_not_the_usual_one() {
        let client = Client::new(&crate::HttpClientConfig::default(), crate::ClientOptions::default()).unwrap();
        for (url, host, to) in [
            ("http://h.example/m", "h.example", "http://h.example:80/"),
            ("http://h.example:80/m", "h.example", "http://h.example:80/"),
            ("https://h.example:443/m", "h.example", "https://h.example:443/"),
            ("https://h.example:80/m", "h.example:80", "https://h.example:80/"),
            ("http://[2001:db8::1]/m", "[2001:db8::1]", "http://[2001:db8::1]:80/"),
            ("http://[2001:db8::1]:443/m", "[2001:db8::1]:443", "http://[2001:db8::1]:443/"),
        ] {
            let request = client.standing(&url.parse().unwrap(), HeaderMap::new()).unwrap();
            assert_eq!((request.host.to_str().unwrap(), request.to.to_string().as_str()), (host, to), "{url}");
        }
    }
}
