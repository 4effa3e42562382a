//! What goes back on the wire: replies, and AWS's error bodies in the style of each kind of service.
//!
//! Keeps true: every reply carries a request id and the sandbox's `Date`; texts from callers are escaped.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::{
    clock::{basic_utc, extended_utc},
    refusal::{Refusal, shown_long},
};

/// A response before the headers common to all are added.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, body: body.into() }
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    pub(crate) fn json(status: StatusCode, body: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => Self::new(status, "application/json", bytes),
            Err(e) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("writing JSON: {e}")),
        }
    }

    /// Sets a header; a value that cannot be one is left out.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// How a family of services writes errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorStyle {
    /// `{"message": ...}` and `x-amzn-errortype`; authentication errors are 403 (AMP's data plane).
    RestJson,
    /// `{"__type": ..., "message": ...}`; authentication errors are 400 (CloudWatch Logs, Firehose).
    Json11,
    /// `<Error>` (S3).
    S3Xml,
    /// `<ErrorResponse>` (STS and other query services).
    QueryXml,
    /// `{"errors": [...]}` (Vault).
    Vault,
    /// Plain text (Prometheus and the sandbox itself).
    Text,
}

/// An error in a service's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceError {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
    /// Further XML elements (S3 only).
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Samples stored nevertheless.
    pub(crate) stored: u64,
    /// Set when the caller was not believed or not let in, for the books.
    pub(crate) refusal: Option<Box<Refusal>>,
}

impl ServiceError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), facts: Vec::new(), stored: 0, refusal: None }
    }

    /// The same, to be entered in the books as a refusal.
    pub(crate) fn because(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(Box::new(refusal));
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// The reply in a service's style.
    pub(crate) fn reply(&self, style: ErrorStyle, request_id: &str, resource: &str) -> Reply {
        match style {
            ErrorStyle::RestJson => {
                Reply::json(self.status, &json!({ "message": self.message })).with("x-amzn-errortype", &self.code)
            }
            ErrorStyle::Json11 => {
                let body = json!({ "__type": self.code, "message": self.message });
                let mut reply = Reply::json(self.status, &body).with("x-amzn-errortype", &self.code);
                reply
                    .headers
                    .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
                reply
            }
            ErrorStyle::S3Xml => {
                let mut body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>",
                    escape(&self.code),
                    escape(&self.message)
                );
                for (name, value) in &self.facts {
                    body.push_str(&format!("<{name}>{}</{name}>", escape(value)));
                }
                body.push_str(&format!(
                    "<Resource>{}</Resource><RequestId>{request_id}</RequestId><HostId>sandbox</HostId></Error>",
                    escape(resource)
                ));
                Reply::new(self.status, "application/xml", body)
            }
            ErrorStyle::QueryXml => Reply::new(
                self.status,
                "text/xml",
                format!(
                    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    \
                     <Type>{}</Type>\n    <Code>{}</Code>\n    <Message>{}</Message>\n  </Error>\n  \
                     <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n",
                    if self.status.is_server_error() { "Receiver" } else { "Sender" },
                    escape(&self.code),
                    escape(&self.message)
                ),
            ),
            ErrorStyle::Vault => {
                let errors: Vec<&str> =
                    Some(self.message.as_str()).filter(|text| !text.is_empty()).into_iter().collect();
                Reply::json(self.status, &json!({ "errors": errors }))
            }
            ErrorStyle::Text => Reply::text(self.status, format!("{}\n", self.message)),
        }
    }
}

/// A refusal in the words of a service of this style.
pub(crate) fn refusal_error(refusal: &Refusal, style: ErrorStyle, now_ms: i64) -> ServiceError {
    match style {
        ErrorStyle::S3Xml => s3_error(refusal, now_ms),
        ErrorStyle::QueryXml => {
            let (code, message) = common_words(refusal);
            let code = match code {
                "InvalidSignatureException" => "SignatureDoesNotMatch",
                "UnrecognizedClientException" => "InvalidClientTokenId",
                "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
                "IncompleteSignatureException" => "IncompleteSignature",
                "ExpiredTokenException" => "ExpiredToken",
                "AccessDeniedException" => "AccessDenied",
                other => other,
            };
            let status = if code == "IncompleteSignature" { StatusCode::BAD_REQUEST } else { StatusCode::FORBIDDEN };
            let message = match refusal {
                Refusal::Unsigned => "Request is missing Authentication Token".to_owned(),
                _ => message,
            };
            ServiceError::new(status, code, message)
        }
        ErrorStyle::Json11 => {
            let (code, message) = common_words(refusal);
            ServiceError::new(StatusCode::BAD_REQUEST, code, message)
        }
        ErrorStyle::RestJson | ErrorStyle::Vault | ErrorStyle::Text => {
            let (code, message) = common_words(refusal);
            ServiceError::new(StatusCode::FORBIDDEN, code, message)
        }
    }
}

