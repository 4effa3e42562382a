//! Sends a destination's probe as the agent would send its data, signing again where the identity asks for it.
//!
//! Translates nothing (`answer` does). Keeps true: at most three requests, within one time limit; the canonical request is
//! compared before the signed request is forgotten.

use std::time::Duration;

use aws::{CanonicalVerdict, Identity};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use net::{Authorize, Client, ClientOptions, IdentityVerdict, NetError, Reply, service_error::ServiceError};
use remote_write::{DestinationConfig, LOOKS_LIKE_GRPC, Probe, ProtocolConfig, is_no_http1, traces::OtlpProtocol};
use tokio::time::Instant;

use super::words;

const ANSWER_LIMIT: u64 = 256 << 10;
/// The first attempt, one after a new clock, one with fresh credentials.
const ATTEMPTS: u32 = 3;

/// What came of a probe.
#[derive(Debug)]
pub enum Sent {
    /// There is an answer.
    Answered(Box<Answered>),
    /// The request could not be signed: the identity's words.
    Unsigned(String),
    /// No answer.
    Failed(NetError),
}

/// The last answer, without what may hold a secret.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    /// What AWS-shaped services call it; `None` for successes.
    pub error: Option<ServiceError>,
    /// The first words of the answer.
    pub said: String,
    pub location: Option<String>,
    pub bucket_region: Option<String>,
    /// State and type of the delivery stream that Firehose described.
    pub delivery_stream: Option<(String, String)>,
    /// A web page and no answer of a receiver.
    pub is_page: bool,
    /// The far end's clock minus ours by its `Date`, in milliseconds.
    pub offset_ms: Option<i64>,
    pub canonical: Option<CanonicalVerdict>,
    /// How often it was sent.
    pub attempts: u32,
    /// What made it sign again.
    pub signed_again: Vec<String>,
    pub took: Duration,
}

/// A success that is none: of gRPC what counts stands in `grpc-status`.
const NO_GRPC: &str = "it does not answer as gRPC does: if it is OTLP/HTTP (port 4318), write `protocol: http`";

impl Answered {
    fn refuse(&mut self, status: StatusCode, why: &str) {
        let code = format!("HTTP {}", status.as_u16());
        let error = ServiceError { code, message: why.to_owned(), request_id: None, extended_request_id: None };
        (self.status, self.error, self.said) = (status, Some(error), why.to_owned());
    }
}

/// Sends the probe within `patience` altogether.
pub async fn send(config: &DestinationConfig, identity: Option<&Identity>, probe: &Probe, patience: Duration) -> Sent {
    let mut client = config.client.clone();
    client.follow_redirects = false;
    // As the sender does: a port of gRPC without TLS speaks HTTP/2 from the first byte.
    let grpc = matches!(config.protocol, ProtocolConfig::Otlp(OtlpProtocol::Grpc(_)));
    let http = matches!(config.protocol, ProtocolConfig::Otlp(OtlpProtocol::Http(_)));
    let options = ClientOptions { connect_timeout: patience / 2, http2_only: grpc, ..ClientOptions::default() };
    let client = match Client::new(&client, options) {
        Ok(client) => client,
        Err(error) => return Sent::Failed(error),
    };
    let end = Instant::now() + patience;
    let mut signed_again = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let left = end.saturating_duration_since(Instant::now());
        let mut request = probe.request.clone();
        if let Err(error) = client.prepare(&mut request).await {
            return Sent::Failed(error);
        }
        if let Some(identity) = identity {
            match tokio::time::timeout(left, identity.authorize(&mut request)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Sent::Unsigned(error.to_string()),
                Err(_) => return Sent::Unsigned("no credentials came in time".to_owned()),
            }
        }
        let began = Instant::now();
        let copy = identity.is_some().then(|| request.clone());
        // In whole tenths, because the limit is told when it is over.
        let tenths = end.saturating_duration_since(began).as_millis().div_ceil(100).max(5);
        let left = Duration::from_millis(u64::try_from(tenths).unwrap_or(1).saturating_mul(100));
        let reply = match client.send(request, left, ANSWER_LIMIT).await {
            Ok(reply) => reply,
            Err(NetError::Protocol { host, detail }) if http && is_no_http1(&detail) => {
                return Sent::Failed(NetError::Protocol { host, detail: format!("{detail}: {LOOKS_LIKE_GRPC}") });
            }
            Err(error) => return Sent::Failed(error),
        };
        let verdict = identity.map(|identity| identity.judge(&reply.answer()));
        if let Some(IdentityVerdict::RetryNow { why }) = verdict
            && attempt < ATTEMPTS
            && Instant::now() < end
        {
            signed_again.push(words::said(&why));
            continue;
        }
        let canonical = copy.filter(|_| !reply.status.is_success()).and_then(|request| compare(&request, &reply));
        let mut answered = read(&reply, canonical, attempt, signed_again, began.elapsed());
        if grpc && reply.status.is_success() && !reply.headers.contains_key("grpc-status") {
            answered.refuse(StatusCode::NOT_FOUND, NO_GRPC);
        }
        return Sent::Answered(Box::new(answered));
    }
    Sent::Unsigned("the identity asks to sign again and again".to_owned())
}

