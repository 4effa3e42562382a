//! The HTTP client of one destination, scrape pool or discovery: a bounded exchange of whole requests and answers.
//!
//! Does not retry, does not sign, does not queue. Keeps true: an answer's body never grows past the caller's limit;
//! certificates, keys and roots are read again when their files change; secrets are read at each use.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use parking_lot::{Mutex, RwLock};
use url::{Host, Url};

use crate::{
    Answer, HttpAuth, HttpClientConfig, NetError, ProxyConfig,
    body::{self, BodyError, BodyReader},
    error::{classify, masked, place},
    file_stamps::FileStamps,
    oauth2::TokenSource,
    proxy::{self, NoProxy, ProxyEnvironment},
    tls::{self, VerifiedName},
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
        }
    }
}

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

/// An HTTP client. Clones share connections, tokens and everything else.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: HttpClientConfig,
    options: ClientOptions,
    carrier: Arc<Carrier>,
    tokens: Option<TokenSource>,
    headers: Vec<(HeaderName, crate::SecretSource)>,
    slot: RwLock<Slot>,
}

/// The connections built from one state of the files.
#[derive(Debug)]
struct Slot {
    built: Arc<Built>,
    stamps: FileStamps,
    checked: Instant,
}

#[derive(Debug)]
struct Built {
    plain: reqwest::Client,
    /// With `server_name`: one client per real address, whose URL host is that name.
    named: Mutex<HashMap<(String, u16), reqwest::Client>>,
}

/// Past this many addresses under one `server_name` the connections are thrown away and made anew.
const NAMED_CLIENTS: usize = 4096;
const REDIRECTS: usize = 10;

/// Which proxy, decided per request.
#[derive(Debug)]
enum Carrier {
    Direct,
    Environment(ProxyEnvironment),
    Fixed {
        url: Url,
        no_proxy: NoProxy,
        headers: HeaderMap,
    },
}

impl Carrier {
    fn new(config: &ProxyConfig, options: &ClientOptions) -> Result<Self, NetError> {
        Ok(match config {
            ProxyConfig::None => Self::Direct,
            ProxyConfig::Environment => Self::Environment(
                options
                    .proxy_environment
                    .clone()
                    .unwrap_or_else(ProxyEnvironment::of_process),
            ),
            ProxyConfig::Url {
                url,
                no_proxy,
                connect_headers,
            } => {
                let Some(url) = proxy::parse_proxy(url.as_str()) else {
                    let what = format!(
                        "proxy_url {} is not usable; write http://host:port, https:// or socks5://",
                        masked(url)
                    );
                    return Err(NetError::Config { what });
                };
                let mut headers = HeaderMap::new();
                for (name, value) in connect_headers {
                    let (name, value) = (
                        header_name(name, "proxy_connect_header")?,
                        header_value(value.expose(), name)?,
                    );
                    headers.append(name, value);
                }
                Self::Fixed {
                    url,
                    no_proxy: NoProxy::parse(no_proxy),
                    headers,
                }
            }
        })
    }

    fn proxy_for(&self, url: &Url) -> Option<Url> {
        match self {
            Self::Direct => None,
            Self::Environment(environment) => environment.proxy_for(url),
            Self::Fixed {
                url: proxy,
                no_proxy,
                ..
            } => (!no_proxy.matches(url)).then(|| proxy.clone()),
        }
    }
}

