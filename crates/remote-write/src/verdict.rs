//! What an answer means for the data that was sent, and the words that losses are counted under.
//!
//! It reads statuses, headers and bounded body prefixes; it sends nothing and settles nothing. It keeps true: nothing that
//! is about identity, the URL, the network or load is ever a loss. Deliberate differences from Prometheus and Grafana
//! Agent, which drop a batch on every status but 5xx and 429: 401, 403, 404, 405 and other statuses that speak of the
//! address or of who we are *hold* the destination with its data on disk; 400 and 413 isolate what is at fault.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

/// What to do with a request's samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// They are stored.
    Accepted,
    /// The far end stored what it could; the rest is refused for good (Cortex, Mimir, AMP and Thanos answer so to samples
    /// that are out of order, repeated or too old). `written` is how many were stored, where the answer says it.
    Partial { written: Option<u64>, loss: Loss, message: String },
    /// Later, the same samples. `pressure`: the far end is overloaded, so send less at once.
    Retry { after: Option<Duration>, pressure: bool, why: String },
    /// The destination as configured cannot work: keep everything, probe slowly, tell a person.
    Hold { why: String },
    /// The request could not be made: no credentials yet, a secret's file that is missing. Nothing was sent, so nobody over
    /// there is bothered: keep everything, try again soon, tell a person.
    Unready { why: String },
    /// Too much at once: send it in halves; a single sample that is too large is lost.
    TooLarge { message: String },
    /// Something in it is bad. `isolate`: halve to find what; otherwise all of it is refused.
    Refused { loss: Loss, message: String, isolate: bool },
}

/// Why samples were not delivered. The words are label values and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// The far end says that it is malformed.
    BadRequest,
    /// Older than the newest sample of its series there, and not within its window.
    OutOfOrder,
    /// Another value exists there for the same timestamp.
    Duplicate,
    /// Older than the far end takes.
    TooOld,
    /// Outside the far end's time bounds.
    OutOfBounds,
    /// A conflict that the far end does not describe further (Thanos answers 409).
    Conflict,
    /// The far end's limit of series or labels.
    SeriesLimit,
    /// One sample alone is larger than the far end takes.
    TooLarge,
    /// 429 with `retry_on_http_429: false`.
    RateLimited,
    /// The series table on disk is damaged.
    Damaged,
    /// The record or its series table cannot be read.
    Undecodable,
    /// A line further in the future than the far end takes.
    TooNew,
    /// A line older than its log group keeps.
    Retention,
    /// A line longer than the far end takes.
    LineTooLong,
    /// The far end's limit of streams.
    StreamLimit,
    /// A span whose ids are none, or that the far end does not take.
    InvalidId,
}

impl Loss {
    /// The word in counters, logs and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::OutOfOrder => "out_of_order",
            Self::Duplicate => "duplicate",
            Self::TooOld => "too_old",
            Self::OutOfBounds => "out_of_bounds",
            Self::Conflict => "conflict",
            Self::SeriesLimit => "series_limit",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Damaged => "damaged",
            Self::Undecodable => "undecodable",
            Self::TooNew => "too_new",
            Self::Retention => "retention",
            Self::LineTooLong => "line_too_long",
            Self::StreamLimit => "stream_limited",
            Self::InvalidId => "invalid_id",
        }
    }
}

/// How much of an answer's body is kept in messages.
const MESSAGE_CHARS: usize = 200;

/// The first 200 characters of an answer's body on one line, for people.
pub fn message_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body));
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.chars().count() >= MESSAGE_CHARS {
            break;
        }
    }
    // Signature refusals quote the request as signed, session token included.
    if let Some(at) = line.to_ascii_lowercase().find("x-amz-security-token") {
        line.truncate(line.floor_char_boundary(at));
    }
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect()
}

/// `what (message)` or `what` alone when the answer has no text.
pub fn described(what: &str, body: &[u8]) -> String {
    let message = message_of(body);
    if message.is_empty() { what.to_owned() } else { format!("{what}: {message}") }
}

