//! The canonical request of SigV4, rebuilt from a signed request, and compared with the one that AWS says it computed.
//!
//! Signs nothing: it exists to explain a refusal. Keeps true: session tokens and other header values that may be secret are
//! in no text; any answer is read in bounded time.

use std::fmt;

use bytes::Bytes;
use http::Request;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::Url;

use crate::signer::STRICT;

/// No refusal of AWS is longer.
const LONGEST_ANSWER: usize = 256 << 10;

/// A canonical request, line by line. `Debug` shows how many lines there are, not what is in them.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalRequest {
    text: String,
    /// `date/region/service/aws4_request`.
    scope: String,
}

impl fmt::Debug for CanonicalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanonicalRequest")
            .field("lines", &self.text.lines().count())
            .field("scope", &self.scope)
            .finish()
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanonicalVerdict {
    /// The answer quotes no canonical request (many services keep it to themselves).
    NotTold,
    /// Both computed the same: the secret key is not the one of this key id, or the scope differs.
    Same {
        /// What that means and what to do.
        explanation: String,
    },
    /// They differ.
    Differs(CanonicalDifference),
}

/// The first line that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalDifference {
    /// From 1, in the canonical request.
    pub line: usize,
    /// Such as `path`, `header content-type`, `payload hash`.
    pub part: String,
    /// As we signed it; a value that may be secret is `<hidden>`.
    pub ours: String,
    /// As AWS received it.
    pub theirs: String,
    /// What may have changed it and what to do.
    pub explanation: String,
}

