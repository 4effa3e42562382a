//! The `http` block, from attributes of the old conventions (`http.*`, `net.*`) and of the stable ones (`url.*`, `server.*`).

use std::{borrow::Cow, net::IpAddr};

use proto::otlp_traces::SpanKind;

use crate::{
    attributes::{Attributes, shown},
    known::{Key, Keys, key, keys},
    read::Span,
    segment::{Http, HttpRequest, HttpResponse},
};

/// Attributes that speak of HTTP: without any of them there is no block.
const HTTP: Keys = Keys::of([
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
]);
/// Attributes that go into the block with them.
const NETWORK: Keys = Keys::of([
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
]);
/// Without one of these there is no address.
const ADDRESS: Keys = Keys::of([
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
]);

/// The block, whose attributes are taken.
pub(crate) fn http<'a>(
    span: &Span<'a>,
    attributes: &mut Attributes<'a>,
    of_event: &mut Attributes<'a>,
) -> Option<Http<'a>> {
    if !attributes.has_any(HTTP) {
        return None;
    }
    let first = |keys: [Key; 2]| keys.into_iter().find_map(|key| attributes.text(key));
    let ip = |key| attributes.text(key).filter(|text| text.parse::<IpAddr>().is_ok());
    let given = attributes.text(key!("http.client_ip")).or_else(|| ip(key!("client.address")));
    let peer = attributes.text(key!("net.peer.ip")).or_else(|| ip(key!("network.peer.address")));
    let url = attributes.has_any(ADDRESS).then(|| url(span.kind(), attributes));
    let request = HttpRequest {
        method: first(keys!["http.method", "http.request.method"]).map(Cow::Borrowed),
        url,
        user_agent: first(keys!["http.user_agent", "user_agent.original"]).map(Cow::Borrowed),
        client_ip: given.or(peer).map(Cow::Borrowed),
        // Not seen on the connection: somebody on the way said it.
        x_forwarded_for: given.is_some() && peer.is_none(),
    };
    let response =
        HttpResponse { status: status(attributes), content_length: content_length(span, attributes, of_event) };
    attributes.remove_all(HTTP);
    attributes.remove_all(NETWORK);
    Some(Http { request, response })
}

/// The answer's status.
pub(crate) fn status(attributes: &Attributes<'_>) -> Option<i64> {
    keys!["http.status_code", "http.response.status_code"].into_iter().find_map(|key| attributes.number(key))
}

/// The answer's size, where the span or one of its events tells it.
fn content_length<'a>(span: &Span<'a>, attributes: &Attributes<'a>, of_event: &mut Attributes<'a>) -> Option<i64> {
    let told = |attributes: &Attributes<'_>| {
        let received = attributes.text(key!("message.type")) == Some("RECEIVED");
        let keys = keys!["messaging.message_payload_size_bytes", "messaging.message.body.size"];
        keys.into_iter().filter(|_| received).find_map(|key| attributes.number(key))
    };
    let plain = keys!["http.response.body.size", "http.response_content_length"];
    let size = told(attributes).or_else(|| plain.into_iter().find_map(|key| attributes.number(key)));
    let mut of_events = span.events.iter().map(|event| {
        of_event.fill(span.of_event(event));
        told(of_event)
    });
    size.or_else(|| of_events.find_map(|size| size)).filter(|size| *size > 0)
}

/// The address, assembled as the conventions for clients and servers say.
fn url<'a>(kind: SpanKind, attributes: &Attributes<'a>) -> Cow<'a, str> {
    let first = |keys: &[Key]| keys.iter().find_map(|key| attributes.get(*key).and_then(shown));
    if let Some(url) = first(&keys!["http.url", "url.full"]) {
        return url;
    }
    let scheme = first(&keys!["http.scheme", "url.scheme"]).unwrap_or(Cow::Borrowed("http"));
    let (hosts, ports): (&[Key], &[Key]) = if kind == SpanKind::Server {
        (
            &keys!["http.server_name", "net.host.name", "host.name", "server.address"],
            &keys!["net.host.port", "server.port"],
        )
    } else {
        // The port of a proxy or of the resolved address is no part of the name that was asked for.
        (
            &keys!["net.peer.name", "server.address", "net.peer.ip", "network.peer.address"],
            &keys!["net.peer.port", "server.port", "network.peer.port"],
        )
    };
    let (host, port) = match first(&keys!["http.host"]) {
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
    if let Some(target) = first(&keys!["http.target"]) {
        url.push_str(&target);
        return Cow::Owned(url);
    }
    url.push_str(first(&keys!["url.path"]).as_deref().unwrap_or("/"));
    if let Some(query) = first(&keys!["url.query"]) {
        if !query.starts_with('?') {
            url.push('?');
        }
        url.push_str(&query);
    }
    Cow::Owned(url)
}