impl Client {
    /// Builds the client. Fails on unusable certificates, header names or proxy addresses, and when a certificate file
    /// cannot be read now.
    pub fn new(config: &HttpClientConfig, options: ClientOptions) -> Result<Self, NetError> {
        let carrier = Arc::new(Carrier::new(&config.proxy, &options)?);
        let tokens = match &config.auth {
            Some(HttpAuth::OAuth2(oauth2)) => Some(TokenSource::new(oauth2, &options)?),
            _ => None,
        };
        let headers = config
            .headers
            .iter()
            .map(|(name, source)| Ok((header_name(name, "headers")?, source.clone())))
            .collect::<Result<Vec<_>, NetError>>()?;
        let stamps = FileStamps::take(tls::files(&config.tls));
        let built = Arc::new(Built {
            plain: build(config, &options, &carrier, None)?,
            named: Mutex::default(),
        });
        let slot = RwLock::new(Slot {
            built,
            stamps,
            checked: Instant::now(),
        });
        Ok(Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                options,
                carrier,
                tokens,
                headers,
                slot,
            }),
        })
    }

    /// Adds the configured headers and `HttpAuth` to a request, unless it has them already. `send` does the same; a
    /// caller that signs calls this first, so that the signature sees the final headers.
    pub async fn prepare(&self, request: &mut Request<Bytes>) -> Result<(), NetError> {
        self.inner.prepare(request.headers_mut()).await
    }

    /// Sends a request and reads the whole answer: within `timeout` (everything included), at most `body_limit` bytes
    /// of decompressed body. A longer body is an error for a success, and cut for a refusal, whose status matters more.
    /// 3xx answers are followed when `follow_redirects` says so, except for requests signed for one host (SigV4).
    pub async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        body_limit: u64,
    ) -> Result<Reply, NetError> {
        let mut body = Vec::new();
        let head = self
            .exchange(
                request,
                timeout,
                body_limit,
                &mut body,
                "gzip, deflate, zstd",
            )
            .await?;
        let ReplyHead {
            status,
            headers,
            truncated,
            sent_at,
            received_at,
            ..
        } = head;
        Ok(Reply {
            status,
            headers,
            body: body.into(),
            truncated,
            sent_at,
            received_at,
        })
    }

    /// The same into a buffer that the caller keeps: it is emptied first and holds the decompressed body after.
    pub async fn send_into(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        body_limit: u64,
        buf: &mut Vec<u8>,
    ) -> Result<ReplyHead, NetError> {
        self.exchange(request, timeout, body_limit, buf, "gzip")
            .await
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        limit: u64,
        buf: &mut Vec<u8>,
        accept: &'static str,
    ) -> Result<ReplyHead, NetError> {
        buf.clear();
        let url = parse_url(&request)?;
        let mut phase = "connecting, or waiting for the answer to begin";
        let work = self
            .inner
            .follow(request, url.clone(), limit, buf, accept, &mut phase);
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(NetError::Timeout {
                host: place(&url),
                after: timeout,
                phase,
            }),
        }
    }
}

