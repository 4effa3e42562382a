//! The `http` block, from attributes of the old conventions (`http.*`, `net.*`) and of the stable ones (`url.*`, `server.*`).

use std::{borrow::Cow, net::IpAddr};

use proto::otlp_traces::{Span, SpanKind};

use crate::{
    attributes::{Attributes, number, shown},
    segment::{Http, HttpRequest, HttpResponse},
};

/// Attributes that speak of HTTP: without any of them there is no block.
const HTTP: [&str; 17] = [
    "http.client_ip",
    "http.host",
    "http.method",
    "http.request.method",
    "http.response.status_code",
    "http.scheme",
    "http.server_name",
    "http.status_code",
    "http.target",
    "http.url",
    "http.user_agent",
    "net.host.port",
    "url.full",
    "url.path",
    "url.query",
    "url.scheme",
    "user_agent.original",
];
/// Attributes that go into the block with them.
const NETWORK: [&str; 10] = [
    "client.address",
    "host.name",
    "net.host.name",
    "net.peer.ip",
    "net.peer.name",
    "net.peer.port",
    "network.peer.address",
    "network.peer.port",
    "server.address",
    "server.port",
];
/// Without one of these there is no address.
const ADDRESS: [&str; 10] = [
    "http.url",
    "url.full",
    "http.host",
    "http.server_name",
    "host.name",
    "net.host.name",
    "net.peer.name",
    "net.peer.ip",
    "network.peer.address",
    "server.address",
];

/// The block, whose attributes are taken.
pub(crate) fn http<'a>(span: &'a Span, attributes: &mut Attributes<'a>) -> Option<Http<'a>> {
    if !HTTP.iter().any(|key| attributes.has(key)) {
        return None;
    }
    let first = |keys: &[&str]| keys.iter().find_map(|key| attributes.text(key));
    let ip = |key| attributes.text(key).filter(|text| text.parse::<IpAddr>().is_ok());
    let given = attributes.text("http.client_ip").or_else(|| ip("client.address"));
    let peer = attributes.text("net.peer.ip").or_else(|| ip("network.peer.address"));
    let url = ADDRESS.iter().any(|key| attributes.has(key)).then(|| url(span.kind(), attributes));
    let request = HttpRequest {
        method: first(&["http.method", "http.request.method"]).map(Cow::Borrowed),
        url,
        user_agent: first(&["http.user_agent", "user_agent.original"]).map(Cow::Borrowed),
        client_ip: given.or(peer).map(Cow::Borrowed),
        // Not seen on the connection: somebody on the way said it.
        x_forwarded_for: given.is_some() && peer.is_none(),
    };
    let response = HttpResponse { status: status(attributes), content_length: content_length(span, attributes) };
    for key in HTTP.iter().chain(&NETWORK) {
        attributes.remove(key);
    }
    Some(Http { request, response })
}

/// The answer's status.
pub(crate) fn status(attributes: &Attributes<'_>) -> Option<i64> {
    ["http.status_code", "http.response.status_code"].into_iter().find_map(|key| attributes.number(key))
}

/// The answer's size, where the span or one of its events tells it.
fn content_length(span: &Span, attributes: &Attributes<'_>) -> Option<i64> {
    let told = |attributes: &Attributes<'_>| {
        let received = attributes.text("message.type") == Some("RECEIVED");
        let keys = ["messaging.message_payload_size_bytes", "messaging.message.body.size"];
        keys.iter().filter(|_| received).find_map(|key| attributes.number(key))
    };
    let plain = ["http.response.body.size", "http.response_content_length"];
    let size = told(attributes).or_else(|| plain.iter().find_map(|key| attributes.get(key).and_then(number)));
    size.or_else(|| span.events.iter().find_map(|event| told(&Attributes::of(&event.attributes))))
        .filter(|size| *size > 0)
}

/// The address, assembled as the conventions for clients and servers say.
fn url<'a>(kind: SpanKind, attributes: &Attributes<'a>) -> Cow<'a, str> {
    let shown = |key: &&str| attributes.get(key).and_then(shown);
    let first = |keys: &[&str]| keys.iter().find_map(shown);
    if let Some(url) = first(&["http.url", "url.full"]) {
        return url;
    }
    let scheme = first(&["http.scheme", "url.scheme"]).unwrap_or(Cow::Borrowed("http"));
    let (hosts, ports): (&[&str], &[&str]) = if kind == SpanKind::Server {
        (&["http.server_name", "net.host.name", "host.name", "server.address"], &["net.host.port", "server.port"])
    } else {
        // The port of a proxy or of the resolved address is no part of the name that was asked for.
        (
            &["net.peer.name", "server.address", "net.peer.ip", "network.peer.address"],
            &["net.peer.port", "server.port", "network.peer.port"],
        )
    };
    let (host, port) = match first(&["http.host"]) {
        Some(host) => (host, None),
        None => (first(hosts).unwrap_or_default(), first(ports)),
    };
    let mut url = format!("{scheme}://");
    // A bare IPv6 address needs its brackets.
    if host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_ok() {
        url.push_str(&format!("[{host}]"));
    } else {
        url.push_str(&host);
    }
    let usual = matches!((&*scheme, port.as_deref()), ("http", Some("80")) | ("https", Some("443")));
    if let Some(port) = port.filter(|_| !usual) {
        url.push(':');
        url.push_str(&port);
    }
    if let Some(target) = first(&["http.target"]) {
        url.push_str(&target);
        return Cow::Owned(url);
    }
    url.push_str(first(&["url.path"]).as_deref().unwrap_or("/"));
    if let Some(query) = first(&["url.query"]) {
        if !query.starts_with('?') {
            url.push('?');
        }
        url.push_str(&query);
    }
    Cow::Owned(url)
}
