//! A segment's name and namespace: X-Ray wants the name of the service, not of the method.

use std::{borrow::Cow, sync::LazyLock};

use proto::otlp_traces::SpanKind;
use regex::Regex;

use crate::{
    attributes::Attributes,
    known::{key, keys},
    place::Place,
    read::Span,
};

/// Letters, digits, space and `_.:/%&#=+-@` (X-Ray developer guide, "segment documents"); as the exporter reads it.
static REFUSED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[^ 0-9\p{L}_.:/%&#=+\-@]").ok());
/// Characters of a name at most; counted in bytes, so that no other way to count finds more.
const LONGEST: usize = 200;

pub(crate) fn is_aws_api(attributes: &Attributes<'_>) -> bool {
    attributes.text(key!("rpc.system")) == Some("aws-api")
        || attributes.text(key!("rpc.system.name")) == Some("aws-api")
}

/// The name and, unless it is one's own, whose it is: `aws` or `remote`.
pub(crate) fn name<'a>(
    span: &Span<'a>,
    attributes: &Attributes<'a>,
    place: &Place<'a>,
) -> (Cow<'a, str>, Option<&'static str>) {
    let kind = span.kind();
    let text = |key| attributes.text(key);
    let is_local_root = text(key!("aws.span.kind")) == Some("LOCAL_ROOT");
    let mut namespace = is_aws_api(attributes).then_some("aws");
    let by_role = match kind {
        SpanKind::Server => text(key!("aws.local.service")),
        SpanKind::Internal if is_local_root => text(key!("aws.local.service")),
        SpanKind::Client | SpanKind::Producer | SpanKind::Consumer => {
            text(key!("aws.remote.service")).map(|name| bare_service(name, attributes))
        }
        SpanKind::Internal | SpanKind::Unspecified => None,
    };
    let database =
        || text(key!("db.name")).or_else(|| text(key!("db.namespace"))).map(|name| database_name(name, attributes));
    let name = if let Some(name) = by_role.or_else(|| text(key!("peer.service"))) {
        Cow::Borrowed(name)
    } else if let Some(service) = text(key!("aws.service")) {
        namespace = Some("aws");
        Cow::Borrowed(service)
    } else if let Some(name) = database() {
        name
    } else {
        let own = if kind == SpanKind::Server { place.service_name } else { None };
        let elsewhere = keys!["rpc.service", "http.host", "net.peer.name"].into_iter().find_map(text);
        // What newer conventions call `net.peer.name`; of a server span it is the server itself.
        let server = || if kind == SpanKind::Client { text(key!("server.address")) } else { None };
        Cow::Borrowed(own.or(elsewhere).or_else(server).unwrap_or(span.name))
    };
    if namespace.is_none() && kind == SpanKind::Client {
        namespace = Some("remote");
    }
    (clean(name), namespace)
}

/// `AWS.SDK.DynamoDB` and `AWS::DynamoDB` are `DynamoDB` when it is AWS that is called.
pub(crate) fn bare_service<'a>(name: &'a str, attributes: &Attributes<'_>) -> &'a str {
    if !is_aws_api(attributes) {
        return name;
    }
    name.strip_prefix("AWS.SDK.").or_else(|| name.strip_prefix("AWS::")).unwrap_or(name)
}

/// `<database>@<host>`.
fn database_name<'a>(name: &'a str, attributes: &Attributes<'a>) -> Cow<'a, str> {
    match attributes.text(key!("db.connection_string")).and_then(host) {
        Some(host) => Cow::Owned(format!("{name}@{host}")),
        None => Cow::Borrowed(name),
    }
}

/// The host of `[jdbc:]scheme://[user@]host[:port]/...`.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.strip_prefix("jdbc:").unwrap_or(url).split_once("://")?;
    let authority = rest.split(['/', '?', '#', ';']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => host.split([':', ',']).next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

/// A name as X-Ray takes it; `span` where nothing is left.
pub(crate) fn clean(name: Cow<'_, str>) -> Cow<'_, str> {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b' ' | b'_' | b'.' | b':' | b'/' | b'%' | b'&' | b'#' | b'=' | b'+' | b'-' | b'@')
    };
    let name = if name.bytes().all(plain) {
        name
    } else if name.is_ascii() {
        Cow::Owned(name.chars().filter(|c| u8::try_from(*c).is_ok_and(plain)).collect())
    } else {
        REFUSED.as_ref().map(|refused| Cow::Owned(refused.replace_all(&name, "").into_owned())).unwrap_or(name)
    };
    if name.trim().is_empty() {
        return Cow::Borrowed("span");
    }
    cut(name, LONGEST)
}

/// The first `most` bytes at most, cut between characters.
pub(crate) fn cut(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text;
    }
    let end = text.floor_char_boundary(most);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_only_what_x_ray_takes() {
        let clean = |name: &'static str| clean(Cow::Borrowed(name)).into_owned();
        assert_eq!(clean("GET /a?b={c}"), "GET /ab=c");
        assert_eq!(clean("DynamoDB.GetItem"), "DynamoDB.GetItem");
        assert_eq!(clean("größe 日本"), "größe 日本");
        assert_eq!(clean("!?*"), "span");
        assert_eq!(clean(""), "span");
        assert_eq!(super::clean(Cow::Owned("ü".repeat(150))).len(), 200);
        assert_eq!(super::clean(Cow::Owned(format!("a{}", "ü".repeat(150)))).len(), 199, "between characters");
    }

    #[test]
    fn a_host_is_found_in_connection_strings() {
        for (url, expected) in [
            ("jdbc:mysql://db.dev.example.com:3306/x", Some("db.dev.example.com")),
            ("postgresql://u:p@h@db/x", Some("db")),
            ("mongodb://a:1,b:2/x", Some("a")),
            ("mysql://[::1]:3306", Some("::1")),
            ("mysql://", None),
            ("Server=x", None),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
