//! What an HTTP client is made from: the "HTTP client block" of Prometheus, Loki and Grafana Agent files, already read.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use url::Url;

use crate::{Secret, SecretSource, StoredSecret, error::masked};

/// Everything that shapes one HTTP client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// At most one kind of authentication (SigV4 is not one of them: it is an `Authorize`).
    pub auth: Option<HttpAuth>,
    /// Certificates and verification.
    pub tls: TlsConfig,
    /// Which proxy, if any.
    pub proxy: ProxyConfig,
    /// Follow 3xx answers (default true).
    pub follow_redirects: bool,
    /// Offer HTTP/2 by ALPN (default true).
    pub enable_http2: bool,
    /// Close connections after each request (Agent's `http_disable_keepalives`).
    pub disable_keepalives: bool,
    /// Headers added to every request, after the protocol's own and before signing.
    pub headers: Vec<(String, SecretSource)>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            disable_keepalives: false,
            headers: Vec::new(),
        }
    }
}

/// `basic_auth`, `authorization` (and the old `bearer_token`), `oauth2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAuth {
    /// RFC 7617.
    Basic { username: SecretSource, password: Option<SecretSource> },
    /// `Authorization: <kind> <credentials>`.
    Header { kind: String, credentials: SecretSource },
    /// RFC 6749 client credentials grant.
    OAuth2(Box<OAuth2Config>),
}

/// RFC 6749 section 4.4.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuth2Config {
    pub client_id: String,
    pub client_secret: SecretSource,
    pub scopes: Vec<String>,
    pub token_url: Url,
    /// A parameter may have several values.
    pub endpoint_params: BTreeMap<String, Vec<String>>,
    /// Of a request for a token; `None`: 30 s.
    pub timeout: Option<Duration>,
    pub tls: TlsConfig,
    pub proxy: ProxyConfig,
}

/// The oldest and the newest version that is spoken; `None`: 1.2, and 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TlsVersions {
    pub min: Option<TlsVersion>,
    pub max: Option<TlsVersion>,
}

/// A PEM text or the file that holds it (read again when it changes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    Inline(Secret),
    File(PathBuf),
    /// Kept in a store; used anew when it changes.
    Stored(Arc<StoredSecret>),
}

/// `tls_config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Trusted roots instead of the system's (`SSL_CERT_FILE` is honoured for the latter).
    pub ca: Option<Pem>,
    /// Client certificate chain, leaf first.
    pub cert: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// Name to verify and send as SNI instead of the URL's host.
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

/// rustls speaks 1.2 and 1.3 only; `TLS10` and `TLS11` as a minimum mean 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Which proxy carries the requests.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum ProxyConfig {
    /// No proxy at all (the default of scrapes).
    #[default]
    None,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` (the default of destinations); never for loopback and link-local.
    Environment,
    /// `proxy_url` with its `no_proxy` list and CONNECT headers.
    Url { url: Url, no_proxy: String, connect_headers: Vec<(String, Secret)> },
}

impl fmt::Debug for OAuth2Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Endpoint parameters may be secrets, and a URL may hold a password.
        f.debug_struct("OAuth2Config")
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("token_url", &masked(&self.token_url))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Environment => f.write_str("Environment"),
            Self::Url { url, no_proxy, .. } => {
                f.debug_struct("Url").field("url", &masked(url)).field("no_proxy", no_proxy).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, ClientOptions, ProxyEnvironment};

    #[test]
    fn nothing_that_a_client_is_made_from_shows_a_secret() {
        let word = "not-a-real-secret";
        let url: Url = format!("http://user:{word}@proxy.example:3128/?key={word}").parse().unwrap();
        let environment = ProxyEnvironment::from_lookup(&|name| (name == "HTTPS_PROXY").then(|| url.to_string()));
        let connect_headers = vec![("x-key".to_owned(), Secret::new(word))];
        let proxy = ProxyConfig::Url { url: url.clone(), no_proxy: String::new(), connect_headers };
        let oauth2 = OAuth2Config {
            client_id: "id".into(),
            client_secret: SecretSource::Inline(Secret::new(word)),
            timeout: None,
            scopes: Vec::new(),
            token_url: url,
            endpoint_params: [("password".to_owned(), vec![word.to_owned()])].into(),
            tls: TlsConfig::default(),
            proxy: proxy.clone(),
        };
        for proxy in [proxy, ProxyConfig::Environment] {
            let auth = Some(HttpAuth::OAuth2(Box::new(oauth2.clone())));
            let headers = vec![("x-key".to_owned(), SecretSource::Inline(Secret::new(word)))];
            let config = HttpClientConfig { auth, proxy, headers, ..HttpClientConfig::default() };
            let proxy_environment = Some(environment.clone());
            let client = Client::new(&config, ClientOptions { proxy_environment, ..ClientOptions::default() }).unwrap();
            let shown = format!("{config:?} {client:?} {environment:?}");
            assert!(!shown.contains(word), "{shown}");
            assert!(shown.contains("proxy.example"), "{shown}");
        }
    }
}
