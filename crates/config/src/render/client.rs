//! The HTTP client keys, rendered; and how a secret and a URL are shown.

use net::{HttpAuth, HttpClientConfig, Pem, ProxyConfig, SecretSource, TlsConfig, TlsVersion};
use url::Url;

use super::SECRET;
use crate::{
    scalar::show_duration,
    yaml_out::{Map, Out},
};

/// The client keys among those of the block they belong to; `default` is the proxy setting that goes without saying.
pub(super) fn client(map: &mut Map, client: &HttpClientConfig, default: &ProxyConfig) {
    match &client.auth {
        None => {}
        Some(HttpAuth::Basic { username, password }) => {
            let mut block = Map::default();
            secret(&mut block, "username", username);
            if let Some(password) = password {
                secret(&mut block, "password", password);
            }
            map.put("basic_auth", Out::Map(block));
        }
        Some(HttpAuth::Header { kind, credentials }) => {
            let mut block = Map::default();
            block.text("type", kind);
            secret(&mut block, "credentials", credentials);
            map.put("authorization", Out::Map(block));
        }
        Some(HttpAuth::OAuth2(oauth2)) => {
            let mut block = Map::default();
            block.text("client_id", SECRET);
            secret(&mut block, "client_secret", &oauth2.client_secret);
            block.texts("scopes", oauth2.scopes.iter()).text("token_url", masked_url(&oauth2.token_url));
            let mut params = Map::default();
            for (name, values) in &oauth2.endpoint_params {
                match values.len() {
                    0 | 1 => params.text(name, SECRET),
                    several => params.texts(name, std::iter::repeat_n(SECRET, several)),
                };
            }
            if let Some(timeout) = oauth2.timeout {
                block.word("timeout", show_duration(timeout));
            }
            block.put("endpoint_params", Out::Map(params)).put("tls_config", Out::Map(tls(&oauth2.tls)));
            proxy(&mut block, &oauth2.proxy, &ProxyConfig::None);
            map.put("oauth2", Out::Map(block));
        }
    }
    map.put("tls_config", Out::Map(tls(&client.tls)));
    proxy(map, &client.proxy, default);
    for (key, on) in [("follow_redirects", client.follow_redirects), ("enable_http2", client.enable_http2)] {
        if !on {
            map.word(key, false);
        }
    }
    let mut headers: Vec<(&str, Map)> = Vec::new();
    for (name, _) in &client.headers {
        if !headers.iter().any(|(n, _)| n == name) {
            let of_name = || client.headers.iter().filter(|(n, _)| n == name).map(|(_, s)| s);
            let mut block = Map::default();
            let shown = |source: &SecretSource| match source {
                SecretSource::Inline(_) => Some(SECRET.to_owned()),
                SecretSource::Stored(stored) => Some(stored.reference().to_owned()),
                SecretSource::File(_) => None,
            };
            block.texts("secrets", of_name().filter_map(shown));
            block.texts(
                "files",
                of_name()
                    .filter_map(|s| if let SecretSource::File(path) = s { Some(path.to_string_lossy()) } else { None }),
            );
            headers.push((name, block));
        }
    }
    let mut block = Map::default();
    for (name, header) in headers {
        block.put(name, Out::Map(header));
    }
    map.put("http_headers", Out::Map(block));
}

pub(super) fn tls(tls: &TlsConfig) -> Map {
    let mut map = Map::default();
    for (key, value) in [("ca", &tls.ca), ("cert", &tls.cert), ("key", &tls.key)] {
        match value {
            Some(Pem::Inline(_)) => map.text(key, SECRET),
            Some(Pem::File(path)) => map.text(&format!("{key}_file"), path.to_string_lossy()),
            Some(Pem::Stored(stored)) => map.text(key, stored.reference()),
            None => &mut map,
        };
    }
    if let Some(name) = &tls.server_name {
        map.text("server_name", name);
    }
    if tls.insecure_skip_verify {
        map.word("insecure_skip_verify", true);
    }
    versions(&mut map, tls.min_version, tls.max_version);
    map
}

pub(super) fn versions(map: &mut Map, min: Option<TlsVersion>, max: Option<TlsVersion>) {
    for (key, version) in [("min_version", min), ("max_version", max)] {
        if let Some(version) = version {
            map.text(key, if version == TlsVersion::Tls13 { "TLS13" } else { "TLS12" });
        }
    }
}

fn proxy(map: &mut Map, proxy: &ProxyConfig, default: &ProxyConfig) {
    match proxy {
        same if same == default => {}
        ProxyConfig::None => drop(map.word("proxy_from_environment", false)),
        ProxyConfig::Environment => drop(map.word("proxy_from_environment", true)),
        ProxyConfig::Url { url, no_proxy, connect_headers } => {
            map.text("proxy_url", masked_url(url));
            if !no_proxy.is_empty() {
                map.text("no_proxy", no_proxy);
            }
            let mut headers = Map::default();
            for (name, _) in connect_headers {
                headers.texts(name, [SECRET]);
            }
            map.put("proxy_connect_header", Out::Map(headers));
        }
    }
}

/// `key: <secret>`, or `key_file: path`.
pub(super) fn secret(map: &mut Map, key: &str, source: &SecretSource) {
    match source {
        SecretSource::Inline(_) => map.text(key, SECRET),
        SecretSource::File(path) => map.text(&format!("{key}_file"), path.to_string_lossy()),
        SecretSource::Stored(stored) => map.text(key, stored.reference()),
    };
}

pub(super) fn pem(pem: &Pem) -> String {
    match pem {
        Pem::Inline(_) => SECRET.into(),
        Pem::File(path) => path.to_string_lossy().into_owned(),
        Pem::Stored(stored) => stored.reference().to_owned(),
    }
}

/// The URL without user, password and query.
pub(super) fn masked_url(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Neither can fail for a URL with a host.
        let _ = shown.set_username("hidden");
        let _ = shown.set_password(None);
    }
    if url.query().is_some() {
        shown.set_query(Some("hidden"));
    }
    shown.to_string()
}