/// The service's error code, if it names one (`net::service_error`).
pub fn error_code(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    net::service_error::parse(status, headers, body).filter(|error| !error.is_bare_status()).map(|error| error.code)
}

/// Codes that mean "slower", whatever the status (the SDKs' list).
pub fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottledException"
            | "RequestThrottled"
            | "TooManyRequestsException"
            | "ProvisionedThroughputExceededException"
            | "TransactionInProgressException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "SlowDown"
            | "PriorRequestNotComplete"
            | "EC2ThrottledException"
    )
}

/// Codes that mean "once more".
pub fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "RequestTimeout"
            | "RequestTimeoutException"
            | "ServiceUnavailable"
            | "ServiceUnavailableException"
            | "InternalFailure"
            | "InternalError"
            | "InternalServiceError"
            | "InternalServerException"
    )
}

/// Codes that mean "too much at once".
pub fn is_too_large(code: &str) -> bool {
    matches!(
        code,
        "EntityTooLarge" | "RequestEntityTooLarge" | "RequestEntityTooLargeException" | "MaxMessageLengthExceeded"
    )
}

/// Codes that speak of who we are, what we may do or what does not exist there: a person has to act, no data is at fault.
pub fn is_about_access(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "NotAuthorized"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
            | "RequestInTheFuture"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "AuthFailure"
            | "AuthorizationHeaderMalformed"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "OptInRequired"
            | "SubscriptionRequired"
            | "RegionDisabledException"
            | "AccountProblem"
            | "ResourceNotFoundException"
            | "NoSuchBucket"
            | "PermanentRedirect"
            | "KMS.DisabledException"
            | "KMS.NotFoundException"
            | "KMS.KMSInvalidStateException"
            | "InvalidKMSResource"
            | "IllegalLocationConstraintException"
    )
}

/// What an answer's words say about its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// These samples are refused; the others of the request are stored (Cortex, Mimir, AMP, Thanos).
    RestStored(Loss),
    /// Some sample is refused, and with it all of the request: Prometheus rolls back.
    RolledBack(Loss),
}

/// Finds the reasons that receivers give for samples they know too well or too late. Their wording is the only thing that
/// tells them apart: all are 400 (Thanos: 409) with a sentence. Prometheus answers with its storage's bare error, the
/// others wrap it (`user=1: err: out of order sample. timestamp=..., series=...`).
pub fn spoken(message: &[u8]) -> Option<Spoken> {
    let text = String::from_utf8_lossy(message.get(..4096).unwrap_or(message)).trim().to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let loss = if has(&[
        "duplicate sample",
        "new-value-for-timestamp",
        "new value for timestamp",
        "sample-duplicate-timestamp",
    ]) {
        Loss::Duplicate
    } else if has(&["too old", "too-old", "too far in the past", "greater_than_max_sample_age"]) {
        Loss::TooOld
    } else if has(&["out of bounds", "out-of-bounds", "too far in the future"]) {
        Loss::OutOfBounds
    } else if has(&["out of order", "out-of-order"]) {
        Loss::OutOfOrder
    } else if has(&[
        "per-user series limit",
        "per_user_series_limit",
        "per-metric series limit",
        "per_metric_series_limit",
    ]) || has(&["per_labelset_series_limit", "max-series-per", "max_series_per"])
    {
        Loss::SeriesLimit
    } else {
        return None;
    };
    let bare = text == "out of bounds"
        || ["out of order sample", "too old sample", "duplicate sample for timestamp"]
            .iter()
            .any(|word| text.starts_with(word));
    let wrapped = has(&["series=", "timestamp=", "user="]);
    Some(if bare && !wrapped { Spoken::RolledBack(loss) } else { Spoken::RestStored(loss) })
}

/// Whether the client found no HTTP/1.1 in an answer, or one that came before it asked: servers of HTTP/2 begin with their settings.
/// `detail`: of `NetError::Protocol`.
pub fn is_no_http1(detail: &str) -> bool {
    ["invalid HTTP version", "received unexpected message"].iter().any(|said| detail.contains(said))
}