/// The canonical request of a signed `request`, as the signer computed it. An error where it is not signed by SigV4.
pub fn canonical_request(request: &Request<Bytes>) -> Result<CanonicalRequest, String> {
    let authorization = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let field = |name: &str| {
        let (_, rest) = authorization.split_once(name)?;
        rest.split([',', ' ']).next().filter(|v| !v.is_empty())
    };
    let names = field("SignedHeaders=").ok_or("the request has no SigV4 signature")?;
    let scope = field("Credential=").and_then(|c| c.split_once('/')).map_or("", |(_, scope)| scope);
    let is_s3 = matches!(scope.split('/').nth(2), Some("s3" | "s3-object-lambda" | "s3-outposts" | "s3express"));
    let url = Url::parse(&request.uri().to_string()).map_err(|e| format!("the request's URL is not absolute: {e}"))?;
    // Outside S3 the path is encoded a second time.
    let path = if is_s3 {
        url.path().to_owned()
    } else {
        url.path().split('/').map(|part| utf8_percent_encode(part, STRICT).to_string()).collect::<Vec<_>>().join("/")
    };
    let mut pairs: Vec<(String, String)> = (url.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()))
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = |text: &str| {
                let bytes: Vec<u8> = percent_decode_str(text).collect();
                percent_encoding::percent_encode(&bytes, STRICT).to_string()
            };
            (again(key), again(value))
        })
        .collect();
    pairs.sort();
    let query = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&");
    let mut lines = String::new();
    for name in names.split(';') {
        let value = match request.headers().get(name) {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            None if name == "host" => {
                let host = url.host_str().unwrap_or_default();
                url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
            }
            None => String::new(),
        };
        lines.push_str(&format!("{name}:{}\n", value.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    let payload = request.headers().get("x-amz-content-sha256").and_then(|v| v.to_str().ok());
    let payload = payload.map_or_else(|| hex::encode(Sha256::digest(request.body())), ToOwned::to_owned);
    let text = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{payload}", request.method());
    Ok(CanonicalRequest { text, scope: scope.to_owned() })
}

/// Compares `ours` with what the answer's text (JSON or XML) says should have been.
pub fn compare_canonical(ours: &CanonicalRequest, answer: &str) -> CanonicalVerdict {
    if answer.len() > LONGEST_ANSWER {
        return CanonicalVerdict::NotTold;
    }
    let plain = plain_text(answer);
    let Some(theirs) = quoted_request(&plain) else {
        return CanonicalVerdict::NotTold;
    };
    // An imitation of AWS that shows nothing has compared nothing.
    if theirs.trim().is_empty() {
        return CanonicalVerdict::NotTold;
    }
    let (mine, other): (Vec<&str>, Vec<&str>) = (ours.text.lines().collect(), theirs.lines().collect());
    let differs = (0..mine.len().max(other.len())).find(|at| mine.get(*at) != other.get(*at));
    match differs {
        Some(at) => CanonicalVerdict::Differs(difference(&mine, &other, at)),
        None => CanonicalVerdict::Same { explanation: same(ours, &plain) },
    }
}

fn same(ours: &CanonicalRequest, plain: &str) -> String {
    let theirs = plain.split_once("AWS4-HMAC-SHA256").and_then(|(_, rest)| rest.split_whitespace().nth(1));
    match theirs.filter(|scope| scope.ends_with("aws4_request") && *scope != ours.scope) {
        Some(scope) => format!(
            "AWS read the request as it was signed, but for the scope {scope} instead of {}: set region and service_name",
            ours.scope
        ),
        None => "AWS read the very request that was signed, so the secret key is not the one of this access key id (a blank or a cut \
                 at its end, or the secret of another key): set both anew"
            .to_owned(),
    }
}

/// The message of a JSON error, or the text of an XML one.
fn plain_text(answer: &str) -> String {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(answer)
        && let Some(serde_json::Value::String(message)) = crate::json::field(&json, "message")
    {
        return message.clone();
    }
    let unescaped = quick_xml::escape::unescape(answer).map_or_else(|_| answer.to_owned(), |text| text.into_owned());
    unescaped.replace("\r\n", "\n")
}

fn quoted_request(plain: &str) -> Option<String> {
    // S3 has an element of its own.
    if let Some((_, rest)) = plain.split_once("<CanonicalRequest>") {
        return rest.split_once("</CanonicalRequest>").map(|(text, _)| text.to_owned());
    }
    let lower = plain.to_ascii_lowercase();
    let at = lower.find("the canonical string for this request should have been")?;
    let rest = plain.get(at..)?;
    let (_, rest) = rest.split_once('\'')?;
    // A quote may stand inside a header; the quotation ends at one that ends its line.
    let end = rest.find("'\n").or_else(|| rest.find("'\r")).or_else(|| rest.rfind('\''))?;
    rest.get(..end).map(ToOwned::to_owned)
}

fn difference(ours: &[&str], theirs: &[&str], at: usize) -> CanonicalDifference {
    let (mine, other) = (ours.get(at).copied(), theirs.get(at).copied());
    let header = |line: Option<&str>| line.and_then(|l| l.split_once(':')).map(|(name, _)| name.to_ascii_lowercase());
    let blank = |lines: &[&str]| lines.iter().skip(3).position(|l| l.is_empty()).map_or(usize::MAX, |at| at + 3);
    let end = blank(ours);
    let (part, explanation) = match at {
        0 => ("method".to_owned(), "something on the way changed the method".to_owned()),
        1 => ("path".to_owned(), path_explanation(mine, other)),
        2 => (
            "query".to_owned(),
            "something on the way (a proxy, a redirect) changed the query; call the endpoint directly".to_owned(),
        ),
        _ if at < end => header_explanation(header(mine), header(other), at < blank(theirs)),
        _ if at == end + 1 => (
            "list of signed headers".to_owned(),
            "a header that was signed did not arrive, or arrived under another name: look for a proxy that removes headers".to_owned(),
        ),
        _ if at == end + 2 => (
            "payload hash".to_owned(),
            "the body that arrived is not the body that was signed: something on the way compresses, decompresses or rewrites it".to_owned(),
        ),
        _ => ("line".to_owned(), "the request was changed on the way".to_owned()),
    };
    CanonicalDifference { line: at + 1, part, ours: shown(mine), theirs: shown(other), explanation }
}

fn path_explanation(ours: Option<&str>, theirs: Option<&str>) -> String {
    let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
    if ours.trim_end_matches('/') == theirs.trim_end_matches('/') {
        "only a slash at the end differs: write the URL without it (or a proxy adds or removes one)".to_owned()
    } else if percent_decode_str(ours).collect::<Vec<u8>>() == percent_decode_str(theirs).collect::<Vec<u8>>() {
        "the same path, encoded differently: service_name is probably wrong (S3 encodes paths once, all others twice)"
            .to_owned()
    } else {
        "a proxy, a load balancer or a redirect rewrote the path; call the endpoint directly or let the path through as it is".to_owned()
    }
}

fn header_explanation(ours: Option<String>, theirs: Option<String>, theirs_has_more: bool) -> (String, String) {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours == theirs => {
            let why = match ours.as_str() {
                "host" => "the request was signed for another host than the one it reached: a proxy changes Host, or endpoint_url names one \
                           while the signature is for the URL's"
                    .to_owned(),
                "content-type" | "content-encoding" => {
                    format!("something on the way rewrites {ours}: a proxy must leave it alone")
                }
                "x-amz-date" => "the date was changed on the way".to_owned(),
                _ => format!("the value of {ours} was changed on the way"),
            };
            (format!("header {ours}"), why)
        }
        (Some(ours), _) => {
            (format!("header {ours}"), format!("{ours} was signed and did not arrive: something on the way removes it"))
        }
        (None, Some(theirs)) if theirs_has_more => {
            (format!("header {theirs}"), format!("AWS counts {theirs}, which was not signed: it was added on the way"))
        }
        (None, _) => ("headers".to_owned(), "the headers were changed on the way".to_owned()),
    }
}

/// A line for people: short, and without what may be secret.
fn shown(line: Option<&str>) -> String {
    let Some(line) = line else {
        return "(nothing)".to_owned();
    };
    if line.trim().is_empty() {
        return "(an empty line)".to_owned();
    }
    let line = crate::words::printable(line, 300);
    match line.split_once(':') {
        Some((name, _)) if is_secretive(name) => format!("{name}:<hidden>"),
        _ => line,
    }
}

fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.contains('/')
        && ["token", "secret", "password", "customer-key", "authorization", "cookie"]
            .iter()
            .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests;
