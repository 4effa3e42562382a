//! Names what an AWS-shaped service complained about: code, message, request id, whatever the protocol of the answer.
//!
//! Judges nothing. Keeps true: any bytes are read in bounded time and memory, and never panic.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// What a service said in a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// The service's own error code, such as `ExpiredTokenException`; `HTTP 403` when it names none.
    pub code: String,
    /// Its text; may be empty. At most 2000 characters.
    pub message: String,
    /// `x-amzn-requestid` or `x-amz-request-id`, else the one in the body.
    pub request_id: Option<String>,
    /// `x-amz-id-2`, which S3 support asks for.
    pub extended_request_id: Option<String>,
}

impl ServiceError {
    /// True when `code` is only the HTTP status, so that nothing is known but that.
    pub fn is_bare_status(&self) -> bool {
        self.code.starts_with("HTTP ")
    }
}

/// Bodies are read this far; real ones are below 10 KiB.
const BODY_LIMIT: usize = 64 << 10;
const MESSAGE_LIMIT: usize = 2000;
const CODE_LIMIT: usize = 120;

/// Reads a refusal. `None` for an answer below 300.
///
/// The code is looked for in this order: `x-amzn-errortype` up to `:`, `x-amzn-query-error` up to `;`, JSON `__type` after
/// the last `#` or `code` / `Code`, the first XML `<Code>` (STS's `ErrorResponse` and S3's root `Error` alike), a message
/// that is a code in words (API Gateway and AMP: `Missing Authentication Token`), else the HTTP status.
pub fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<ServiceError> {
    if status.as_u16() < 300 {
        return None;
    }
    let body = body.get(..BODY_LIMIT.min(body.len())).unwrap_or_default();
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim).filter(|v| !v.is_empty());
    let from_body = read_body(body);
    let code = text("x-amzn-errortype")
        .and_then(|v| v.split(':').next())
        .map(after_hash)
        .or_else(|| text("x-amzn-query-error").and_then(|v| v.split(';').next()))
        .map(str::trim)
        .filter(|v| !v.is_empty())
        .map(ToOwned::to_owned)
        .or(from_body.code)
        .map(|code| cut(&code, CODE_LIMIT));
    let message = cut(from_body.message.as_deref().unwrap_or_default().trim(), MESSAGE_LIMIT);
    let code = code
        .or_else(|| code_in_words(&message).map(ToOwned::to_owned))
        .unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
    let request_id = text("x-amzn-requestid")
        .or_else(|| text("x-amz-request-id"))
        .map(|v| cut(v, 200))
        .or_else(|| from_body.request_id.map(|v| cut(&v, 200)));
    let extended_request_id = text("x-amz-id-2").map(|v| cut(v, 200));
    Some(ServiceError { code, message, request_id, extended_request_id })
}

#[derive(Default)]
struct Read {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

fn read_body(body: &[u8]) -> Read {
    let text = String::from_utf8_lossy(body);
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    match trimmed.as_bytes().first() {
        Some(b'{') => read_json(trimmed).unwrap_or_default(),
        Some(b'<') => Read {
            code: element(trimmed, "Code").filter(|c| !c.is_empty() && !c.contains(['<', '\n'])),
            message: element(trimmed, "Message"),
            request_id: element(trimmed, "RequestId").or_else(|| element(trimmed, "RequestID")),
        },
        // Plain text (Cortex, Prometheus, proxies) is its own message.
        Some(_) => Read { message: Some(trimmed.to_owned()), ..Read::default() },
        None => Read::default(),
    }
}

fn read_json(text: &str) -> Option<Read> {
    let value: Value = serde_json::from_str(text).ok()?;
    // Some gateways wrap the error in another object.
    let inner = value.get("error").or_else(|| value.get("Error")).filter(|v| v.is_object()).unwrap_or(&value);
    let field = |names: &[&str]| {
        names.iter().find_map(|name| match inner.get(name).or_else(|| value.get(name)) {
            Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
            _ => None,
        })
    };
    let code = field(&["__type", "code", "Code"])
        .map(|c| after_hash(c.split(':').next().unwrap_or_default()).to_owned())
        .filter(|c| !c.is_empty());
    Some(Read {
        code,
        message: field(&["message", "Message", "errorMessage", "error"]),
        request_id: field(&["requestId", "RequestId"]),
    })
}

fn after_hash(code: &str) -> &str {
    code.rsplit('#').next().unwrap_or(code).trim()
}

/// The text of the first `<name>` element, entities undone. Not an XML parser: error documents have no attributes there.
fn element(text: &str, name: &str) -> Option<String> {
    let start = text.find(&format!("<{name}>"))? + name.len() + 2;
    let rest = text.get(start..)?;
    let end = rest.find(&format!("</{name}>"))?;
    let raw = rest.get(..end)?;
    let mut out = raw.to_owned();
    for (entity, plain) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&#xA;", "\n"),
        ("&amp;", "&"),
    ] {
        if out.contains(entity) {
            out = out.replace(entity, plain);
        }
    }
    Some(out)
}

