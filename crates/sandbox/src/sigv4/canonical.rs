//! The canonical request: one text that signer and verifier must both arrive at from what is on the wire.
//!
//! Keeps true: the result depends on the request and the list of signed headers only; any input gives some text.

use std::{borrow::Cow, fmt::Write as _};

use http::HeaderMap;

/// What of a request a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The path as it is on the wire, with its percent-encoding.
    pub path: &'a str,
    /// The query as it is on the wire, without `?`.
    pub query: &'a str,
    /// All headers; several of one name in the order received.
    pub headers: &'a HeaderMap,
    /// `Host` header or `:authority`, as sent.
    pub host: &'a str,
    /// Lower-case hex SHA-256 of the body received.
    pub body_sha256: &'a str,
}

/// How a service turns the path on the wire into the canonical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRule {
    /// The path on the wire, already encoded, is encoded once more (every service except S3).
    pub encode_again: bool,
    /// Dot segments and doubled slashes are removed first (every service except S3).
    pub normalize: bool,
}

impl PathRule {
    /// Every service except S3.
    pub const COMMON: Self = Self { encode_again: true, normalize: true };
    /// S3: object keys are taken as they are.
    pub const S3: Self = Self { encode_again: false, normalize: false };
}

/// The canonical request. `left_out` names the query parameters that the signature does not cover.
pub(crate) fn canonical_request(
    request: &SignedRequest<'_>,
    signed_headers: &[String],
    rule: PathRule,
    left_out: &[&[u8]],
    payload_hash: &str,
) -> String {
    let mut sorted: Vec<&str> = signed_headers.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut headers = String::new();
    for name in &sorted {
        let _ = writeln!(headers, "{name}:{}", canonical_value(request, name));
    }
    format!(
        "{method}\n{path}\n{query}\n{headers}\n{names}\n{payload_hash}",
        method = request.method,
        path = canonical_path(request.path, rule),
        query = canonical_query(request.query, left_out),
        names = sorted.join(";"),
    )
}

/// The path as it enters the canonical request.
fn canonical_path(path: &str, rule: PathRule) -> String {
    let path = if rule.normalize { Cow::Owned(normalize(path)) } else { Cow::Borrowed(path) };
    let path = if path.is_empty() { Cow::Borrowed("/") } else { path };
    let mut out = String::with_capacity(path.len() + 16);
    if rule.encode_again {
        encode_into(&mut out, path.as_bytes(), true);
    } else {
        encode_into(&mut out, &percent_decode(path.as_bytes(), false), true);
    }
    out
}

/// RFC 3986 section 5.2.4 without dot segments, and without empty segments inside; a trailing slash stays.
fn normalize(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/') {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_open || kept.is_empty() {
        out.push('/');
    }
    out
}

/// Parameters strictly encoded and sorted by encoded name, then encoded value.
fn canonical_query(query: &str, left_out: &[&[u8]]) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in decode_query(query) {
        if left_out.contains(&name.as_slice()) {
            continue;
        }
        let (mut left, mut right) = (String::new(), String::new());
        encode_into(&mut left, &name, false);
        encode_into(&mut right, &value, false);
        pairs.push((left, right));
    }
    pairs.sort_unstable();
    let mut out = String::with_capacity(query.len() + 16);
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    out
}

/// A header's values joined by commas, each trimmed and with inner runs of blanks made one space.
fn canonical_value(request: &SignedRequest<'_>, name: &str) -> String {
    if name == "host" {
        return collapse(request.host.as_bytes());
    }
    let values: Vec<String> = request.headers.get_all(name).iter().map(|value| collapse(value.as_bytes())).collect();
    values.join(",")
}

fn collapse(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parameters of a query, percent-decoded, in the order sent. `+` is a space, as in HTML forms.
pub(crate) fn decode_query(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (percent_decode(name.as_bytes(), true).into_owned(), percent_decode(value.as_bytes(), true).into_owned())
    })
}

/// Undoes percent-encoding; a `%` that starts no escape stays as it is.
pub(crate) fn percent_decode(text: &[u8], plus_is_space: bool) -> Cow<'_, [u8]> {
    if plus_is_space && text.contains(&b'+') {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        return Cow::Owned(percent_encoding::percent_decode(&spaced).collect());
    }
    percent_encoding::percent_decode(text).into()
}

/// Everything but `A-Za-z0-9-._~` (and `/` where told) as `%XX` with upper-case hex.
fn encode_into(out: &mut String, bytes: &[u8], keep_slash: bool) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            b'/' if keep_slash => out.push('/'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_as_in_the_vectors() {
        for (path, want) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/example/..", "/"),
            ("/example1/example2/../..", "/"),
            ("/./example", "/example"),
            ("//example//", "/example/"),
            ("/a/./b/../c", "/a/c"),
            ("/../../a", "/a"),
        ] {
            assert_eq!(normalize(path), want, "{path}");
        }
    }

    #[test]
    fn every_service_but_s3_encodes_the_encoded_path_again() {
        assert_eq!(canonical_path("/a%20b/c:d", PathRule::COMMON), "/a%2520b/c%3Ad");
        assert_eq!(canonical_path("/a%20b/c:d", PathRule::S3), "/a%20b/c%3Ad");
        assert_eq!(canonical_path("/a//b/../c", PathRule::S3), "/a//b/../c");
    }

    #[test]
    fn a_percent_sign_that_escapes_nothing_survives() {
        assert_eq!(canonical_path("/100%", PathRule::S3), "/100%25");
        assert_eq!(canonical_query("a=%zz&b", &[]), "a=%25zz&b=");
    }
}
