//! SigV4 over the final bytes of a request, with the fewest headers that AWS accepts.
//!
//! Fetches no credentials and knows no clock. Keeps true: what is signed is what is sent (path and query are rewritten to
//! their one canonical spelling first); signing again replaces the former signature; no header is signed twice.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_lc_rs::digest;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use url::Url;

/// RFC 3986's unreserved characters stay; all else is encoded, as SigV4 asks.
pub(crate) const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a signature is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// The far end's clock.
    pub(crate) time: SystemTime,
}

impl Scope<'_> {
    fn is_s3(&self) -> bool {
        matches!(self.service, "s3" | "s3-object-lambda" | "s3-outposts" | "s3express")
    }
}

/// Headers whose old values a new signature replaces.
const OURS: [&str; 4] = ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];

/// Signs `request` in place: rewrites its URI to the canonical spelling and adds the headers of SigV4.
pub(crate) fn sign_request(
    request: &mut Request<Bytes>,
    credentials: &Credentials,
    scope: Scope<'_>,
) -> Result<(), String> {
    let uri = canonical_uri(request.uri(), scope.is_s3())?;
    *request.uri_mut() = uri;
    for name in OURS {
        request.headers_mut().remove(name);
    }
    fold_duplicates(request.headers_mut());
    let mut settings = SigningSettings::default();
    if scope.is_s3() {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let headers = signed_headers(request.headers())?;
    let added = signature_headers(request, &headers, credentials, scope, settings)?;
    for (name, value) in added {
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

/// The headers that SigV4 adds to a request whose `headers` are to be signed.
fn signature_headers(
    request: &Request<Bytes>,
    headers: &[(&str, &str)],
    credentials: &Credentials,
    scope: Scope<'_>,
    settings: SigningSettings,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(scope.time)
        .settings(settings)
        .build()
        .map_err(|e| format!("cannot sign: {e}"))?
        .into();
    let uri = request.uri().to_string();
    // By a library that takes little more than half the time of the one behind the signature: bodies are large.
    let body = SignableBody::Precomputed(hex::encode(digest::digest(&digest::SHA256, request.body())));
    let signable = SignableRequest::new(request.method().as_str(), &uri, headers.iter().copied(), body)
        .map_err(|e| format!("cannot sign this request: {e}"))?;
    let (instructions, _signature) =
        sign(signable, &params).map_err(|e| format!("cannot sign this request: {e}"))?.into_parts();
    let (added, _query) = instructions.into_parts();
    added
        .into_iter()
        .map(|h| {
            let mut value = HeaderValue::from_str(h.value())
                .map_err(|_| format!("the signature's header {} cannot be sent", h.name()))?;
            value.set_sensitive(h.sensitive() || h.name().eq_ignore_ascii_case("authorization"));
            Ok((HeaderName::from_static(h.name()), value))
        })
        .collect()
}

/// The short list: what proxies do not touch and AWS insists on. `host` is added from the URI, unless the request has one.
fn signed_headers(headers: &HeaderMap) -> Result<Vec<(&str, &str)>, String> {
    let wanted = |name: &HeaderName| {
        *name == header::HOST
            || *name == header::CONTENT_TYPE
            || *name == header::CONTENT_ENCODING
            || name.as_str().starts_with("x-amz-")
            || name.as_str().starts_with("x-aws-")
            || name.as_str() == "x-vault-aws-iam-server-id"
    };
    headers
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| {
            let value = value
                .to_str()
                .map_err(|_| format!("header {name} has characters other than visible ASCII and cannot be signed"))?;
            Ok((name.as_str(), value))
        })
        .collect()
}

/// Headers of one name become one header: what lies on the way may fold or reorder them, and then no signature fits.
fn fold_duplicates(headers: &mut HeaderMap) {
    let repeated: Vec<HeaderName> =
        headers.keys().filter(|k| headers.get_all(*k).iter().nth(1).is_some()).cloned().collect();
    for name in repeated {
        let joined = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
        if let Ok(value) = HeaderValue::from_bytes(&joined) {
            headers.insert(name, value);
        }
    }
}

/// The one spelling of a URI that is both signed and sent.
///
/// For S3 the path, which is a key, is decoded and encoded again strictly: S3 does the same before it compares. Elsewhere the
/// path stays as written, but double slashes collapse, because those services collapse them before they compare. Dot
/// segments vanish (every HTTP client removes them). The query is decoded and encoded strictly; `+` is a space, as Go
/// and the SDKs read it.
fn canonical_uri(uri: &Uri, is_s3: bool) -> Result<Uri, String> {
    let url = Url::parse(&uri.to_string()).map_err(|e| format!("cannot sign: the URL is not absolute ({e})"))?;
    let (true, Some(host)) = (matches!(url.scheme(), "http" | "https"), url.host_str()) else {
        return Err("cannot sign: the URL is not http or https with a host".to_owned());
    };
    let mut path = if is_s3 {
        url.path().split('/').map(strict).collect::<Vec<_>>().join("/")
    } else {
        collapse_slashes(url.path())
    };
    if path.is_empty() {
        path.push('/');
    }
    if let Some(query) = url.query() {
        let pairs = query.split('&').map(|pair| {
            let plain = pair.replace('+', "%20");
            match plain.split_once('=') {
                Some((key, value)) => format!("{}={}", strict(key), strict(value)),
                None => strict(&plain),
            }
        });
        path.push('?');
        path.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Uri::builder()
        .scheme(url.scheme())
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|e| format!("cannot sign: the URL cannot be written canonically ({e})"))
}

fn collapse_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// Decodes escapes and encodes strictly; bytes that are not UTF-8 keep their escapes.
fn strict(text: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    percent_encode(&bytes, STRICT).to_string()
}

#[cfg(test)]
mod tests;
