//! What a service that hands out credentials answered instead of some, as a kind.
//!
//! Sends nothing and judges no answer to telemetry (`verdict` does). Keeps true: a page is never taken for the service's own word;
//! trouble of the service is never blamed on the identity.

use http::{HeaderMap, StatusCode};
use net::{Reply, service_error::ServiceError};

use crate::{
    fault::{Asked, Fault, Refused},
    words::printable,
};

/// An answer without credentials.
#[derive(Debug)]
pub(crate) struct Denial {
    /// What was said, for people.
    pub(crate) said: String,
    pub(crate) fault: Fault,
}

/// `None` for an answer below 300.
pub(crate) fn denial(by: Asked, reply: &Reply) -> Option<Denial> {
    let refusal = net::service_error::parse(reply.status, &reply.headers, &reply.body)?;
    let status = reply.status.as_u16();
    if let Some(page) = page(&reply.headers, &reply.body) {
        let said = format!(
            "{page} answered (HTTP {status}) in place of {}: something between, such as a proxy, a load balancer, a firewall or a login page",
            by.name()
        );
        return Some(Denial { said, fault: Fault::OddAnswer(by) });
    }
    // Empty answers are those of services in trouble too.
    if refusal.is_bare_status() && !reply.body.trim_ascii().is_empty() {
        let said = format!(
            "it answered HTTP {status} with {}, which {} never does: something between, such as a proxy or a load balancer, answered in its place",
            likeness(reply),
            by.name()
        );
        return Some(Denial { said, fault: Fault::OddAnswer(by) });
    }
    let refused = Refused::new(by, &refusal.code, &refusal.message);
    let message = printable(&refusal.message, 400);
    let colon = if message.is_empty() { "" } else { ": " };
    if is_trouble(reply.status, &refusal) {
        let code = if refusal.is_bare_status() { String::new() } else { format!("{} ", printable(&refusal.code, 80)) };
        let what = if is_throttle(reply.status, &refusal) { "throttles" } else { "is in trouble" };
        let said = format!(
            "{} {what}: it answered {code}(HTTP {status}){colon}{message}; it is asked again by itself",
            by.name()
        );
        return Some(Denial { said, fault: Fault::InTrouble(refused) });
    }
    Some(Denial { said: format!("{}{colon}{message}", printable(&refusal.code, 80)), fault: Fault::Refused(refused) })
}

/// The service cannot just now, whoever asks.
pub(crate) fn is_trouble(status: StatusCode, refusal: &ServiceError) -> bool {
    status.is_server_error() || is_throttle(status, refusal)
}

/// By the lists of the SDKs (botocore's retry handlers): the same service answers 400, 403 or 429 to too much.
fn is_throttle(status: StatusCode, refusal: &ServiceError) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || matches!(
            refusal.code.strip_suffix("Exception").unwrap_or(&refusal.code),
            "Throttling"
                | "Throttled"
                | "RequestThrottled"
                | "TooManyRequests"
                | "RequestLimitExceeded"
                | "BandwidthLimitExceeded"
                | "SlowDown"
        )
}

/// What an answer that is none looks like: `nothing`, `a web page titled "Sign in"`, `JSON`, `XML`, `text ("upstream ...")`.
pub(crate) fn likeness(reply: &Reply) -> String {
    if let Some(page) = page(&reply.headers, &reply.body) {
        return page;
    }
    match reply.body.trim_ascii() {
        [] => "nothing".to_owned(),
        // Either may hold what is nobody's business.
        [b'{' | b'[', ..] => "JSON".to_owned(),
        [b'<', ..] => "XML".to_owned(),
        text => match std::str::from_utf8(text.get(..200).unwrap_or(text)) {
            Ok(text) => format!("text ({:?})", printable(text, 60)),
            Err(_) => "bytes that are no text".to_owned(),
        },
    }
}

/// `a web page titled "Sign in"`, where the answer is one.
fn page(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(body));
    let lower = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let is_called_one = headers
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|kind| kind.trim().starts_with("text/html"));
    if !is_called_one && !lower.starts_with("<!doctype html") && !lower.starts_with("<html") {
        return None;
    }
    let title = lower.split_once("<title>").and_then(|(_, rest)| rest.split('<').next());
    // Found in small letters, shown as it is written: ASCII changes no length.
    let title = title.and_then(|title| {
        let at = lower.find(title)?;
        text.trim_start_matches('\u{feff}').trim_start().get(at..at + title.len())
    });
    let title = title.map(|title| printable(title, 80)).filter(|title| !title.is_empty());
    Some(title.map_or_else(|| "a web page".to_owned(), |title| format!("a web page titled {title:?}")))
}

impl Asked {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sts | Self::StsWebIdentity => "STS",
            Self::RolesAnywhere => "Roles Anywhere",
            Self::Container => "the container endpoint",
            Self::InstanceMetadata => "instance metadata",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, kind: &str, body: &str) -> Denial {
        let now = std::time::SystemTime::now();
        let mut headers = HeaderMap::new();
        headers.insert("content-type", kind.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let reply =
            Reply { status, headers, body: body.to_owned().into(), truncated: false, sent_at: now, received_at: now };
        denial(Asked::Sts, &reply).unwrap()
    }

    #[test]
    fn a_page_is_something_between_and_trouble_is_not_the_identitys() {
        let xml = |code: &str| {
            format!("<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>")
        };
        for (status, kind, body) in [
            (403, "text/html; charset=utf-8", "<html><head><title>Access Denied</title>".to_owned()),
            (503, "text/plain", "  <!DOCTYPE HTML><TITLE>Access Denied</TITLE>".to_owned()),
        ] {
            let told = told(status, kind, &body);
            assert_eq!(told.fault, Fault::OddAnswer(Asked::Sts));
            assert!(
                told.said.contains("a web page titled \"Access Denied\"") && told.said.contains("something between")
            );
        }
        for (status, body, likeness) in [
            (503, "upstream connect error", "text (\"upstream connect error\")"),
            (403, "{}", "JSON"),
            (502, "<a/>", "XML"),
        ] {
            let told = told(status, "text/plain", body);
            assert_eq!(told.fault, Fault::OddAnswer(Asked::Sts), "{body}");
            assert!(told.said.contains(&format!("HTTP {status} with {likeness}")), "{told:?}");
        }
        for (status, body) in
            [(500, xml("InternalFailure")), (503, String::new()), (400, xml("Throttling")), (429, String::new())]
        {
            let told = told(status, "text/xml", &body);
            assert!(matches!(told.fault, Fault::InTrouble(_)) && told.said.contains("asked again"), "{told:?}");
            assert!(told.said.contains(&format!("(HTTP {status})")), "{told:?}");
        }
        let denied = told(403, "text/xml", &xml("AccessDenied"));
        assert_eq!(denied.said, "AccessDenied: m");
        assert!(matches!(denied.fault, Fault::Refused(refused) if refused.code == "AccessDenied"));
    }
}
