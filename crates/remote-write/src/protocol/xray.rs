//! X-Ray `PutTraceSegments`: `POST /TraceSegments` of up to 50 documents, which are JSON as text in JSON.
//!
//! The answer names the documents that were not taken. It keeps true: those that X-Ray had no time for are sent again alone,
//! the others are lost with X-Ray's reason.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use serde::Deserialize;
use url::Url;

use crate::{
    logs::wire::LogVerdict,
    traces::{XRayConfig, documents::SpanDocuments},
    verdict::{Loss, Verdict, described, error_code, is_throttle, is_transient, judge_common, message_of},
};

/// See the file's head.
#[derive(Debug)]
pub(crate) struct XRay {
    address: Url,
    options: xray::Options,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Answer {
    unprocessed_trace_segments: Vec<Unprocessed>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Unprocessed {
    id: Option<String>,
    error_code: Option<String>,
    message: Option<String>,
}

impl XRay {
    pub(crate) fn new(mut address: Url, config: XRayConfig) -> Self {
        let path = address.path().trim_end_matches('/').to_owned();
        if !path.ends_with("/TraceSegments") {
            address.set_path(&format!("{path}/TraceSegments"));
        }
        let XRayConfig { annotations, annotate_all, log_groups } = config;
        let options = xray::Options { annotations, annotate_all, log_groups, ..xray::Options::default() };
        Self { address, options }
    }

    pub(crate) fn options(&self) -> &xray::Options {
        &self.options
    }

    pub(crate) fn request(&self, body: &Bytes) -> Result<Request<Bytes>, http::Error> {
        Request::post(self.address.as_str()).header(header::CONTENT_TYPE, "application/json").body(body.clone())
    }

    pub(crate) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        spans: &[SpanDocuments],
    ) -> LogVerdict {
        // Whatever type it gives itself: who answers with such an object knows what was asked.
        if status.is_success() {
            return unprocessed(body, spans);
        }
        match judge_common(status, headers, body, true) {
            Some(verdict) => verdict.into(),
            None => {
                let code = error_code(status, headers, body).unwrap_or_else(|| status.as_u16().to_string());
                let message = described(&code, body);
                Verdict::Refused { loss: Loss::BadRequest, message, isolate: true }.into()
            }
        }
    }
}

fn unprocessed(body: &[u8], spans: &[SpanDocuments]) -> LogVerdict {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        let why = described("it answers a success that is not X-Ray's; check the url", body);
        return Verdict::Hold { why }.into();
    };
    // Some documents come back without their id: then it is one of those that nobody else names.
    let (mut fates, mut unnamed): (Vec<Option<Option<Loss>>>, Vec<Option<Loss>>) =
        (vec![None; spans.len()], Vec::new());
    let mut message = String::new();
    for one in answer.unprocessed_trace_segments {
        let code = one.error_code.unwrap_or_default();
        let words = one.message.unwrap_or_default();
        let loss = (!is_throttle(&code) && !is_transient(&code)).then(|| loss_of(&code, &words));
        if message.is_empty() || loss.is_some() {
            message = message_of(format!("{code}: {words}").as_bytes());
        }
        let named = one.id.filter(|id| !id.is_empty());
        let place = named.and_then(|id| spans.iter().position(|span| span.has(&id))).and_then(|at| fates.get_mut(at));
        match place {
            // A span of two documents is lost with one of them.
            Some(fate) => *fate = Some(fate.flatten().or(loss)),
            None => unnamed.push(loss),
        }
    }
    for (fate, loss) in fates.iter_mut().filter(|fate| fate.is_none()).zip(unnamed) {
        *fate = Some(loss);
    }
    let lost: Vec<_> = fates.iter().enumerate().filter_map(|(at, fate)| Some((at..at + 1, (*fate)??))).collect();
    let again: Vec<_> = fates.iter().enumerate().filter(|(_, fate)| **fate == Some(None)).map(|(at, _)| at).collect();
    if lost.is_empty() && again.is_empty() {
        return Verdict::Accepted.into();
    }
    LogVerdict::Each { lost, again, message }
}