/// What that means where OTLP over HTTP is spoken, and what to write.
pub const LOOKS_LIKE_GRPC: &str = "this looks like a port of gRPC, which speaks HTTP/2 alone: write `protocol: grpc`, or the port of OTLP/HTTP (4318)";

/// A web page: what captive portals and login pages answer to everything, and what no receiver of data answers. The type alone
/// tells nothing: some servers give it to `OK` and to no text at all.
pub fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).map_or(&[][..], http::HeaderValue::as_bytes).trim_ascii_start();
    let named = |name: &[u8]| kind.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    let marked_up = begins(b"<") && (named(b"text/html") || named(b"application/xhtml"));
    marked_up || begins(b"<!doctype html") || begins(b"<html")
}

/// Verdicts that do not depend on the protocol: success, load, identity, address. `None`: the answer is about the data.
pub fn judge_common(status: StatusCode, headers: &HeaderMap, body: &[u8], retry_on_429: bool) -> Option<Verdict> {
    if status.is_success() {
        if is_page(headers, body) {
            let why = described("it answered with a web page, which no receiver of data does; check the url", body);
            return Some(Verdict::Hold { why });
        }
        return Some(Verdict::Accepted);
    }
    let code = error_code(status, headers, body);
    let code = code.as_deref();
    let what = match code {
        Some(code) => format!("{} ({code})", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let after = net::retry_after(headers, SystemTime::now());
    let why = described(&what, body);
    if status == StatusCode::TOO_MANY_REQUESTS && !retry_on_429 {
        return Some(Verdict::Refused { loss: Loss::RateLimited, message: why, isolate: false });
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.as_u16() == 509 || code.is_some_and(is_throttle) {
        return Some(Verdict::Retry { after, pressure: true, why });
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE || code.is_some_and(is_too_large) {
        return Some(Verdict::TooLarge { message: why });
    }
    if matches!(status.as_u16(), 401 | 403) || code.is_some_and(is_about_access) {
        let advice = match code {
            Some("ResourceNotFoundException" | "NoSuchBucket") => {
                "make what it does not find, or write the name of one that is there"
            }
            Some("PermanentRedirect" | "IllegalLocationConstraintException") => "write the bucket's own region",
            Some(code) if code.starts_with("KMS.") || code == "InvalidKMSResource" => "check the key and its policy",
            _ => "check this destination's credentials and what they may do",
        };
        return Some(Verdict::Hold { why: format!("{why}; {advice}") });
    }
    if status.is_server_error() || matches!(status.as_u16(), 408 | 421 | 425) || code.is_some_and(is_transient) {
        let pressure = matches!(status.as_u16(), 503 | 504 | 408);
        return Some(Verdict::Retry { after, pressure, why });
    }
    if status.is_redirection() {
        let to = headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        // Without the query, which may hold what is not for a log, and not longer than any other words from there.
        let to = to.map_or("an address it does not name", |to| to.split(['?', '#']).next().unwrap_or_default());
        let to = message_of(to.as_bytes());
        return Some(Verdict::Hold {
            why: format!("{why}; it redirects to {to}: write that address as this destination's url"),
        });
    }
    match status.as_u16() {
        400 | 409 | 412 | 422 => None,
        404 | 410 => {
            Some(Verdict::Hold { why: format!("{why}; nothing takes data at this address: check the url's path") })
        }
        405 => Some(Verdict::Hold {
            why: format!("{why}; this address does not take such requests: check the url's path"),
        }),
        415 => Some(Verdict::Hold {
            why: format!(
                "{why}; this address does not take the form or the compression of what is sent: check the url, `protocol` \
                     and `compression` (remote write 1.0 is protobuf in snappy, and has no other)"
            ),
        }),
        _ => Some(Verdict::Hold { why: format!("{why}; check this destination's url and settings") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_is_known_whatever_it_calls_itself() {
        let page = |kind: &'static str, body: &str| {
            let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind))]);
            is_page(&headers, body.as_bytes())
        };
        assert!(page("Text/HTML;charset=x", " <!-- hotel --><p>Sign in") && page("application/xhtml+xml", "<?xml?>"));
        assert!(page("text/plain", "\u{feff}\n <!DOCTYPE HTML><title>Sign in</title>") && page("", "<HTML lang=en>"));
        assert!(!page("text/html; charset=utf-8", "{}"), "a server that names no type of its own");
        assert!(!page("text/html", "") && !page("text/html; charset=utf-8", "OK"));
        assert!(!page("application/json", "{}") && !page("text/plain", "ok") && !page("application/xml", "<a/>"));
    }

    fn judge(status: u16, body: &str) -> Option<Verdict> {
        judge_common(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), true)
    }

    #[test]
    fn nothing_about_identity_address_or_load_loses_data() {
        for status in [301, 302, 307, 401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 418, 431, 451] {
            assert!(matches!(judge(status, ""), Some(Verdict::Hold { .. })), "{status}");
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 507, 509, 599] {
            assert!(matches!(judge(status, ""), Some(Verdict::Retry { .. })), "{status}");
        }
        for code in ["ExpiredTokenException", "InvalidSignatureException", "AccessDenied"] {
            let body = format!("{{\"__type\":\"{code}\"}}");
            assert!(matches!(judge(400, &body), Some(Verdict::Hold { .. })), "{code}");
        }
        assert!(matches!(
            judge(400, "{\"__type\":\"ThrottlingException\"}"),
            Some(Verdict::Retry { pressure: true, .. })
        ));
    }

    #[test]
    fn a_redirect_is_told_without_its_query_and_in_few_words() {
        for path in ["write".to_owned(), "x".repeat(5000)] {
            let location = format!("https://login.example/{path}?token=not-a-real-secret");
            let headers = [(http::header::LOCATION, location.parse().unwrap())].into_iter().collect();
            let verdict = judge_common(StatusCode::FOUND, &headers, b"", true);
            let Some(Verdict::Hold { why }) = verdict else { panic!("held") };
            assert!(why.contains("https://login.example/") && !why.contains("token"), "{why}");
            assert!(why.len() < 500, "{why}");
        }
    }

    #[test]
    fn who_stored_the_rest_and_who_rolled_back_is_told_by_their_words() {
        for (text, loss) in [
            ("user=1: err: out of order sample. timestamp=2023-11-14T22:13:20Z, series={a=\"b\"}", Loss::OutOfOrder),
            ("user=1: err: duplicate sample for timestamp. timestamp=...", Loss::Duplicate),
            ("err: out of bounds. timestamp=", Loss::OutOfBounds),
            (
                "the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old)",
                Loss::TooOld,
            ),
            ("maxFailure (quorum) on a given error family, per-user series limit of 5 exceeded", Loss::SeriesLimit),
            ("{\"message\":\"out of order sample\"}", Loss::OutOfOrder),
        ] {
            assert_eq!(spoken(text.as_bytes()), Some(Spoken::RestStored(loss)), "{text}");
        }
        for (text, loss) in [
            ("out of order sample\n", Loss::OutOfOrder),
            ("out of bounds\n", Loss::OutOfBounds),
            ("too old sample\n", Loss::TooOld),
            ("duplicate sample for timestamp 17; overrides not allowed: existing 1, new value 2\n", Loss::Duplicate),
        ] {
            assert_eq!(spoken(text.as_bytes()), Some(Spoken::RolledBack(loss)), "{text}");
        }
        assert_eq!(spoken(b"snappy: corrupt input"), None);
    }

    #[test]
    fn messages_are_cut_to_one_short_line() {
        let long = "word\n".repeat(1000);
        let message = message_of(long.as_bytes());
        assert!(message.chars().count() <= 200 && !message.contains('\n'));
        assert_eq!(message_of(b"\x1b[31mred\x00"), "[31mred");
        assert_eq!(message_of(b"should have been 'POST X-Amz-Security-Token:secret'"), "should have been 'POST ");
    }
}
