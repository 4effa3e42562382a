//! The HTTP client block: keys that scrapes, destinations and HTTP discovery share.

use std::collections::BTreeMap;

use net::{HttpAuth, HttpClientConfig, OAuth2Config, Pem, ProxyConfig, Secret, SecretSource, TlsConfig, TlsVersion};

use crate::block::{Block, Field, Shape};

/// The keys themselves; they stand among those of the block they belong to.
pub(super) const KEYS: &[&str] = &[
    "basic_auth",
    "authorization",
    "oauth2",
    "bearer_token",
    "bearer_token_file",
    "tls_config",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "follow_redirects",
    "enable_http2",
    "http_headers",
];

const PROXY_KEYS: &[&str] = &["proxy_url", "no_proxy", "proxy_from_environment", "proxy_connect_header"];

pub(super) const BASIC_AUTH: Shape =
    Shape { name: "basic_auth", keys: &[&["username", "username_file", "password", "password_file"]] };

pub(super) const AUTHORIZATION: Shape =
    Shape { name: "authorization", keys: &[&["type", "credentials", "credentials_file"]] };

pub(super) const OAUTH2: Shape = Shape {
    name: "oauth2",
    keys: &[
        &["client_id", "client_secret", "client_secret_file", "scopes", "token_url", "endpoint_params", "tls_config"],
        PROXY_KEYS,
    ],
};

/// `oauth2` of spans: that of the Collector's extension, and what others take.
pub(super) const OAUTH2_OF_TRACES: Shape = Shape {
    name: "traces.configs[].remote_write[].oauth2",
    keys: &[
        &["client_id", "client_secret", "client_secret_file", "scopes", "token_url", "endpoint_params", "tls_config"],
        &["timeout", "tls"],
        PROXY_KEYS,
    ],
};

/// The Collector's `configtls`.
pub(super) const TLS_OF_COLLECTOR: Shape = Shape {
    name: "oauth2.tls",
    keys: &[&[
        "ca_file",
        "ca_pem",
        "cert_file",
        "cert_pem",
        "key_file",
        "key_pem",
        "server_name_override",
        "insecure",
        "insecure_skip_verify",
        "min_version",
        "max_version",
        "reload_interval",
    ]],
};

pub(super) const TLS: Shape = Shape {
    name: "tls_config",
    keys: &[&[
        "ca",
        "cert",
        "key",
        "ca_file",
        "cert_file",
        "key_file",
        "server_name",
        "insecure_skip_verify",
        "min_version",
        "max_version",
    ]],
};

pub(super) const HTTP_HEADER: Shape = Shape { name: "http_headers.*", keys: &[&["values", "secrets", "files"]] };

/// Reads the client keys of `block`; `proxy` is what holds when no proxy key is given.
pub(super) fn read(block: &Block<'_>, proxy: ProxyConfig) -> HttpClientConfig {
    read_with(block, proxy, OAUTH2)
}

/// The same with the `oauth2` of traces.
pub(super) fn read_of_traces(block: &Block<'_>, proxy: ProxyConfig) -> HttpClientConfig {
    read_with(block, proxy, OAUTH2_OF_TRACES)
}

fn read_with(block: &Block<'_>, proxy: ProxyConfig, oauth2: Shape) -> HttpClientConfig {
    HttpClientConfig {
        auth: auth(block, oauth2),
        tls: block.block("tls_config", TLS).map(|b| tls(&b)).unwrap_or_default(),
        proxy: proxy_config(block, proxy),
        follow_redirects: block.flag("follow_redirects").unwrap_or(true),
        enable_http2: block.flag("enable_http2").unwrap_or(true),
        disable_keepalives: false,
        headers: headers(block),
    }
}

