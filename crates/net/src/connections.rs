//! The pooled connections of a client: proxy, TLS, and the name in the handshake, built anew when certificate files change.
//!
//! Knows no request beyond its URL. Keeps true: which proxy carries a request is decided in one place; files that cannot be
//! used leave the former connections in use; where there are none yet, no https request is sent at all.

use std::{
    collections::HashMap,
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::{Mutex, RwLock};
use url::{Host, Url};

use crate::{
    ClientOptions, HttpClientConfig, NetError, ProxyConfig,
    client::{header_name, header_value},
    error::masked,
    file_stamps::FileStamps,
    proxy::{self, NoProxy, ProxyEnvironment},
    tls::{self, VerifiedName},
};

/// One client's connections.
#[derive(Debug)]
pub(crate) struct Connections {
    config: HttpClientConfig,
    options: ClientOptions,
    carrier: Arc<Carrier>,
    slot: RwLock<Slot>,
}

/// The connections built from one state of the files.
#[derive(Debug)]
struct Slot {
    built: Arc<Built>,
    stamps: FileStamps,
    /// Of what is kept in stores.
    stored: u64,
    checked: Instant,
}

#[derive(Debug)]
struct Built {
    plain: reqwest::Client,
    /// The same certificates, keys and versions without the offer of HTTP/2.
    tls: Arc<rustls::ClientConfig>,
    /// With `server_name`: one client per real address, whose URL host is that name.
    named: Mutex<HashMap<(String, u16), reqwest::Client>>,
    /// What keeps it from making TLS connections: a certificate or key that could not be read.
    lacking: Option<String>,
}

impl Built {
    fn new(
        config: &HttpClientConfig,
        options: &ClientOptions,
        carrier: &Arc<Carrier>,
        may_lack: bool,
    ) -> Result<Self, NetError> {
        let server_name = config.tls.server_name.as_deref().filter(|n| !n.is_empty());
        if let Some(name) = server_name {
            tls::server_name(name)?;
        }
        let name = server_name.map_or(VerifiedName::OfUrl, VerifiedName::Fixed);
        let stands_in = |what: String| Ok((tls::trusting_nobody()?, Some(what)));
        let (mut tls, lacking) = match tls::missing(&config.tls) {
            Some(error) => stands_in(error.to_string())?,
            None => match tls::client_config(&config.tls, config.enable_http2, name) {
                Ok(tls) => (tls, None),
                Err(NetError::File { what, .. }) if may_lack => stands_in(what)?,
                Err(error) => return Err(error),
            },
        };
        let plain = build(config, options, carrier, None, tls.clone())?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { plain, tls: Arc::new(tls), named: Mutex::default(), lacking })
    }

    fn whole(&self) -> Result<(), NetError> {
        let Some(what) = self.lacking.clone() else { return Ok(()) };
        Err(NetError::File { source: io::Error::other(what.clone()), what })
    }
}

/// Past this many addresses under one `server_name` the connections are thrown away and made anew.
const NAMED_CLIENTS: usize = 4096;

/// Which proxy, decided per request.
pub(crate) enum Carrier {
    Direct,
    Environment(ProxyEnvironment),
    Fixed { url: Url, no_proxy: NoProxy, headers: HeaderMap },
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("Direct"),
            Self::Environment(environment) => environment.fmt(f),
            Self::Fixed { url, .. } => write!(f, "Fixed({})", masked(url)),
        }
    }
}

impl Carrier {
    pub(crate) fn new(config: &ProxyConfig, options: &ClientOptions) -> Result<Self, NetError> {
        Ok(match config {
            ProxyConfig::None => Self::Direct,
            ProxyConfig::Environment => {
                Self::Environment(options.proxy_environment.clone().unwrap_or_else(ProxyEnvironment::of_process))
            }
            ProxyConfig::Url { url, no_proxy, connect_headers } => {
                let Some(url) = proxy::parse_proxy(url.as_str()) else {
                    let what = format!(
                        "proxy_url {} is not usable; write http://host:port, https:// or socks5://",
                        masked(url)
                    );
                    return Err(NetError::Config { what });
                };
                let mut headers = HeaderMap::new();
                for (name, value) in connect_headers {
                    let (name, mut value) =
                        (header_name(name, "proxy_connect_header")?, header_value(value.expose(), name)?);
                    value.set_sensitive(true);
                    headers.append(name, value);
                }
                Self::Fixed { url, no_proxy: NoProxy::parse(no_proxy), headers }
            }
        })
    }

    /// What the configuration adds to CONNECT.
    pub(crate) fn connect_headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let headers = match self {
            Self::Fixed { headers, .. } => Some(headers),
            _ => None,
        };
        headers.into_iter().flatten()
    }

    pub(crate) fn proxy_for(&self, url: &Url) -> Option<Url> {
        match self {
            Self::Direct => None,
            Self::Environment(environment) => environment.proxy_for(url),
            Self::Fixed { url: proxy, no_proxy, .. } => (!no_proxy.matches(url)).then(|| proxy.clone()),
        }
    }
}

