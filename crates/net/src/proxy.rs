//! Which proxy carries a request: the environment's variables, `no_proxy` lists, and the addresses no proxy may see.
//!
//! Opens nothing. Keeps true: loopback, link-local and metadata addresses never go through a proxy of the environment.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use url::{Host, Url};

use crate::error::masked;

/// The proxy variables of a process, read once.
#[derive(Clone, Default)]
pub struct ProxyEnvironment {
    http: Option<Url>,
    https: Option<Url>,
    no_proxy: NoProxy,
}

impl fmt::Debug for ProxyEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyEnvironment")
            .field("http", &self.http.as_ref().map(masked))
            .field("https", &self.https.as_ref().map(masked))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

impl ProxyEnvironment {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of this process; upper case wins over lower.
    pub fn of_process() -> Self {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// The same over any source of variables. A value that is no URL is ignored with a warning that does not show it.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            lookup(name)
                .filter(|v| !v.trim().is_empty())
                .or_else(|| lookup(&name.to_lowercase()).filter(|v| !v.trim().is_empty()))
        };
        let proxy = |name: &str| {
            let parsed = parse_proxy(&either(name)?);
            if parsed.is_none() {
                tracing::warn!(
                    variable = name,
                    "this proxy variable is not a usable proxy URL and is ignored; write http://host:port"
                );
            }
            parsed
        };
        let all = proxy("ALL_PROXY");
        Self {
            http: proxy("HTTP_PROXY").or_else(|| all.clone()),
            https: proxy("HTTPS_PROXY").or(all),
            no_proxy: NoProxy::parse(&either("NO_PROXY").unwrap_or_default()),
        }
    }

    /// The proxy for this URL, if any.
    pub fn proxy_for(&self, url: &Url) -> Option<Url> {
        if is_local_destination(url) || self.no_proxy.matches(url) {
            return None;
        }
        match url.scheme() {
            "https" => self.https.clone(),
            "http" => self.http.clone(),
            _ => None,
        }
    }
}

/// Reads a proxy address; `host:port` without a scheme means `http://`, as Go has it.
pub(crate) fn parse_proxy(text: &str) -> Option<Url> {
    let text = text.trim();
    let usable = |url: &Url| {
        matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") && url.host().is_some()
    };
    match Url::parse(text) {
        Ok(url) if usable(&url) => Some(url),
        _ if text.contains("://") => None,
        _ => Url::parse(&format!("http://{text}")).ok().filter(usable),
    }
}

/// True for destinations that are this machine or its link: `localhost`, loopback, 169.254.0.0/16, fe80::/10 and the
/// metadata range fd00:ec2::/32.
pub fn is_local_destination(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => is_local_v6(ip),
        None => false,
    }
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    ip.is_loopback()
        || (a & 0xffc0) == 0xfe80
        || (a == 0xfd00 && b == 0x0ec2)
        || ip.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback() || v4.is_link_local())
}

/// A `NO_PROXY` list, by the rules of Go's `httpproxy`: `*`; an address or CIDR; `example.com` means itself and what is
/// under it, `.example.com` or `*.example.com` only what is under it; `:port` limits an entry to that port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy {
    all: bool,
    nets: Vec<IpNet>,
    addresses: Vec<(IpAddr, Option<u16>)>,
    domains: Vec<Domain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Domain {
    /// With a leading dot.
    suffix: String,
    itself_too: bool,
    port: Option<u16>,
}

impl NoProxy {
    /// Reads a comma-separated list; entries that mean nothing are skipped.
    pub fn parse(list: &str) -> Self {
        let mut out = Self::default();
        for entry in list.split(',').map(|e| e.trim().to_lowercase()).filter(|e| !e.is_empty()) {
            if entry == "*" {
                out.all = true;
            } else if let Ok(net) = entry.parse::<IpNet>() {
                out.nets.push(net);
            } else {
                out.push_host(&entry);
            }
        }
        out
    }