fn loss_of(code: &str, words: &str) -> Loss {
    let text = format!("{code} {words}").to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["size", "too large", "toolarge", "limit exceeded"]) {
        Loss::TooLarge
    } else if has(&["too old", "expired", "in the past"]) {
        Loss::TooOld
    } else if has(&["future"]) {
        Loss::TooNew
    } else if has(&["traceid", "trace_id", "trace id", "invalidid"]) {
        Loss::InvalidId
    } else {
        Loss::BadRequest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::documents::tests::{documents, names, request};

    fn wire() -> XRay {
        XRay::new(Url::parse("https://xray.us-east-1.amazonaws.com").unwrap(), XRayConfig::default())
    }

    /// Of three spans, the second of which has two documents: `a`, `b` and `c`, `d` in the answer are their ids.
    fn judge(status: u16, body: &str) -> LogVerdict {
        let documents = documents(&request(&[1, 101, 3])).remove(0);
        let ids = names(&documents.body());
        assert_eq!(ids.len(), 4);
        let body = ["\"a\"", "\"b\"", "\"c\"", "\"d\""]
            .iter()
            .zip(&ids)
            .fold(body.to_owned(), |body, (name, id)| body.replace(name, id));
        let status = StatusCode::from_u16(status).unwrap();
        wire().judge(status, &HeaderMap::new(), body.as_bytes(), &documents.spans)
    }

    #[test]
    fn documents_are_posted_as_json() {
        let body = documents(&request(&[1])).remove(0).body();
        let request = wire().request(&body).unwrap();
        assert_eq!(request.uri(), "https://xray.us-east-1.amazonaws.com/TraceSegments");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.body(), &body);
    }

    #[test]
    fn documents_that_were_not_taken_are_lost_or_sent_again_alone() {
        assert_eq!(judge(200, "{\"UnprocessedTraceSegments\":[]}"), Verdict::Accepted.into());
        assert_eq!(judge(200, "{}"), Verdict::Accepted.into());
        let verdict = judge(
            200,
            r#"{"UnprocessedTraceSegments":[{"Id":"c","ErrorCode":"InvalidTraceId","Message":"m"},{"Id":"d","ErrorCode":"ThrottledException","Message":"slow"}]}"#,
        );
        let LogVerdict::Each { lost, again, message } = verdict else { panic!("each") };
        assert_eq!((lost, again), (vec![(1..2, Loss::InvalidId)], vec![2]));
        assert_eq!(message, "InvalidTraceId: m");
        let nameless = judge(
            200,
            r#"{"UnprocessedTraceSegments":[{"Id":"a","ErrorCode":"X"},{"ErrorCode":"MissingParam","Message":"size"}]}"#,
        );
        let LogVerdict::Each { lost, again, .. } = nameless else { panic!("each") };
        assert_eq!((lost, again), (vec![(0..1, Loss::BadRequest), (1..2, Loss::TooLarge)], vec![]));
    }

    #[test]
    fn throttling_and_permission_never_cost_data() {
        assert!(matches!(judge(429, r#"{"message":"Rate exceeded"}"#), LogVerdict::Whole(Verdict::Retry { .. })));
        let denied = r#"{"__type":"AccessDeniedException","Message":"User is not authorized"}"#;
        assert!(matches!(judge(403, denied), LogVerdict::Whole(Verdict::Hold { .. })));
        let bad = r#"{"__type":"InvalidRequestException","Message":"no"}"#;
        assert!(matches!(judge(400, bad), LogVerdict::Whole(Verdict::Refused { isolate: true, .. })));
        for nobody in ["<html>", "", "thanks"] {
            assert!(matches!(judge(200, nobody), LogVerdict::Whole(Verdict::Hold { .. })), "{nobody}");
        }
    }
}