/// The keys of `block` that authenticate, of which at most one may be given.
pub(super) fn auth_keys_given<'k>(block: &Block<'_>, keys: &[&'k str]) -> Vec<&'k str> {
    keys.iter().copied().filter(|key| block.get(key).is_some()).collect()
}

fn auth(block: &Block<'_>, shape: Shape) -> Option<HttpAuth> {
    let given = auth_keys_given(block, &["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"]);
    if let [first, second, ..] = given[..] {
        block.error_at(
            second,
            format!("`{first}` and `{second}` are both given; a request has one kind of authentication"),
            None,
        );
    }
    let basic = block.block("basic_auth", BASIC_AUTH).map(|b| HttpAuth::Basic {
        username: b
            .secret_or_file("username", "username_file")
            .unwrap_or_else(|| SecretSource::Inline(Secret::new(""))),
        password: b.secret_or_file("password", "password_file"),
    });
    let header = block.block("authorization", AUTHORIZATION).and_then(|b| authorization(&b));
    let oauth2 = block.block("oauth2", shape).and_then(|b| oauth2(&b, shape.name == OAUTH2_OF_TRACES.name));
    let token = block.secret_or_file("bearer_token", "bearer_token_file");
    let bearer = token.map(|credentials| HttpAuth::Header { kind: "Bearer".into(), credentials });
    basic.or(header).or(oauth2).or(bearer)
}

fn authorization(block: &Block<'_>) -> Option<HttpAuth> {
    let kind = block.text("type").unwrap_or_else(|| "Bearer".into());
    if kind.eq_ignore_ascii_case("basic") {
        block.error_at(
            "type",
            "`type: basic` is not allowed here",
            Some("use `basic_auth` with username and password"),
        );
    }
    if kind.trim().contains(char::is_whitespace) {
        block.error_at("type", "`type` is one word, such as Bearer", None);
    }
    let credentials = block.secret_or_file("credentials", "credentials_file");
    if credentials.is_none() && block.raw("credentials").is_none() && block.raw("credentials_file").is_none() {
        block.warn("`authorization` has neither `credentials` nor `credentials_file`; requests go without it", None);
    }
    Some(HttpAuth::Header { kind: kind.trim().to_owned(), credentials: credentials? })
}

fn oauth2(block: &Block<'_>, of_traces: bool) -> Option<HttpAuth> {
    let client_id = block.identity_text(&["client_id"], true);
    if client_id.is_none() && block.raw("client_id").is_none() {
        block.error("`client_id` is missing in `oauth2`", None);
    }
    let client_secret = block.secret_or_file("client_secret", "client_secret_file");
    if client_secret.is_none() && block.raw("client_secret").is_none() && block.raw("client_secret_file").is_none() {
        block.error("`oauth2` has neither `client_secret` nor `client_secret_file`", None);
    }
    let token_url = block.required("token_url", "token_url: https://host/oauth2/token").and(block.url("token_url"));
    let mut endpoint_params = BTreeMap::new();
    for (name, field) in block.entries("endpoint_params") {
        let several = of_traces && field.is_list();
        let values = if several { block.reader.texts(&field) } else { block.reader.text(&field).into_iter().collect() };
        endpoint_params.insert(name.to_owned(), values);
    }
    let timeout = if of_traces { block.duration("timeout").filter(|timeout| !timeout.is_zero()) } else { None };
    let own_tls = if of_traces { block.block("tls", TLS_OF_COLLECTOR) } else { None }.map(|b| tls_of_collector(&b));
    if own_tls.is_some() && block.get("tls_config").is_some() {
        block.error_at("tls", "`tls` and `tls_config` are both given; give one of them", None);
    }
    let (scopes, tls, proxy) = (
        block.texts("scopes"),
        own_tls.or_else(|| block.block("tls_config", TLS).map(|b| tls(&b))).unwrap_or_default(),
        proxy_config(block, ProxyConfig::None),
    );
    Some(HttpAuth::OAuth2(Box::new(OAuth2Config {
        client_id: client_id?,
        client_secret: client_secret?,
        scopes,
        token_url: token_url?,
        endpoint_params,
        timeout,
        tls,
        proxy,
    })))
}

pub(super) fn tls(block: &Block<'_>) -> TlsConfig {
    let (ca, cert, key) = (pem(block, "ca", "ca_file"), pem(block, "cert", "cert_file"), pem(block, "key", "key_file"));
    match (&cert, &key) {
        (Some(_), None) => {
            block.error("`tls_config` has a client certificate but no key", Some("add key_file: /path/key.pem"))
        }
        (None, Some(_)) => {
            block.error("`tls_config` has a client key but no certificate", Some("add cert_file: /path/cert.pem"))
        }
        _ => {}
    }
    let (min_version, max_version) = tls_versions(block);
    TlsConfig {
        ca,
        cert,
        key,
        server_name: block.text("server_name"),
        insecure_skip_verify: block.flag("insecure_skip_verify").unwrap_or(false),
        min_version,
        max_version,
    }
}

fn tls_of_collector(block: &Block<'_>) -> TlsConfig {
    let pair = |key, file_key| pem(block, key, file_key);
    let (ca, cert, key) = (pair("ca_pem", "ca_file"), pair("cert_pem", "cert_file"), pair("key_pem", "key_file"));
    if cert.is_some() != key.is_some() {
        block.error("a client certificate and its key go together", Some("tls: {cert_file: ..., key_file: ...}"));
    }
    // The URL says whether there is TLS, and files are read again when they change.
    block.flag("insecure");
    block.duration("reload_interval");
    let (min_version, max_version) = tls_versions_of_collector(block);
    TlsConfig {
        ca,
        cert,
        key,
        server_name: block.text("server_name_override"),
        insecure_skip_verify: block.flag("insecure_skip_verify").unwrap_or(false),
        min_version,
        max_version,
    }
}

fn pem(block: &Block<'_>, key: &str, file_key: &str) -> Option<Pem> {
    block.secret_or_file(key, file_key).map(|source| match source {
        SecretSource::Inline(text) => Pem::Inline(text),
        SecretSource::File(path) => Pem::File(path),
        SecretSource::Stored(stored) => Pem::Stored(stored),
    })
}

/// `min_version` and `max_version`, which clients and our own server share.
pub(super) fn tls_versions(block: &Block<'_>) -> (Option<TlsVersion>, Option<TlsVersion>) {
    versions(block, &VERSIONS)
}

/// The same with the Collector's names beside those of Prometheus.
pub(super) fn tls_versions_of_collector(block: &Block<'_>) -> (Option<TlsVersion>, Option<TlsVersion>) {
    let own = [("1.0", None), ("1.1", None), ("1.2", Some(TlsVersion::Tls12)), ("1.3", Some(TlsVersion::Tls13))];
    versions(block, &[own, VERSIONS].concat())
}

const VERSIONS: [(&str, Option<TlsVersion>); 4] =
    [("TLS10", None), ("TLS11", None), ("TLS12", Some(TlsVersion::Tls12)), ("TLS13", Some(TlsVersion::Tls13))];

fn versions(block: &Block<'_>, names: &[(&str, Option<TlsVersion>)]) -> (Option<TlsVersion>, Option<TlsVersion>) {
    // The TLS library speaks 1.2 and 1.3: an older minimum is met anyway, an older maximum never.
    let min = block.choice("min_version", names).map(|version| version.unwrap_or(TlsVersion::Tls12));
    let max = block.choice("max_version", names);
    if max == Some(None) {
        block.error_at(
            "max_version",
            "`max_version` is below TLS12; sigpost speaks TLS 1.2 and 1.3 only",
            Some("max_version: TLS12"),
        );
    }
    let max = max.flatten();
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        block.error_at("min_version", "`min_version` is above `max_version`", None);
    }
    (min, max)
}

