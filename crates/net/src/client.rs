//! The HTTP client of one destination, scrape pool or discovery: a bounded exchange of whole requests and answers.
//!
//! Does not retry, does not sign, does not queue. Keeps true: an answer's body never grows past the caller's limit; secrets
//! are read at each use; no secret and no signature follows a redirect to another origin.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use parking_lot::Mutex;
use url::Url;

use crate::{
    HttpAuth, HttpClientConfig, NetError, ProxyEnvironment, StandingRequest,
    answer::{Reply, ReplyHead, read_body, redirect},
    body::BodyBuffer,
    connections::Connections,
    dial::Dialer,
    error::{classify, masked, place},
    oauth2::TokenSource,
};

/// What shapes a client besides its configuration.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `User-Agent` of every request that brings none.
    pub user_agent: String,
    /// Limit for DNS, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
    /// An idle connection is closed after this.
    pub pool_idle_timeout: Duration,
    /// Idle connections kept per host.
    pub pool_max_idle_per_host: usize,
    /// The proxy variables, for `ProxyConfig::Environment`; `None` reads those of the process.
    pub proxy_environment: Option<ProxyEnvironment>,
    /// Certificate files are looked at no more often than this.
    pub file_check: Duration,
    /// Speak HTTP/2 from the first byte, also without TLS, as gRPC wants it.
    pub http2_only: bool,
    /// Every request goes to this local socket, whatever host its URL names.
    pub unix_socket: Option<PathBuf>,
    /// A client is made although a file of its certificates cannot be read, or is none: its https requests fail with the reason
    /// until the file is right.
    pub files_may_be_wrong: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("Sigpost/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            pool_idle_timeout: Duration::from_secs(300),
            pool_max_idle_per_host: 64,
            proxy_environment: None,
            file_check: Duration::from_secs(10),
            http2_only: false,
            unix_socket: None,
            files_may_be_wrong: false,
        }
    }
}

/// An HTTP client. Clones share connections, tokens and everything else.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: HttpClientConfig,
    pub(crate) options: ClientOptions,
    pub(crate) tokens: Option<TokenSource>,
    headers: Vec<(HeaderName, crate::SecretSource)>,
    pub(crate) connections: Connections,
    pub(crate) dialer: Dialer,
    /// The last address called, taken apart: most clients call one only.
    last: Mutex<Option<(Uri, Url)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last address may hold a user name and a password.
        f.debug_struct("Inner").field("config", &self.config).field("options", &self.options).finish_non_exhaustive()
    }
}

const REDIRECTS: usize = 10;
/// What was being done when the time ran out.
pub(crate) const CONNECTING: &str = "connecting, or waiting for the answer to begin";
pub(crate) const READING: &str = "reading the answer";

impl Client {
    /// Builds the client. Fails on unusable certificates, header names or proxy addresses, and when a certificate file
    /// cannot be read now (see [`ClientOptions::files_may_be_wrong`]).
    pub fn new(config: &HttpClientConfig, options: ClientOptions) -> Result<Self, NetError> {
        let connections = Connections::new(config, &options)?;
        let tokens = match &config.auth {
            Some(HttpAuth::OAuth2(oauth2)) => Some(TokenSource::new(oauth2, &options)?),
            _ => None,
        };
        let headers = config
            .headers
            .iter()
            .map(|(name, source)| Ok((header_name(name, "headers")?, source.clone())))
            .collect::<Result<Vec<_>, NetError>>()?;
        let dialer = Dialer::new(options.connect_timeout);
        let (config, last) = (config.clone(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { config, options, tokens, headers, connections, dialer, last }) })
    }

    /// Adds the configured headers and `HttpAuth` to a request, unless it has them already. `send` does the same; a
    /// caller that signs calls this first, so that the signature sees the final headers.
    pub async fn prepare(&self, request: &mut Request<Bytes>) -> Result<(), NetError> {
        self.inner.prepare(request.headers_mut()).await
    }

    /// Sends a request and reads the whole answer: within `timeout` (everything included), at most `body_limit` bytes
    /// of decompressed body. A longer body is an error for a success, and cut for a refusal, whose status matters more.
    /// 3xx answers are followed when `follow_redirects` says so, except for requests signed for one host (SigV4).
    pub async fn send(&self, request: Request<Bytes>, timeout: Duration, body_limit: u64) -> Result<Reply, NetError> {
        let mut body = Vec::new();
        let head = self.exchange(request, timeout, body_limit, &mut body).await?;
        let ReplyHead { status, headers, truncated, sent_at, received_at, .. } = head;
        Ok(Reply { status, headers, body: body.into(), truncated, sent_at, received_at })
    }

    /// As [`send`](Self::send), with the body in the caller's buffer, which says whether it is decompressed on the way.
    pub async fn send_into(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        body_limit: u64,
        buf: &mut dyn BodyBuffer,
    ) -> Result<ReplyHead, NetError> {
        self.exchange(request, timeout, body_limit, buf).await
    }

    /// A GET that is sent again and again: what can be prepared is prepared once. `headers` go with every request; those of
    /// the configuration and `HttpAuth` are added each time. Fails where `url` cannot be called.
    pub fn standing(&self, url: &Url, headers: HeaderMap) -> Result<StandingRequest, NetError> {
        StandingRequest::new(self.clone(), url, headers)
    }

    /// True for clones of one client.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        limit: u64,
        buf: &mut dyn BodyBuffer,
    ) -> Result<ReplyHead, NetError> {
        let url = self.inner.url_of(request.uri())?;
        let mut phase = CONNECTING;
        let work = self.inner.follow(request, url.clone(), limit, buf, &mut phase);
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(NetError::Timeout { host: place(&url), after: timeout, phase }),
        }
    }
}