impl Inner {
    async fn prepare(&self, headers: &mut HeaderMap) -> Result<(), NetError> {
        for (name, source) in &self.headers {
            if !headers.contains_key(name) {
                let secret = source.read().map_err(|source| NetError::File {
                    what: source.to_string(),
                    source,
                })?;
                headers.insert(name.clone(), header_value(secret.expose(), name.as_str())?);
            }
        }
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        let read = |source: &crate::SecretSource| {
            source.read().map_err(|source| NetError::File {
                what: source.to_string(),
                source,
            })
        };
        let mut value = match &self.config.auth {
            None => return Ok(()),
            Some(HttpAuth::Basic { username, password }) => {
                let (username, password) =
                    (read(username)?, password.as_ref().map(read).transpose()?);
                basic(
                    username.expose(),
                    password.as_ref().map_or("", |p| p.expose()),
                )?
            }
            Some(HttpAuth::Header { kind, credentials }) => {
                let credentials = read(credentials)?;
                header_value(
                    format!("{kind} {}", credentials.expose()).trim(),
                    "authorization",
                )?
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

    async fn follow(
        &self,
        request: Request<Bytes>,
        mut url: Url,
        limit: u64,
        buf: &mut Vec<u8>,
        accept: &'static str,
        phase: &mut &'static str,
    ) -> Result<ReplyHead, NetError> {
        let (parts, mut body) = request.into_parts();
        let (mut method, mut own) = (parts.method, parts.headers);
        take_userinfo(&mut url, &mut own)?;
        if !own.contains_key(header::ACCEPT_ENCODING) {
            own.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
        }
        // A signature names its host and its path; elsewhere it is only a leak.
        let signed = own
            .get(header::AUTHORIZATION)
            .is_some_and(|v| v.as_bytes().starts_with(b"AWS4-"));
        let mut same_origin = true;
        let mut asked_for_token = false;
        let mut hops = 0;
        loop {
            let mut headers = own.clone();
            if same_origin {
                self.prepare(&mut headers).await?;
            }
            let authorization = headers.get(header::AUTHORIZATION).cloned();
            let (response, sent_at, received_at) =
                self.hop(&method, &url, headers, body.clone()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && !asked_for_token
                && same_origin
                && let (Some(tokens), Some(refused)) = (&self.tokens, &authorization)
                && !own.contains_key(header::AUTHORIZATION)
            {
                tokens.refused(refused);
                asked_for_token = true;
                continue;
            }
            let next = (self.config.follow_redirects && !signed)
                .then(|| redirect(status, response.headers(), &url))
                .flatten();
            let Some(next) = next else {
                *phase = "reading the answer";
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
            if matches!(status.as_u16(), 301..=303)
                && method != Method::GET
                && method != Method::HEAD
            {
                method = Method::GET;
                body = Bytes::new();
                for name in [
                    header::CONTENT_TYPE,
                    header::CONTENT_ENCODING,
                    header::CONTENT_LENGTH,
                ] {
                    own.remove(name);
                }
            }
            if (next.scheme(), next.host(), next.port_or_known_default())
                != (url.scheme(), url.host(), url.port_or_known_default())
            {
                same_origin = false;
                for name in [
                    header::AUTHORIZATION,
                    header::COOKIE,
                    header::PROXY_AUTHORIZATION,
                ] {
                    own.remove(name);
                }
            }
            url = next;
        }
    }

    /// One request to one place.
    async fn hop(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(reqwest::Response, SystemTime, SystemTime), NetError> {
        let proxy = self.carrier.proxy_for(url);
        let built = self.current();
        let (client, target) = match self.renamed(&built, url, proxy.is_some(), &mut headers)? {
            Some((client, target)) => (client, target),
            None => (built.plain.clone(), url.clone()),
        };
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
            .map_err(|e| classify(&e, url, proxy.as_ref(), self.options.connect_timeout))?;
        let received_at = SystemTime::now();
        // A proxy that forwards plain HTTP answers for itself with this status, and only proxies use it.
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(proxy) = &proxy
        {
            let detail =
                "it wants a user name and password (407); put them in the proxy's URL".to_owned();
            return Err(NetError::Proxy {
                proxy: format!("{}://{}", proxy.scheme(), place(proxy)),
                host: place(url),
                detail,
            });
        }
        Ok((response, sent_at, received_at))
    }

    /// With `server_name`, the name must be in the handshake and in the verification while the connection goes to the
    /// URL's own address: the request is sent to a URL of that name, resolved to the real host, with the real `Host`.
    /// Through a proxy (which would look the name up itself) only the verification uses the name.
    fn renamed(
        &self,
        built: &Built,
        url: &Url,
        proxied: bool,
        headers: &mut HeaderMap,
    ) -> Result<Option<(reqwest::Client, Url)>, NetError> {
        let Some(name) = self
            .config
            .tls
            .server_name
            .as_deref()
            .filter(|n| !n.is_empty())
        else {
            return Ok(None);
        };
        let is_dns_name = matches!(Host::parse(name), Ok(Host::Domain(_)));
        let (Some(real), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Ok(None);
        };
        if url.scheme() != "https" || proxied || !is_dns_name || real == Host::Domain(name) {
            return Ok(None);
        }
        let mut target = url.clone();
        target.set_host(Some(name)).map_err(|e| NetError::Config {
            what: format!("tls_config.server_name {name:?}: {e}"),
        })?;
        if !headers.contains_key(header::HOST) {
            let host = url
                .port()
                .map_or_else(|| real.to_string(), |p| format!("{real}:{p}"));
            headers.insert(header::HOST, header_value(&host, "host")?);
        }
        let address = match real {
            Host::Domain(d) => d.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let key = (address, port);
        if let Some(client) = built.named.lock().get(&key) {
            return Ok(Some((client.clone(), target)));
        }
        let client = build(&self.config, &self.options, &self.carrier, Some(&key.0))?;
        let mut named = built.named.lock();
        if named.len() >= NAMED_CLIENTS {
            named.clear();
        }
        named.insert(key, client.clone());
        Ok(Some((client, target)))
    }

    /// The connections of the newest readable state of the files.
    fn current(&self) -> Arc<Built> {
        {
            let slot = self.slot.read();
            if slot.stamps.is_empty() || slot.checked.elapsed() < self.options.file_check {
                return Arc::clone(&slot.built);
            }
        }
        let mut slot = self.slot.write();
        if slot.checked.elapsed() < self.options.file_check {
            return Arc::clone(&slot.built);
        }
        slot.checked = Instant::now();
        let now = slot.stamps.again();
        if now != slot.stamps {
            match build(&self.config, &self.options, &self.carrier, None) {
                Ok(plain) => {
                    tracing::info!("certificate files changed; new connections use them");
                    slot.built = Arc::new(Built {
                        plain,
                        named: Mutex::default(),
                    });
                }
                // Half-written files are common during rotation; the next change is looked at again.
                Err(error) => {
                    tracing::warn!(%error, "certificate files changed but cannot be used; the old ones stay in use")
                }
            }
            slot.stamps = now;
        }
        Arc::clone(&slot.built)
    }
}

fn build(
    config: &HttpClientConfig,
    options: &ClientOptions,
    carrier: &Arc<Carrier>,
    fixed_host: Option<&str>,
) -> Result<reqwest::Client, NetError> {
    let server_name = config.tls.server_name.as_deref().filter(|n| !n.is_empty());
    if let Some(name) = server_name {
        tls::server_name(name)?;
    }
    let name = server_name.map_or(VerifiedName::OfUrl, VerifiedName::Fixed);
    // Under another name HTTP/2 would send that name as its authority; HTTP/1.1 sends the `Host` it is given.
    let http2 = config.enable_http2 && fixed_host.is_none();
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(&config.tls, http2, name)?)
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(options.pool_idle_timeout)
        .pool_max_idle_per_host(if config.disable_keepalives {
            0
        } else {
            options.pool_max_idle_per_host
        })
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_gzip()
        .no_deflate()
        .no_zstd()
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(60));
    if !http2 {
        builder = builder.http1_only();
    }
    if let Some(host) = fixed_host {
        builder = builder.dns_resolver(FixedHost(host.into()));
    }
    // reqwest would read the environment by rules of its own otherwise.
    builder = builder.no_proxy();
    if !matches!(**carrier, Carrier::Direct) && fixed_host.is_none() {
        let chooser = Arc::clone(carrier);
        let mut proxy = reqwest::Proxy::custom(move |url| chooser.proxy_for(url));
        if let Carrier::Fixed { headers, .. } = &**carrier
            && !headers.is_empty()
        {
            proxy = proxy.headers(headers.clone());
        }
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|e| NetError::Config {
        what: format!(
            "the HTTP client cannot be built: {}",
            std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string)
        ),
    })
}

/// Resolves every name to the addresses of one host.
struct FixedHost(Arc<str>);

impl reqwest::dns::Resolve for FixedHost {
    fn resolve(&self, _name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let host = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

async fn read_body(
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
        return Err(NetError::BodyTooLarge {
            host: host(),
            limit,
        });
    }
    if encoding.is_none() {
        buf.reserve(usize::try_from(declared.min(limit).min(1 << 20)).unwrap_or_default());
    }
    let mut wire_bytes = 0u64;
    let mut truncated = false;
    let failed = |e: BodyError| match e {
        BodyError::TooLarge => NetError::BodyTooLarge {
            host: host(),
            limit,
        },
        BodyError::Decode { encoding, detail } => NetError::Decode {
            host: host(),
            encoding,
            detail,
        },
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
    Ok(ReplyHead {
        status,
        headers,
        truncated,
        wire_bytes,
        sent_at,
        received_at,
    })
}

fn redirect(status: StatusCode, headers: &HeaderMap, from: &Url) -> Option<Result<Url, NetError>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = headers.get(header::LOCATION)?;
    let fail = |detail: String| {
        Some(Err(NetError::Redirect {
            host: place(from),
            detail,
        }))
    };
    let Some(mut next) = location.to_str().ok().and_then(|l| from.join(l).ok()) else {
        return fail("to an address that is not a URL".to_owned());
    };
    if !matches!(next.scheme(), "http" | "https") || next.host().is_none() {
        return fail(format!("to {}, which is not HTTP", masked(&next)));
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return fail(format!(
            "from https to plain {}; set the URL to where it really is",
            masked(&next)
        ));
    }
    next.set_fragment(None);
    Some(Ok(next))
}

fn parse_url(request: &Request<Bytes>) -> Result<Url, NetError> {
    let text = request.uri().to_string();
    let url = Url::parse(&text).map_err(|e| NetError::Url {
        url: "the address".to_owned(),
        why: e.to_string(),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(NetError::Url {
            url: masked(&url),
            why: format!("scheme {} is not http or https", url.scheme()),
        });
    }
    if url.host().is_none() {
        return Err(NetError::Url {
            url: masked(&url),
            why: "it has no host".to_owned(),
        });
    }
    Ok(url)
}

/// `https://user:pass@host/` means basic authentication; the user name and password leave the URL.
fn take_userinfo(url: &mut Url, headers: &mut HeaderMap) -> Result<(), NetError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    let decode = |text: &str| percent_decode(text);
    let value = basic(
        &decode(url.username()),
        &decode(url.password().unwrap_or_default()),
    )?;
    headers.entry(header::AUTHORIZATION).or_insert(value);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(())
}

fn percent_decode(text: &str) -> String {
    // `form_urlencoded` would also turn `+` into a space, so it is protected first.
    let protected = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    url::form_urlencoded::parse(protected.as_bytes())
        .map(|(k, _)| k.into_owned())
        .next()
        .unwrap_or_default()
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, NetError> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut value = header_value(&format!("Basic {pair}"), "authorization")?;
    value.set_sensitive(true);
    Ok(value)
}

fn header_name(name: &str, field: &str) -> Result<HeaderName, NetError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| NetError::Config {
        what: format!("{field}: {name:?} is not a header name"),
    })
}

fn header_value(value: &str, name: &str) -> Result<HeaderValue, NetError> {
    HeaderValue::from_str(value).map_err(|_| NetError::Config {
        what: format!("the value of header {name} has characters that cannot be sent (a line break, or a control character)"),
    })
}
