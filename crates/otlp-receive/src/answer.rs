//! Answers on the wire: bodies with trailers, and `google.rpc.Status` in protobuf and JSON.
//!
//! Sources: google/rpc/status.proto, error_details.proto (RetryInfo), the OTLP specification ("Failures").

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use model::otlp::Signal;

use crate::{elsewhere::Taken, refusal::Refusal};

/// An answer's body: some bytes, and trailers behind them where gRPC wants them.
#[derive(Debug, Default)]
pub(crate) struct AnswerBody {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl AnswerBody {
    pub(crate) fn of(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()).filter(|data: &Bytes| !data.is_empty()), trailers: None }
    }

    pub(crate) fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..self }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.data.take().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// `google.rpc.Status` of a refusal, with a `RetryInfo` where the client may come again.
pub(crate) fn status_message(refusal: &Refusal) -> Vec<u8> {
    let mut status = Vec::with_capacity(96);
    put_varint_field(&mut status, 1, u64::from(refusal.code() as u8));
    put_bytes_field(&mut status, 2, refusal.to_string().as_bytes());
    if let Some(delay) = refusal.retry() {
        let mut duration = Vec::new();
        put_varint_field(&mut duration, 1, delay.as_secs());
        let mut retry = Vec::new();
        put_bytes_field(&mut retry, 1, &duration);
        let mut any = Vec::new();
        put_bytes_field(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
        put_bytes_field(&mut any, 2, &retry);
        put_bytes_field(&mut status, 3, &any);
    }
    status
}

/// An export's response: empty, or what was not taken (`partial_success`, 1: `rejected_*` 1, `error_message` 2).
pub(crate) fn response_message(taken: &Taken) -> Vec<u8> {
    let mut response = Vec::new();
    if taken.rejected > 0 {
        let mut partial = Vec::new();
        put_varint_field(&mut partial, 1, taken.rejected);
        put_bytes_field(&mut partial, 2, taken.why().as_bytes());
        put_bytes_field(&mut response, 1, &partial);
    }
    response
}

/// The same as JSON.
pub(crate) fn response_json(signal: Signal, taken: &Taken) -> Vec<u8> {
    if taken.rejected == 0 {
        return b"{}".to_vec();
    }
    let name = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let response =
        serde_json::json!({ "partialSuccess": { name: taken.rejected.to_string(), "errorMessage": taken.why() } });
    response.to_string().into_bytes()
}

/// The same as JSON.
pub(crate) fn status_json(refusal: &Refusal) -> Vec<u8> {
    let mut status = serde_json::json!({ "code": refusal.code() as u8, "message": refusal.to_string() });
    if let (Some(delay), Some(fields)) = (refusal.retry(), status.as_object_mut()) {
        let retry = serde_json::json!([{
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", delay.as_secs()),
        }]);
        fields.insert("details".to_owned(), retry);
    }
    status.to_string().into_bytes()
}

fn put_varint_field(out: &mut Vec<u8>, tag: u8, number: u64) {
    out.push(tag << 3);
    put_varint(out, number);
}

fn put_bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 0x80")]
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use model::otlp::{Value, fields};

    use super::*;

    #[test]
    fn a_status_says_when_to_come_again_and_only_if_that_helps() {
        let status = status_message(&Refusal::QueueFull);
        let all: Vec<_> = fields(&status).map(Result::unwrap).collect();
        assert_eq!(all.iter().map(|field| field.tag).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(all[0].value, Value::Varint(8));
        let any: Vec<_> = fields(all[2].bytes().unwrap()).map(Result::unwrap).collect();
        assert_eq!(any[0].bytes().unwrap(), b"type.googleapis.com/google.rpc.RetryInfo");
        // retry_delay: {seconds: 5}.
        assert_eq!(any[1].bytes().unwrap(), [0x0a, 2, 0x08, 5]);
        let status = status_message(&Refusal::Malformed("reading a span: the bytes end too early".to_owned()));
        let all: Vec<_> = fields(&status).map(Result::unwrap).collect();
        assert_eq!((all.len(), all[0].value), (2, Value::Varint(3)));
        let json: serde_json::Value = serde_json::from_slice(&status_json(&Refusal::Crowded)).unwrap();
        assert_eq!((json["code"].as_u64(), json["details"][0]["retryDelay"].as_str()), (Some(8), Some("1s")));
    }
}
