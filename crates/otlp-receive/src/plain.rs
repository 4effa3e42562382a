//! Protocols other than OTLP over HTTP: a POST of spans, answered with 202 and no body, or with a text.
//!
//! Keeps true: 202 means that all spans of the request are on disk, translated.

use http::{Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use model::otlp::Signal;
use pipeline::off_reactor;

use crate::{
    answer::AnswerBody,
    body::{Limits, discard, read},
    config::Cors,
    cors,
    door::{Door, LONG},
    http::{Form, refused},
    jaeger,
    refusal::Refusal,
    sheaf::{LARGEST_SPAN, Sheaf},
    unpack::Packing,
    zipkin,
};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// `parse`: tags that are numbers or booleans become such.
    Zipkin { parse: bool },
    /// `jaeger.thrift`, in the binary protocol.
    JaegerThrift,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    ZipkinV1,
    ZipkinV2,
    ZipkinProtobuf,
    JaegerThrift,
}

pub(crate) async fn answer(
    door: &Door,
    tongue: Tongue,
    cors: Option<&Cors>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    if let Some(answer) = cors.and_then(|cors| cors::preflight(cors, request.method(), request.headers())) {
        return answer;
    }
    let allowed = cors.and_then(|cors| cors::allowed(cors, request.headers()));
    let (parts, mut body) = request.into_parts();
    let mut answer = match take(door, tongue, &parts, &mut body).await {
        Ok(()) => {
            let mut accepted = Response::new(AnswerBody::default());
            *accepted.status_mut() = StatusCode::ACCEPTED;
            accepted
        }
        Err(refusal) => {
            door.counts.refused(&refusal);
            discard(body, &parts).await;
            refused(&refusal, Form::Text)
        }
    };
    if let Some(origin) = allowed {
        origin.put(answer.headers_mut());
    }
    answer
}

async fn take(door: &Door, tongue: Tongue, parts: &Parts, body: &mut Incoming) -> Result<(), Refusal> {
    let header = |name| parts.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"));
    let content_type = header(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let writing = writing(tongue, parts.uri.path(), &content_type)?;
    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    let packing = Packing::named(header(header::CONTENT_ENCODING))?;
    door.admits(Signal::Traces)?;
    let limits = Limits { bytes: door.max_request, time: door.request_time, head: 0 };
    let mut arrived = door.unpacked(read(body, limits, &door.room).await?, packing)?;
    let size = arrived.bytes.len();
    // One span at a time is in memory as it was read.
    arrived.held.more(size.min(LARGEST_SPAN))?;
    let cuts = off_reactor(size > LONG / 8, || {
        let mut sheaf = Sheaf::new(&mut arrived.held);
        let body = arrived.bytes.body();
        match (writing, tongue) {
            (Writing::ZipkinV1, Tongue::Zipkin { parse }) => zipkin::read_v1(body, parse, &mut sheaf),
            (Writing::ZipkinProtobuf, Tongue::Zipkin { parse }) => zipkin::read_protobuf(body, parse, &mut sheaf),
            (_, Tongue::Zipkin { parse }) => zipkin::read_v2(body, parse, &mut sheaf),
            (_, Tongue::JaegerThrift) => jaeger::read_binary_batch(body, &mut sheaf),
        }?;
        sheaf.finish()
    })?;
    door.keep(cuts, size).await
}

fn writing(tongue: Tongue, path: &str, content_type: &str) -> Result<Writing, Refusal> {
    let short = |text: &str| text.chars().take(80).collect::<String>();
    match tongue {
        Tongue::Zipkin { .. } => {
            let v1 = path.trim_end_matches('/') == "/api/v1/spans";
            if !v1 && !matches!(path.trim_end_matches('/'), "/api/v2/spans" | "") {
                let path = short(path);
                return Err(Refusal::Unknown(format!("nothing is here at {path}: spans are posted to /api/v2/spans")));
            }
            match (v1, content_type) {
                (true, "application/json" | "") => Ok(Writing::ZipkinV1),
                (false, "application/json" | "" | "text/plain") => Ok(Writing::ZipkinV2),
                (false, "application/x-protobuf" | "application/protobuf") => Ok(Writing::ZipkinProtobuf),
                _ => Err(Refusal::Unsupported(format!(
                    "the content type {:?} is not known here: send application/json, or protobuf to /api/v2/spans",
                    short(content_type)
                ))),
            }
        }
        Tongue::JaegerThrift => {
            if path.trim_end_matches('/') != "/api/traces" {
                let path = short(path);
                return Err(Refusal::Unknown(format!("nothing is here at {path}: batches are posted to /api/traces")));
            }
            match content_type {
                "application/x-thrift" | "application/vnd.apache.thrift.binary" => Ok(Writing::JaegerThrift),
                other => Err(Refusal::Unsupported(format!(
                    "the content type {:?} is not known here: send application/x-thrift (the binary protocol)",
                    short(other)
                ))),
            }
        }
    }
}