    fn push_host(&mut self, entry: &str) {
        if let Ok(ip) = entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            self.addresses.push((ip, None));
            return;
        }
        let (host, port) = match entry.rsplit_once(':').map(|(h, p)| (h, p.parse::<u16>())) {
            Some((host, Ok(port))) => (host, Some(port)),
            Some((_, Err(_))) => return,
            None => (entry, None),
        };
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            self.addresses.push((ip, port));
            return;
        }
        let host = host.strip_prefix('*').filter(|h| h.starts_with('.')).unwrap_or(host);
        match host.strip_prefix('.') {
            Some("") => {}
            Some(_) => self.domains.push(Domain { suffix: host.to_owned(), itself_too: false, port }),
            None if host.is_empty() => {}
            None => self.domains.push(Domain { suffix: format!(".{host}"), itself_too: true, port }),
        }
    }

    /// True when the URL's host is on the list.
    pub fn matches(&self, url: &Url) -> bool {
        if self.all {
            return true;
        }
        let port = url.port_or_known_default();
        let port_fits = |wanted: Option<u16>| wanted.is_none() || wanted == port;
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return false,
        };
        if let Some(ip) = ip {
            return self.nets.iter().any(|n| n.contains(&ip))
                || self.addresses.iter().any(|(a, p)| *a == ip && port_fits(*p));
        }
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_lowercase();
        self.domains.iter().any(|d| {
            let under = host.ends_with(&d.suffix);
            let itself = d.itself_too && d.suffix.strip_prefix('.') == Some(host.as_str());
            (under || itself) && port_fits(d.port)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn env(pairs: &[(&str, &str)]) -> ProxyEnvironment {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ProxyEnvironment::from_lookup(&|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn no_proxy_follows_the_rules_of_go() {
        let list = NoProxy::parse(
            "example.com, .under.org, *.star.net, 10.0.0.0/8, 192.0.2.7, 192.0.2.8:81, port.io:8443, [2001:db8::1], bad:port:x, ",
        );
        for (text, expected) in [
            ("http://example.com/", true),
            ("https://a.example.com/", true),
            ("https://EXAMPLE.com./", true),
            ("https://notexample.com/", false),
            ("http://under.org/", false),
            ("http://x.under.org/", true),
            ("http://star.net/", false),
            ("http://x.star.net/", true),
            ("http://10.1.2.3/", true),
            ("http://11.1.2.3/", false),
            ("http://192.0.2.7:9/", true),
            ("http://192.0.2.8/", false),
            ("http://192.0.2.8:81/", true),
            ("https://port.io/", false),
            ("https://port.io:8443/", true),
            ("http://[2001:db8::1]/", true),
            ("http://[2001:db8::2]/", false),
        ] {
            assert_eq!(list.matches(&url(text)), expected, "{text}");
        }
        assert!(NoProxy::parse("a,*").matches(&url("http://anything/")));
        assert!(!NoProxy::parse("").matches(&url("http://anything/")));
    }

    #[test]
    fn local_and_metadata_addresses_never_go_through_the_environment_proxy() {
        let env = env(&[("HTTP_PROXY", "http://127.0.0.1:3128"), ("HTTPS_PROXY", "http://127.0.0.1:3128")]);
        for local in [
            "http://localhost:9911/",
            "http://a.localhost/",
            "http://LOCALHOST./",
            "http://127.0.0.1/",
            "http://127.8.9.1/",
            "http://169.254.169.254/latest",
            "http://169.254.170.2/creds",
            "http://[::1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
        ] {
            assert_eq!(env.proxy_for(&url(local)), None, "{local}");
        }
        for far in ["https://aps-workspaces.us-east-1.amazonaws.com/", "http://10.0.0.1/", "https://[fd00:ec3::1]/"] {
            assert!(env.proxy_for(&url(far)).is_some(), "{far}");
        }
    }

    #[test]
    fn variables_are_read_in_both_cases_and_all_proxy_is_the_fallback() {
        let far = url("https://far.example/");
        let plain = url("http://far.example/");
        let upper = env(&[("HTTPS_PROXY", "http://up:1"), ("https_proxy", "http://low:1")]);
        assert_eq!(upper.proxy_for(&far).unwrap().host_str(), Some("up"));
        assert_eq!(upper.proxy_for(&plain), None);
        let lower = env(&[("https_proxy", "low:1"), ("no_proxy", "other.example")]);
        assert_eq!(lower.proxy_for(&far).unwrap().as_str(), "http://low:1/");
        assert_eq!(lower.proxy_for(&url("https://other.example/")), None);
        let all = env(&[("ALL_PROXY", "socks5://s:1080"), ("HTTP_PROXY", "http://h:1")]);
        assert_eq!(all.proxy_for(&far).unwrap().scheme(), "socks5");
        assert_eq!(all.proxy_for(&plain).unwrap().host_str(), Some("h"));
        assert_eq!(env(&[("HTTPS_PROXY", "ftp://x")]).proxy_for(&far), None);
        assert_eq!(env(&[("HTTPS_PROXY", " ")]).proxy_for(&far), None);
    }
}
