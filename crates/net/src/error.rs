//! What can go wrong on the wire, said so that a tired person can act on it.
//!
//! Keeps true: no message holds a user name, a password, a query string or a header value; places are `host:port`.

use std::{error::Error, fmt, io, time::Duration};

use url::Url;

/// One failed exchange, or a client that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The URL cannot be called.
    #[error("cannot call {url}: {why}")]
    Url {
        /// The URL without user name, password and query.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Certificates, keys, headers or a proxy address are unusable.
    #[error("{what}")]
    Config {
        /// What was being read, what is wrong, what to change.
        what: String,
    },
    /// A file named by the configuration cannot be read now (it may be readable later).
    #[error("{what}")]
    File {
        /// What the file is for and its path.
        what: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The name does not resolve.
    #[error("cannot find the address of {host}: {detail}; check the host name in the URL and this machine's DNS")]
    Dns {
        /// The host that was looked up.
        host: String,
        /// The resolver's reason.
        detail: String,
    },
    /// No connection.
    #[error("cannot connect to {host}: {detail}")]
    Connect {
        /// `host:port`.
        host: String,
        /// The operating system's reason.
        detail: String,
    },
    /// The TLS handshake failed.
    #[error("TLS with {host} failed: {detail}")]
    Tls {
        /// `host:port`.
        host: String,
        /// What failed and what to change.
        detail: String,
    },
    /// The proxy did not carry the request.
    #[error("proxy {proxy} did not connect us to {host}: {detail}")]
    Proxy {
        /// The proxy, as `scheme://host:port`.
        proxy: String,
        /// `host:port` of the destination.
        host: String,
        /// What the proxy said.
        detail: String,
    },
    /// The whole attempt took longer than allowed.
    #[error("no complete answer from {host} within {} ({phase})", Seconds(*.after))]
    Timeout {
        /// `host:port`.
        host: String,
        /// The limit.
        after: Duration,
        /// What it was doing when the time ran out.
        phase: &'static str,
    },
    /// The answer's body (decompressed) is larger than the caller accepts.
    #[error("the answer of {host} is larger than {limit} bytes and was not read further")]
    BodyTooLarge {
        /// `host:port`.
        host: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The answer's body is not what its `Content-Encoding` says.
    #[error("the answer of {host} cannot be decompressed as {encoding}: {detail}")]
    Decode {
        /// `host:port`.
        host: String,
        /// The encoding the answer named.
        encoding: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// The far end broke HTTP, or the connection broke in the middle.
    #[error("the exchange with {host} broke: {detail}")]
    Protocol {
        /// `host:port`.
        host: String,
        /// What broke.
        detail: String,
    },
    /// Too many redirects, or one that cannot be followed.
    #[error("{host} redirected: {detail}")]
    Redirect {
        /// `host:port`.
        host: String,
        /// Where to and why not.
        detail: String,
    },
    /// The OAuth 2.0 token endpoint gave no token.
    #[error("no OAuth2 token from {host}: {detail}")]
    Token {
        /// The token endpoint.
        host: String,
        /// What it said, without secrets.
        detail: String,
    },
    /// A listening server could not start or could not be set up.
    #[error("{what}")]
    Server {
        /// What was being done.
        what: String,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl NetError {
    /// A short stable word for metrics and tests.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Config { .. } => "config",
            Self::File { .. } => "file",
            Self::Dns { .. } => "dns",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Proxy { .. } => "proxy",
            Self::Timeout { .. } => "timeout",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Decode { .. } => "decode",
            Self::Protocol { .. } => "protocol",
            Self::Redirect { .. } => "redirect",
            Self::Token { .. } => "token",
            Self::Server { .. } => "server",
        }
    }

    /// True when the time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// True when no byte of the request can have reached the far end.
    pub fn is_before_sending(&self) -> bool {
        matches!(
            self,
            Self::Url { .. }
                | Self::Config { .. }
                | Self::File { .. }
                | Self::Dns { .. }
                | Self::Connect { .. }
                | Self::Tls { .. }
                | Self::Proxy { .. }
                | Self::Token { .. }
        )
    }
}

/// A duration as people write it in the configuration: `30s`, `1.5s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

/// `host:port` of a URL: all of it that may appear in a message.
pub(crate) fn place(url: &Url) -> String {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        _ => url.scheme().to_owned(),
    }
}

/// The URL without user name, password, query and fragment.
pub fn masked(url: &Url) -> String {
    let mut url = url.clone();
    // Both refuse only URLs without a host, which carry no user name either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Sorts a transport error by the facts in its chain of sources.
pub(crate) fn classify(error: &reqwest::Error, url: &Url, proxy: Option<&Url>, connect_timeout: Duration) -> NetError {
    let host = place(url);
    let chain = chain(error);
    if let Some(tls) = find_tls(error) {
        return NetError::Tls { host, detail: tls_detail(tls, url) };
    }
    if error.is_connect() || error.is_dns() {
        if let Some(proxy) = proxy {
            let detail = proxy_detail(error, &chain);
            return NetError::Proxy { proxy: format!("{}://{}", proxy.scheme(), place(proxy)), host, detail };
        }
        if error.is_dns() {
            return NetError::Dns { host: url.host_str().unwrap_or_default().to_owned(), detail: last(&chain) };
        }
        if error.is_timeout() {
            return silent(url, connect_timeout);
        }
        return NetError::Connect { host, detail: connect_detail(error, &chain) };
    }
    if error.is_builder() {
        return NetError::Url { url: masked(url), why: last(&chain) };
    }
    interrupted(last(&chain), url)
}

/// Sorts what stopped the making of a connection without a proxy.
pub(crate) fn classify_connect(error: &(dyn Error + 'static), url: &Url, connect_timeout: Duration) -> NetError {
    if let Some(tls) = find_tls(error) {
        return NetError::Tls { host: place(url), detail: tls_detail(tls, url) };
    }
    let texts = texts(error);
    if io_kind(error) == Some(io::ErrorKind::TimedOut) {
        return silent(url, connect_timeout);
    }
    NetError::Connect { host: place(url), detail: connect_detail(error, &texts) }
}

/// Sorts what broke an exchange on a connection that was made.
pub(crate) fn classify_exchange(error: &hyper::Error, url: &Url) -> NetError {
    match find_tls(error) {
        Some(tls) => NetError::Tls { host: place(url), detail: tls_detail(tls, url) },
        None => interrupted(last(&texts(error)), url),
    }
}

/// Nobody answered the attempt to connect.
pub(crate) fn silent(url: &Url, connect_timeout: Duration) -> NetError {
    let seconds = Seconds(connect_timeout);
    let detail =
        format!("no answer within {seconds}; a firewall, a security group or a wrong address drops packets silently");
    NetError::Connect { host: place(url), detail }
}

fn interrupted(detail: String, url: &Url) -> NetError {
    let host = place(url);
    // TLS 1.3 servers refuse a client's certificate after the handshake, and HTTP/2 keeps only the text of that.
    if let Some((_, alert)) = detail.split_once("received fatal alert: ") {
        return NetError::Tls { host, detail: alert_detail(alert) };
    }
    NetError::Protocol { host, detail }
}

fn alert_detail(alert: &str) -> String {
    format!(
        "the far end broke off with alert {alert}; it may want a client certificate (tls_config.cert_file and \
         key_file), a newer TLS version, or another server_name"
    )
}

/// `reqwest::Error` prints the URL; its sources do not.
fn chain(error: &reqwest::Error) -> Vec<String> {
    error.source().map(texts).unwrap_or_default()
}

fn texts(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(e) = next {
        texts.push(e.to_string());
        next = e.source();
        if texts.len() == 16 {
            break;
        }
    }
    texts
}

fn last(chain: &[String]) -> String {
    chain.last().cloned().unwrap_or_else(|| "no reason given".to_owned())
}

fn walk<'a>(error: &'a (dyn Error + 'static), visit: &mut dyn FnMut(&'a (dyn Error + 'static)) -> bool) {
    let mut next = Some(error);
    let mut steps = 0;
    while let Some(e) = next {
        if visit(e) || steps == 16 {
            return;
        }
        steps += 1;
        // `io::Error::source` skips the error it wraps; that one is what names TLS failures.
        next = match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
}

pub(crate) fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut found = None;
    walk(error, &mut |e| {
        found = e.downcast_ref::<rustls::Error>();
        found.is_some()
    });
    found
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut found = None;
    walk(error, &mut |e| {
        if let Some(io) = e.downcast_ref::<io::Error>() {
            found = Some(io.kind());
        }
        false
    });
    found
}

fn connect_detail(error: &(dyn Error + 'static), chain: &[String]) -> String {
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => {
            "connection refused; nothing listens there (is it started? is the port right?)".to_owned()
        }
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            format!("{}; this machine has no route there", last(chain))
        }
        // A server that talks plain HTTP, or a middlebox, hangs up in the middle of the handshake.
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
            format!("{}; the far end hung up while the connection was being made", last(chain))
        }
        _ => last(chain),
    }
}

fn proxy_detail(error: &reqwest::Error, chain: &[String]) -> String {
    let text = chain.join(": ");
    if text.contains("proxy authorization required") || text.contains("proxy authentication required") {
        return "it wants a user name and password (407); put them in the proxy's URL".to_owned();
    }
    if error.is_dns() {
        return format!("the proxy's name does not resolve ({})", last(chain));
    }
    if error.is_timeout() {
        return "no answer from it in time".to_owned();
    }
    if io_kind(error) == Some(io::ErrorKind::ConnectionRefused) {
        return "connection refused; nothing listens at the proxy's address".to_owned();
    }
    if text.contains("unsuccessful") {
        return "it refused to open a tunnel; the proxy's rules or its log say why".to_owned();
    }
    last(chain)
}

fn tls_detail(error: &rustls::Error, url: &Url) -> String {
    use rustls::CertificateError as C;
    let host = url.host_str().unwrap_or_default();
    match error {
        rustls::Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => {
            "its certificate is signed by an authority that is not trusted here; \
             name that authority's certificate in tls_config.ca_file, or in SSL_CERT_FILE for the whole process \
             (a proxy that opens TLS signs with its own authority)"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            format!("its certificate has expired, or this machine's clock is wrong ({error})")
        }
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            format!("its certificate is not valid yet; this machine's clock is probably behind ({error})")
        }
        rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            format!(
                "its certificate is not for the name asked for ({error}); correct the URL or set tls_config.server_name (URL host: {host})"
            )
        }
        rustls::Error::AlertReceived(alert) => alert_detail(&format!("{alert:?}")),
        rustls::Error::InvalidMessage(_) => {
            format!("the far end does not speak TLS on this port ({error}); should the URL begin with http:// ?")
        }
        other => other.to_string(),
    }
}