impl Inner {
    /// The address as a URL that can be called.
    pub(crate) fn url_of(&self, uri: &Uri) -> Result<Url, NetError> {
        if let Some((last, url)) = &*self.last.lock()
            && last == uri
        {
            return Ok(url.clone());
        }
        let url = Url::parse(&uri.to_string())
            .map_err(|e| NetError::Url { url: "the address".to_owned(), why: e.to_string() })?;
        check_url(&url)?;
        *self.last.lock() = Some((uri.clone(), url.clone()));
        Ok(url)
    }

    pub(crate) async fn prepare(&self, headers: &mut HeaderMap) -> Result<(), NetError> {
        for (name, source) in &self.headers {
            if !headers.contains_key(name) {
                let secret = loaded(source).await?;
                let mut value = header_value(secret.expose(), name.as_str())?;
                value.set_sensitive(true);
                headers.insert(name.clone(), value);
            }
        }
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        let mut value = match &self.config.auth {
            None => return Ok(()),
            Some(HttpAuth::Basic { username, password }) => {
                let username = loaded(username).await?;
                let password = match password {
                    Some(password) => Some(loaded(password).await?),
                    None => None,
                };
                basic(username.expose(), password.as_ref().map_or("", |p| p.expose()))?
            }
            Some(HttpAuth::Header { kind, credentials }) => {
                let credentials = loaded(credentials).await?;
                header_value(format!("{kind} {}", credentials.expose()).trim(), "authorization")?
            }
            Some(HttpAuth::OAuth2(_)) => match &self.tokens {
                Some(tokens) => tokens.header().await?,
                None => return Ok(()),
            },
        };
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(())
    }

    /// What of the configuration's secrets is kept in stores was refused, and may be another there by now.
    pub(crate) fn doubt_secrets(&self) {
        self.headers.iter().for_each(|(_, source)| source.doubt());
        match &self.config.auth {
            Some(HttpAuth::Basic { username, password }) => {
                username.doubt();
                password.iter().for_each(crate::SecretSource::doubt);
            }
            Some(HttpAuth::Header { credentials, .. }) => credentials.doubt(),
            Some(HttpAuth::OAuth2(oauth2)) => oauth2.client_secret.doubt(),
            None => {}
        }
    }