/// The gateways in front of AMP and API Gateway answer `{"message": "..."}` without a code.
fn code_in_words(message: &str) -> Option<&'static str> {
    let lower = message.to_ascii_lowercase();
    const WORDS: &[(&str, &str)] = &[
        ("missing authentication token", "MissingAuthenticationToken"),
        ("security token included in the request is expired", "ExpiredTokenException"),
        ("security token included in the request is invalid", "UnrecognizedClientException"),
        ("signature expired", "RequestExpired"),
        ("signature not yet current", "RequestInTheFuture"),
        ("request signature we calculated does not match", "SignatureDoesNotMatch"),
        ("credential should be scoped to", "SignatureDoesNotMatch"),
        ("is not authorized to perform", "AccessDeniedException"),
        ("rate exceeded", "ThrottlingException"),
    ];
    WORDS.iter().find(|(words, _)| lower.contains(words)).map(|(_, code)| *code)
}

/// The first characters, those that steer a terminal replaced: what a far end says is shown to people.
fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn no_control_character_is_passed_on() {
        let body = "<Error><Code>Bad\u{7f}Digest</Code><Message>a\u{1b}b\nc</Message></Error>";
        let error = parse(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes()).unwrap();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("Bad Digest", "a b c"));
    }

    #[test]
    fn every_shape_of_refusal_gives_its_code_and_message() {
        type Case<'a> = (u16, &'a [(&'static str, &'a str)], &'a str, &'a str, &'a str);
        let cases: &[Case<'_>] = &[
            (
                400,
                &[("x-amzn-errortype", "ExpiredTokenException:http://internal.amazon.com/coral/")],
                r#"{"message":"m"}"#,
                "ExpiredTokenException",
                "m",
            ),
            (
                400,
                &[("x-amzn-query-error", "AccessDenied;Sender")],
                r#"{"__type":"other#X","message":"m"}"#,
                "AccessDenied",
                "m",
            ),
            (
                400,
                &[],
                r#"{"__type":"com.amazonaws.logs#ThrottlingException","message":"Rate exceeded"}"#,
                "ThrottlingException",
                "Rate exceeded",
            ),
            (400, &[], r#"{"__type":"InvalidSignatureException","Message":"x"}"#, "InvalidSignatureException", "x"),
            (403, &[], r#"{"code":"AccessDenied","message":"x"}"#, "AccessDenied", "x"),
            (
                403,
                &[],
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>a &amp;lt; b</Message></Error><RequestId>r-1</RequestId></ErrorResponse>",
                "ExpiredToken",
                "a &lt; b",
            ),
            (
                403,
                &[],
                "<?xml version=\"1.0\"?>\n<Error><Code>RequestTimeTooSkewed</Code><Message>late</Message></Error>",
                "RequestTimeTooSkewed",
                "late",
            ),
            (
                403,
                &[],
                r#"{"message":"Missing Authentication Token"}"#,
                "MissingAuthenticationToken",
                "Missing Authentication Token",
            ),
            (
                403,
                &[],
                r#"{"message":"User: arn:aws:iam::1:user/u is not authorized to perform: aps:RemoteWrite on resource: x"}"#,
                "AccessDeniedException",
                "User: arn:aws:iam::1:user/u is not authorized to perform: aps:RemoteWrite on resource: x",
            ),
            (
                403,
                &[],
                r#"{"message":"Credential should be scoped to correct service: 'aps'. "}"#,
                "SignatureDoesNotMatch",
                "Credential should be scoped to correct service: 'aps'.",
            ),
            (400, &[], "out of order sample", "HTTP 400", "out of order sample"),
            (502, &[], "", "HTTP 502", ""),
            (500, &[], "{not json", "HTTP 500", ""),
            (500, &[], "<Code>", "HTTP 500", ""),
            (301, &[], "<Error><Code>PermanentRedirect</Code></Error>", "PermanentRedirect", ""),
        ];
        for (status, pairs, body, code, message) in cases {
            let e = parse(StatusCode::from_u16(*status).unwrap(), &headers(pairs), body.as_bytes()).unwrap();
            assert_eq!((e.code.as_str(), e.message.as_str()), (*code, *message), "{body}");
        }
        assert_eq!(parse(StatusCode::OK, &HeaderMap::new(), b"{}"), None);
    }

    #[test]
    fn request_ids_come_from_headers_before_the_body() {
        let body = b"<Error><Code>X</Code><RequestId>body</RequestId></Error>";
        let from_headers =
            parse(StatusCode::FORBIDDEN, &headers(&[("x-amz-request-id", "head"), ("x-amz-id-2", "long")]), body)
                .unwrap();
        assert_eq!(from_headers.request_id.as_deref(), Some("head"));
        assert_eq!(from_headers.extended_request_id.as_deref(), Some("long"));
        assert_eq!(parse(StatusCode::FORBIDDEN, &HeaderMap::new(), body).unwrap().request_id.as_deref(), Some("body"));
    }

    #[test]
    fn garbage_of_any_size_is_bounded() {
        let deep = "[".repeat(200_000);
        let open = format!("{{\"a\":{deep}");
        for body in [deep.as_bytes(), open.as_bytes(), &[0xff; 100_000], "é".repeat(100_000).as_bytes()] {
            let e = parse(StatusCode::FORBIDDEN, &HeaderMap::new(), body).unwrap();
            assert!(e.message.chars().count() <= MESSAGE_LIMIT);
        }
    }
}
