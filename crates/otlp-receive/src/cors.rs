//! What browsers ask before a page of another origin may send: the CORS protocol of the Fetch standard.
//!
//! Keeps true: without an allowed origin an answer says nothing of CORS, and the browser refuses by itself.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::{answer::AnswerBody, config::Cors};

/// Headers that a page may always send, as the Agent has it.
const ALWAYS: [&str; 4] = ["origin", "accept", "content-type", "x-requested-with"];

/// An origin that may send.
pub(crate) struct Origin(HeaderValue);

impl Origin {
    /// Tells the browser.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The request's origin, if it may send.
pub(crate) fn allowed(cors: &Cors, headers: &HeaderMap) -> Option<Origin> {
    let value = headers.get(header::ORIGIN)?;
    let origin = value.to_str().ok()?.to_ascii_lowercase();
    let matches = |pattern: &String| matches(&pattern.to_ascii_lowercase(), &origin);
    cors.allowed_origins.iter().any(matches).then(|| Origin(value.clone()))
}

/// With one `*` for any text, as the Agent has it.
fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((before, after)) => {
            origin.len() >= before.len() + after.len() && origin.starts_with(before) && origin.ends_with(after)
        }
    }
}

/// The answer to a preflight; `None`: this is none.
pub(crate) fn preflight(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<Response<AnswerBody>> {
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *method == Method::OPTIONS)?;
    let mut response = Response::new(AnswerBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let all = wanted.is_none_or(|wanted| wanted.to_str().is_ok_and(|wanted| every_header(cors, wanted)));
    if let (Some(origin), true, true) = (allowed(cors, headers), asked.as_bytes() == b"POST", all) {
        let headers = response.headers_mut();
        origin.put(headers);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        if let Some(wanted) = wanted {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        if !cors.max_age.is_zero() {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
        }
    }
    Some(response)
}

fn every_header(cors: &Cors, wanted: &str) -> bool {
    wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).all(|name| {
        ALWAYS.iter().any(|always| always.eq_ignore_ascii_case(name))
            || cors.allowed_headers.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors {
            allowed_origins: vec!["https://*.example.com".to_owned(), "http://localhost:3000".to_owned()],
            allowed_headers: vec!["X-Tenant".to_owned()],
            max_age: std::time::Duration::from_secs(60),
        }
    }

    fn asked(origin: &'static str, wanted: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        headers.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(wanted));
        headers
    }

    fn told(headers: &HeaderMap) -> Option<String> {
        let answer = preflight(&cors(), &Method::OPTIONS, headers).unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let origin = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(origin.to_str().unwrap().to_owned())
    }

    #[test]
    fn allowed_origins_are_told_and_others_are_not() {
        assert_eq!(
            told(&asked("https://shop.example.com", "content-type, x-tenant")).unwrap(),
            "https://shop.example.com"
        );
        assert_eq!(told(&asked("http://localhost:3000", "")).unwrap(), "http://localhost:3000");
        assert_eq!(told(&asked("https://example.com.evil.org", "content-type")), None);
        assert_eq!(told(&asked("https://shop.example.com", "x-other")), None, "a header that is not allowed");
        assert!(preflight(&cors(), &Method::POST, &asked("https://shop.example.com", "")).is_none());
        assert!(allowed(&cors(), &HeaderMap::new()).is_none());
    }
}