    /// Sends a request by the pooled connections, and on to where the answers point.
    pub(crate) async fn follow(
        &self,
        request: Request<Bytes>,
        mut url: Url,
        limit: u64,
        buf: &mut dyn BodyBuffer,
        phase: &mut &'static str,
    ) -> Result<ReplyHead, NetError> {
        let (parts, mut body) = request.into_parts();
        let (mut method, mut own) = (parts.method, parts.headers);
        take_userinfo(&mut url, &mut own)?;
        if !own.contains_key(header::ACCEPT_ENCODING) {
            own.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, zstd"));
        }
        let signed = is_signed(&own);
        // Whether there may be a second hop, which needs the headers again.
        let asks_for_tokens = self.tokens.is_some() && !own.contains_key(header::AUTHORIZATION);
        let once = !asks_for_tokens && (signed || !self.config.follow_redirects);
        let mut same_origin = true;
        let mut asked_for_token = false;
        let mut hops = 0;
        loop {
            let mut headers = if once { std::mem::take(&mut own) } else { own.clone() };
            if same_origin {
                self.prepare(&mut headers).await?;
            }
            let authorization = if asks_for_tokens { headers.get(header::AUTHORIZATION).cloned() } else { None };
            let (response, sent_at, received_at) = self.hop(&method, &url, headers, body.clone()).await?;
            let status = response.status();
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                self.doubt_secrets();
            }
            if status == StatusCode::UNAUTHORIZED
                && !asked_for_token
                && same_origin
                && let (Some(tokens), Some(refused)) = (&self.tokens, &authorization)
            {
                tokens.refused(refused);
                asked_for_token = true;
                continue;
            }
            let next =
                (self.config.follow_redirects && !signed).then(|| redirect(status, response.headers(), &url)).flatten();
            let Some(next) = next else {
                *phase = READING;
                return read_body(response, &url, limit, buf, sent_at, received_at).await;
            };
            hops += 1;
            let next = next?;
            if hops > REDIRECTS {
                return Err(NetError::Redirect {
                    host: place(&url),
                    detail: format!("more than {REDIRECTS} times, last to {}", masked(&next)),
                });
            }
            // 301 to 303 turn everything but GET and HEAD into a GET without a body, as browsers and Go do.
            if matches!(status.as_u16(), 301..=303) && method != Method::GET && method != Method::HEAD {
                method = Method::GET;
                body = Bytes::new();
                for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
                    own.remove(name);
                }
            }
            if (next.scheme(), next.host(), next.port_or_known_default())
                != (url.scheme(), url.host(), url.port_or_known_default())
            {
                same_origin = false;
                for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
                    own.remove(name);
                }
            }
            url = next;
        }
    }

    /// One request to one place.
    pub(crate) async fn hop(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(reqwest::Response, SystemTime, SystemTime), NetError> {
        let (client, target) = self.connections.choose(url, &mut headers)?;
        if self.config.disable_keepalives && !self.config.enable_http2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let mut request = reqwest::Request::new(method.clone(), target);
        *request.headers_mut() = headers;
        if !body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            *request.body_mut() = Some(body.into());
        }
        let sent_at = SystemTime::now();
        let response = client
            .execute(request)
            .await
            .map_err(|e| classify(&e, url, self.connections.proxy_for(url).as_ref(), self.options.connect_timeout))?;
        let received_at = SystemTime::now();
        // A proxy that forwards plain HTTP answers for itself with this status, and only proxies use it.
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = &self.connections.proxy_for(url)
        {
            let detail = "it wants a user name and password (407); put them in the proxy's URL".to_owned();
            return Err(NetError::Proxy {
                proxy: format!("{}://{}", proxy.scheme(), place(proxy)),
                host: place(url),
                detail,
            });
        }
        Ok((response, sent_at, received_at))
    }
}

/// A signature names its host and its path; elsewhere it is only a leak.
pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|v| v.as_bytes().starts_with(b"AWS4-"))
}

pub(crate) fn check_url(url: &Url) -> Result<(), NetError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(NetError::Url { url: masked(url), why: format!("scheme {} is not http or https", url.scheme()) });
    }
    if url.host().is_none() {
        return Err(NetError::Url { url: masked(url), why: "it has no host".to_owned() });
    }
    Ok(())
}

/// `https://user:pass@host/` means basic authentication; the user name and password leave the URL.
pub(crate) fn take_userinfo(url: &mut Url, headers: &mut HeaderMap) -> Result<(), NetError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    let decode = |text: &str| percent_decode(text);
    let value = basic(&decode(url.username()), &decode(url.password().unwrap_or_default()))?;
    headers.entry(header::AUTHORIZATION).or_insert(value);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(())
}

fn percent_decode(text: &str) -> String {
    // `form_urlencoded` would also turn `+` into a space, so it is protected first.
    let protected = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(protected.as_bytes()).map(|(k, _)| k.into_owned()).next().unwrap_or_default()
}

async fn loaded(source: &crate::SecretSource) -> Result<crate::Secret, NetError> {
    source.load().await.map_err(|source| NetError::File { what: source.to_string(), source })
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, NetError> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut value = header_value(&format!("Basic {pair}"), "authorization")?;
    value.set_sensitive(true);
    Ok(value)
}

pub(crate) fn header_name(name: &str, field: &str) -> Result<HeaderName, NetError> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| NetError::Config { what: format!("{field}: {name:?} is not a header name") })
}

pub(crate) fn header_value(value: &str, name: &str) -> Result<HeaderValue, NetError> {
    HeaderValue::from_str(value).map_err(|_| NetError::Config {
        what: format!(
            "the value of header {name} has characters that cannot be sent (a line break, or a control character)"
        ),
    })
}