/// Code and message as the JSON services and API gateways word them.
fn common_words(refusal: &Refusal) -> (&'static str, String) {
    const SIGNATURE: &str = "InvalidSignatureException";
    match refusal {
        Refusal::Unsigned => ("MissingAuthenticationTokenException", "Missing Authentication Token".to_owned()),
        Refusal::Malformed { what } => ("IncompleteSignatureException", what.clone()),
        Refusal::UnknownKey { .. }
        | Refusal::InactiveKey { .. }
        | Refusal::TokenMissing { .. }
        | Refusal::TokenWrong { .. } => {
            ("UnrecognizedClientException", "The security token included in the request is invalid.".to_owned())
        }
        Refusal::Expired { .. } => {
            ("ExpiredTokenException", "The security token included in the request is expired".to_owned())
        }
        Refusal::ScopeDate { given, timestamp } => (
            SIGNATURE,
            format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{given}' != '{}', from '{timestamp}'.",
                timestamp.get(..8).unwrap_or_default()
            ),
        ),
        Refusal::ScopeRegion { expected: Some(expected), .. } => (
            SIGNATURE,
            format!(
                "Credential should be scoped to a valid region, not '{}'. Expected '{expected}'.",
                region_of(refusal)
            ),
        ),
        Refusal::ScopeRegion { .. } => (SIGNATURE, "Credential should be scoped to a valid region.".to_owned()),
        Refusal::ScopeService { expected, .. } => {
            (SIGNATURE, format!("Credential should be scoped to correct service: '{expected}'."))
        }
        Refusal::ScopeTerminator { given } => {
            (SIGNATURE, format!("Credential should be scoped with a valid terminator: 'aws4_request', not '{given}'."))
        }
        Refusal::TooOld(gap) => (
            SIGNATURE,
            format!(
                "Signature expired: {} is now earlier than {} ({} - {} min.)",
                gap.request, gap.limit, gap.server, gap.window_minutes
            ),
        ),
        Refusal::TooNew(gap) => (
            SIGNATURE,
            format!(
                "Signature not yet current: {} is still later than {} ({} + {} min.)",
                gap.request, gap.limit, gap.server, gap.window_minutes
            ),
        ),
        Refusal::PresignedExpired(gap) => (
            SIGNATURE,
            format!("Signature expired: {} is now earlier than {} ({})", gap.request, gap.limit, gap.server),
        ),
        Refusal::HostNotSigned => {
            (SIGNATURE, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned())
        }
        Refusal::HeadersNotSigned { names } => {
            (SIGNATURE, format!("'{}' must be a 'SignedHeader' in the AWS Authorization.", names.join("', '")))
        }
        Refusal::Signature(mismatch) => (
            SIGNATURE,
            format!(
                "The request signature we calculated does not match the signature you provided. Check your AWS \
                 Secret Access Key and signing method. Consult the service documentation for details.\n\nThe \
                 Canonical String for this request should have been\n'{}'\n\nThe String-to-Sign should have \
                 been\n'{}'\n",
                mismatch.canonical_request, mismatch.string_to_sign
            ),
        ),
        Refusal::PayloadHashMissing
        | Refusal::PayloadHash { .. }
        | Refusal::UnsignedPayload
        | Refusal::StreamingPayload => (SIGNATURE, refusal.reason()),
        Refusal::NotAllowed { arn, action, resource, is_denied } => (
            "AccessDeniedException",
            format!(
                "User: {arn} is not authorized to perform: {action} on resource: {resource} {}",
                because(action, *is_denied)
            ),
        ),
        Refusal::NotTrusted { who, action, role, .. } => (
            "AccessDeniedException",
            format!("User: {} is not authorized to perform: {action} on resource: {role}", shown_long(who)),
        ),
        Refusal::WebIdentity { what } | Refusal::Certificate { what } | Refusal::BearerToken { what } => {
            ("AccessDeniedException", what.clone())
        }
    }
}

/// The end of AWS's sentence about a missing permission.
fn because(action: &str, is_denied: bool) -> String {
    if is_denied {
        "with an explicit deny in an identity-based policy".to_owned()
    } else {
        format!("because no identity-based policy allows the {action} action")
    }
}

fn region_of(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::ScopeRegion { given, .. } => given,
        _ => "",
    }
}