fn compare(request: &Request<Bytes>, reply: &Reply) -> Option<CanonicalVerdict> {
    let ours = aws::canonical_request(request).ok()?;
    Some(aws::compare_canonical(&ours, &String::from_utf8_lossy(&reply.body)))
}

fn read(
    reply: &Reply,
    canonical: Option<CanonicalVerdict>,
    attempts: u32,
    signed_again: Vec<String>,
    took: Duration,
) -> Answered {
    let text = |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok()).map(|v| words::short(v, 300));
    let error = net::service_error::parse(reply.status, &reply.headers, &reply.body);
    let is_page = remote_write::is_page(&reply.headers, &reply.body);
    let said = match &error {
        Some(error) if !error.message.is_empty() && !is_page => words::said(&error.message),
        _ if is_page => title(&reply.body),
        _ => String::new(),
    };
    let (status, error) = match grpc_refusal(&reply.headers) {
        Some((status, refusal)) => (status, Some(refusal)),
        None => (reply.status, error),
    };
    let said = match &error {
        Some(error) if said.is_empty() && !is_page => words::said(&error.message),
        _ => said,
    };
    Answered {
        status,
        error,
        said,
        location: text("location").map(|to| match url::Url::parse(&to) {
            Ok(url) => net::masked(&url),
            // Relative; what follows the path may hold a token.
            Err(_) => to.split(['?', '#']).next().unwrap_or_default().to_owned(),
        }),
        bucket_region: text("x-amz-bucket-region"),
        delivery_stream: delivery_stream(&reply.body),
        is_page,
        offset_ms: offset(&reply.headers, reply),
        canonical,
        attempts,
        signed_again,
        took,
    }
}

/// gRPC says 200 to everything and means what stands in `grpc-status`; here as the HTTP status that means the same.
fn grpc_refusal(headers: &HeaderMap) -> Option<(StatusCode, ServiceError)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let code: u32 = text("grpc-status")?.trim().parse().ok().filter(|code| *code != 0)?;
    let status = match code {
        16 => StatusCode::UNAUTHORIZED,
        7 => StatusCode::FORBIDDEN,
        12 => StatusCode::NOT_FOUND,
        8 => StatusCode::TOO_MANY_REQUESTS,
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let message = words::short(text("grpc-message").unwrap_or_default(), 300);
    let code = format!("HTTP {}", status.as_u16());
    let message = format!("gRPC status {}: {message}", text("grpc-status").unwrap_or_default().trim());
    Some((status, ServiceError { code, message, request_id: None, extended_request_id: None }))
}

fn delivery_stream(body: &[u8]) -> Option<(String, String)> {
    let described: serde_json::Value = serde_json::from_slice(body).ok()?;
    let field = |name: &str| {
        let text = described.pointer(&format!("/DeliveryStreamDescription/{name}"))?.as_str()?;
        Some(words::short(text, 60))
    };
    Some((field("DeliveryStreamStatus")?, field("DeliveryStreamType")?))
}

/// The title of a web page, which tells who answered.
fn title(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body));
    let lower = text.to_ascii_lowercase();
    let found = lower.find("<title>").and_then(|from| {
        let rest = text.get(from + 7..)?;
        rest.split('<').next().map(words::said)
    });
    found.filter(|t| !t.is_empty()).map_or_else(|| "a web page".to_owned(), |t| format!("a web page titled {t:?}"))
}

fn offset(headers: &HeaderMap, reply: &Reply) -> Option<i64> {
    if headers.contains_key("age") {
        return None;
    }
    let server = net::parse_http_date(headers.get("date")?.to_str().ok()?)?;
    let trip = reply.received_at.duration_since(reply.sent_at).ok()?;
    let middle = reply.sent_at.checked_add(trip / 2)?;
    let millis = |at: std::time::SystemTime| {
        i64::try_from(at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    millis(server)?.checked_sub(millis(middle)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_in_grpcs_trailers_is_no_yes() {
        let headers = |status: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().unwrap());
            headers.insert("grpc-message", "no such key".parse().unwrap());
            headers
        };
        for (grpc, http) in [("16", 401), ("7", 403), ("12", 404), ("8", 429), ("14", 503), ("3", 400)] {
            let (status, refusal) = grpc_refusal(&headers(grpc)).unwrap();
            assert_eq!(status.as_u16(), http);
            assert!(refusal.is_bare_status() && refusal.message.contains("no such key"), "{refusal:?}");
        }
        assert_eq!(grpc_refusal(&headers("0")), None);
        assert_eq!(grpc_refusal(&HeaderMap::new()), None);
    }

    #[test]
    fn a_pages_title_tells_who_answered() {
        assert_eq!(title(b"<html><TITLE>Sign in</TITLE>"), "a web page titled \"Sign in\"");
        assert_eq!(title(b"<html>"), "a web page");
    }
}