impl Connections {
    pub(crate) fn new(config: &HttpClientConfig, options: &ClientOptions) -> Result<Self, NetError> {
        let carrier = Arc::new(Carrier::new(&config.proxy, options)?);
        let stamps = FileStamps::take(tls::files(&config.tls));
        let stored = tls::stored_version(&config.tls);
        let built = Arc::new(Built::new(config, options, &carrier, options.files_may_be_wrong)?);
        let slot = RwLock::new(Slot { built, stamps, stored, checked: Instant::now() });
        Ok(Self { config: config.clone(), options: options.clone(), carrier, slot })
    }

    /// The proxy that carries requests to `url`.
    pub(crate) fn proxy_for(&self, url: &Url) -> Option<Url> {
        self.carrier.proxy_for(url)
    }

    /// What a TLS handshake without HTTP/2 uses now. Another `Arc` than before means other files.
    pub(crate) fn tls(&self) -> Result<Arc<rustls::ClientConfig>, NetError> {
        let built = self.current();
        built.whole()?;
        Ok(Arc::clone(&built.tls))
    }

    /// The client for one request, and the URL to give it; may set the request's `Host`.
    pub(crate) fn choose(&self, url: &Url, headers: &mut HeaderMap) -> Result<(reqwest::Client, Url), NetError> {
        let built = self.current();
        if url.scheme() == "https" {
            // A store's reason changes while it is asked.
            tls::missing(&self.config.tls).map_or_else(|| built.whole(), Err)?;
        }
        match self.renamed(&built, url, headers)? {
            Some(chosen) => Ok(chosen),
            None => Ok((built.plain.clone(), url.clone())),
        }
    }

    /// With `server_name`, the name must be in the handshake and in the verification while the connection goes to the
    /// URL's own address: the request is sent to a URL of that name, resolved to the real host, with the real `Host`.
    /// Through a proxy (which would look the name up itself) only the verification uses the name.
    fn renamed(
        &self,
        built: &Built,
        url: &Url,
        headers: &mut HeaderMap,
    ) -> Result<Option<(reqwest::Client, Url)>, NetError> {
        let Some(name) = self.config.tls.server_name.as_deref().filter(|n| !n.is_empty()) else {
            return Ok(None);
        };
        let is_dns_name = matches!(Host::parse(name), Ok(Host::Domain(_)));
        let (Some(real), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Ok(None);
        };
        let proxied = || self.proxy_for(url).is_some();
        if url.scheme() != "https" || !is_dns_name || real == Host::Domain(name) || proxied() {
            return Ok(None);
        }
        let mut target = url.clone();
        target
            .set_host(Some(name))
            .map_err(|e| NetError::Config { what: format!("tls_config.server_name {name:?}: {e}") })?;
        if !headers.contains_key(header::HOST) {
            let host = url.port().map_or_else(|| real.to_string(), |p| format!("{real}:{p}"));
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
        let tls = rustls::ClientConfig::clone(&built.tls);
        let client = build(&self.config, &self.options, &self.carrier, Some(&key.0), tls)?;
        let mut named = built.named.lock();
        if named.len() >= NAMED_CLIENTS {
            named.clear();
        }
        named.insert(key, client.clone());
        Ok(Some((client, target)))
    }

    /// The connections of the newest readable state of the files.
    fn current(&self) -> Arc<Built> {
        let stored = tls::stored_version(&self.config.tls);
        let due = |slot: &Slot| {
            let files_due = !slot.stamps.is_empty() && slot.checked.elapsed() >= self.options.file_check;
            files_due || slot.stored != stored
        };
        {
            let slot = self.slot.read();
            if !due(&slot) {
                return Arc::clone(&slot.built);
            }
        }
        let mut slot = self.slot.write();
        if !due(&slot) {
            return Arc::clone(&slot.built);
        }
        slot.checked = Instant::now();
        let now = slot.stamps.again();
        if now != slot.stamps || stored != slot.stored {
            let had_none = slot.built.lacking.is_some();
            match Built::new(&self.config, &self.options, &self.carrier, had_none && self.options.files_may_be_wrong) {
                Ok(built) => {
                    if built.lacking.is_none() {
                        tracing::info!("certificate files changed; new connections use them");
                    }
                    slot.built = Arc::new(built);
                }
                // Half-written files are common during rotation; the next change is looked at again.
                Err(error) => {
                    tracing::warn!(%error, "certificate files changed but cannot be used; the old ones stay in use")
                }
            }
            slot.stamps = now;
            slot.stored = stored;
        }
        Arc::clone(&slot.built)
    }
}

fn build(
    config: &HttpClientConfig,
    options: &ClientOptions,
    carrier: &Arc<Carrier>,
    fixed_host: Option<&str>,
    tls: rustls::ClientConfig,
) -> Result<reqwest::Client, NetError> {
    // Under another name HTTP/2 would send that name as its authority; HTTP/1.1 sends the `Host` it is given.
    let http2 = config.enable_http2 && fixed_host.is_none();
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(options.pool_idle_timeout)
        .pool_max_idle_per_host(if config.disable_keepalives { 0 } else { options.pool_max_idle_per_host })
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_gzip()
        .no_deflate()
        .no_zstd()
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(60));
    if options.http2_only {
        builder = builder.http2_prior_knowledge();
    } else if !http2 {
        builder = builder.http1_only();
    }
    if let Some(socket) = &options.unix_socket {
        builder = builder.unix_socket(socket.as_path());
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