fn s3_error(refusal: &Refusal, now_ms: i64) -> ServiceError {
    const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let malformed = |what: String| {
        ServiceError::new(BAD, "AuthorizationHeaderMalformed", format!("The authorization header is malformed; {what}"))
    };
    match refusal {
        Refusal::Unsigned => ServiceError::new(FORBIDDEN, "AccessDenied", "Access Denied"),
        Refusal::Malformed { what } => malformed(what.clone()),
        Refusal::UnknownKey { access_key_id } | Refusal::InactiveKey { access_key_id } => ServiceError::new(
            FORBIDDEN,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )
        .with("AWSAccessKeyId", access_key_id),
        Refusal::TokenMissing { access_key_id } => ServiceError::new(
            FORBIDDEN,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )
        .with("AWSAccessKeyId", access_key_id),
        Refusal::TokenWrong { .. } => {
            ServiceError::new(BAD, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        }
        Refusal::Expired { .. } => ServiceError::new(BAD, "ExpiredToken", "The provided token has expired."),
        Refusal::ScopeDate { given, timestamp } => malformed(format!(
            "Invalid credential date \"{given}\". This date is not the same as X-Amz-Date: \"{timestamp}\"."
        )),
        Refusal::ScopeRegion { given, expected: Some(expected) } => {
            malformed(format!("the region '{given}' is wrong; expecting '{expected}'")).with("Region", expected)
        }
        Refusal::ScopeRegion { given, .. } => {
            malformed(format!("a non-empty region must be provided in the credential, not '{given}'."))
        }
        Refusal::ScopeService { given, .. } => {
            malformed(format!("incorrect service \"{given}\". This endpoint belongs to \"s3\"."))
        }
        Refusal::ScopeTerminator { given } => {
            malformed(format!("incorrect terminal \"{given}\". This endpoint uses \"aws4_request\"."))
        }
        Refusal::TooOld(gap) | Refusal::TooNew(gap) => ServiceError::new(
            FORBIDDEN,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        )
        .with("RequestTime", &gap.request)
        .with("ServerTime", extended_utc(now_ms))
        .with("MaxAllowedSkewMilliseconds", (gap.window_minutes * 60_000).to_string()),
        Refusal::PresignedExpired(gap) => ServiceError::new(FORBIDDEN, "AccessDenied", "Request has expired")
            .with("X-Amz-Date", &gap.request)
            .with("ServerTime", basic_utc(now_ms)),
        Refusal::HostNotSigned => ServiceError::new(
            FORBIDDEN,
            "AccessDenied",
            "There were headers present in the request which were not signed",
        )
        .with("HeadersNotSigned", "host"),
        Refusal::HeadersNotSigned { names } => ServiceError::new(
            FORBIDDEN,
            "AccessDenied",
            "There were headers present in the request which were not signed",
        )
        .with("HeadersNotSigned", names.join(", ")),
        Refusal::PayloadHashMissing => {
            ServiceError::new(BAD, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        }
        Refusal::PayloadHash { claimed, computed } => ServiceError::new(
            BAD,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
        .with("ClientComputedContentSHA256", claimed)
        .with("S3ComputedContentSHA256", computed),
        Refusal::UnsignedPayload => ServiceError::new(
            BAD,
            "InvalidRequest",
            "UNSIGNED-PAYLOAD is accepted over TLS only; send the payload's hash",
        ),
        Refusal::StreamingPayload => ServiceError::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented.",
        )
        .with("Header", "x-amz-content-sha256"),
        Refusal::Signature(mismatch) => ServiceError::new(
            FORBIDDEN,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and \
             signing method.",
        )
        .with("AWSAccessKeyId", &mismatch.access_key_id)
        .with("StringToSign", &mismatch.string_to_sign)
        .with("SignatureProvided", &mismatch.provided)
        .with("CanonicalRequest", &mismatch.canonical_request),
        Refusal::NotAllowed { arn, action, resource, is_denied } => ServiceError::new(
            FORBIDDEN,
            "AccessDenied",
            format!(
                "User: {arn} is not authorized to perform: {action} on resource: \"{resource}\" {}",
                because(action, *is_denied)
            ),
        ),
        Refusal::NotTrusted { .. }
        | Refusal::WebIdentity { .. }
        | Refusal::Certificate { .. }
        | Refusal::BearerToken { .. } => ServiceError::new(FORBIDDEN, "AccessDenied", "Access Denied"),
    }
}

/// Text inside an XML element. Characters that XML cannot hold become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\r' => out.push_str("&#13;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> Refusal {
        Refusal::UnknownKey { access_key_id: "AK<ID".to_owned() }
    }

    #[test]
    fn one_refusal_has_each_service_kinds_own_words() {
        let rest = refusal_error(&unknown(), ErrorStyle::RestJson, 0).reply(ErrorStyle::RestJson, "r", "/");
        assert_eq!(rest.status, 403);
        assert_eq!(&rest.body[..], br#"{"message":"The security token included in the request is invalid."}"#);
        assert_eq!(rest.headers["x-amzn-errortype"], "UnrecognizedClientException");

        let json = refusal_error(&unknown(), ErrorStyle::Json11, 0).reply(ErrorStyle::Json11, "r", "/");
        assert_eq!(json.status, 400);
        assert!(json.body.starts_with(br#"{"__type":"UnrecognizedClientException""#));

        let s3 = refusal_error(&unknown(), ErrorStyle::S3Xml, 0).reply(ErrorStyle::S3Xml, "r", "/b");
        let body = String::from_utf8_lossy(&s3.body).into_owned();
        assert!(body.contains("<Code>InvalidAccessKeyId</Code>") && body.contains("AK&lt;ID"), "{body}");

        let sts = refusal_error(&unknown(), ErrorStyle::QueryXml, 0).reply(ErrorStyle::QueryXml, "r", "/");
        assert!(String::from_utf8_lossy(&sts.body).contains("<Code>InvalidClientTokenId</Code>"));
    }

    #[test]
    fn xml_text_never_breaks_out_of_its_element() {
        assert_eq!(escape("<a b=\"c\">&\u{1}"), "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd}");
    }
}