fn proxy_config(block: &Block<'_>, default: ProxyConfig) -> ProxyConfig {
    let url = proxy_url(block);
    let no_proxy = block.text("no_proxy");
    let connect_headers = connect_headers(block);
    let from_environment = block.flag("proxy_from_environment");
    if from_environment == Some(true) && url.is_some() {
        block.error_at(
            "proxy_from_environment",
            "`proxy_url` and `proxy_from_environment: true` are both given; give one of them",
            None,
        );
    }
    if url.is_none() && block.get("proxy_url").is_none() {
        if from_environment == Some(true) && no_proxy.is_some() {
            block.error_at(
                "no_proxy",
                "`no_proxy` goes with `proxy_url`",
                Some("with proxy_from_environment the variable NO_PROXY decides"),
            );
        } else if no_proxy.is_some() {
            block.error_at("no_proxy", "`no_proxy` is given without `proxy_url`", None);
        }
        if !connect_headers.is_empty() && from_environment != Some(true) {
            block.error_at("proxy_connect_header", "`proxy_connect_header` is given without a proxy", None);
        }
    }
    match (url, from_environment) {
        (Some(url), _) => ProxyConfig::Url { url, no_proxy: no_proxy.unwrap_or_default(), connect_headers },
        (None, Some(true)) => ProxyConfig::Environment,
        (None, Some(false)) => ProxyConfig::None,
        (None, None) => default,
    }
}

/// A proxy's URL may hold a user and a password; it is an identity field.
fn proxy_url(block: &Block<'_>) -> Option<url::Url> {
    let text = block.identity_text(&["proxy_url"], true)?;
    let schemes = ["http", "https", "socks5", "socks5h"];
    match url::Url::parse(&text) {
        Ok(url) if url.has_host() && schemes.contains(&url.scheme()) => Some(url),
        _ => {
            block.error_at(
                "proxy_url",
                "`proxy_url`: a proxy is an http, https or socks5 URL",
                Some("such as http://proxy.example:3128"),
            );
            None
        }
    }
}

fn connect_headers(block: &Block<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, field) in block.entries("proxy_connect_header") {
        for item in block.reader.items(&field) {
            let Some(text) = block.reader.secret_text(&item) else { continue };
            match block.reader.secret_source(&item, text) {
                Some(SecretSource::Inline(secret)) => headers.push((name.to_owned(), secret)),
                // A proxy's headers are made once with its connections.
                Some(_) => block.reader.error(&item, "a header for the proxy is text or env://NAME", None),
                None => {}
            }
        }
    }
    headers
}

fn headers(block: &Block<'_>) -> Vec<(String, SecretSource)> {
    let mut headers = Vec::new();
    for (name, field) in block.entries("http_headers") {
        check_header_name(block, name, &field);
        let Some(header) = Block::open(block.reader, HTTP_HEADER, &field) else {
            continue;
        };
        let inline = |text: String| (name.to_owned(), SecretSource::Inline(Secret::new(text)));
        headers.extend(header.texts("values").into_iter().map(inline));
        let secret = |item: &Field<'_>| {
            let text = block.reader.secret_text(item)?;
            Some((name.to_owned(), block.reader.secret_source(item, text)?))
        };
        headers.extend(header.items("secrets").iter().filter_map(secret));
        headers
            .extend(header.texts("files").into_iter().map(|path| (name.to_owned(), SecretSource::File(path.into()))));
    }
    headers
}

/// Refuses names that no header can have.
pub(super) fn check_header_name(block: &Block<'_>, name: &str, field: &Field<'_>) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let valid = !name.is_empty() && name.chars().all(token);
    if !valid {
        block.reader.error(field, "this is not a valid header name", None);
    }
    valid
}
