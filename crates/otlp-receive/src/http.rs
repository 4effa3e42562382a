//! OTLP over HTTP: a POST of protobuf or JSON, answered in the same.
//!
//! Source: the OTLP specification, "OTLP/HTTP": paths, content types, what a failure says and what it looks like.

use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request::Parts};
use hyper::body::Incoming;
use model::otlp::Signal;

use crate::{
    answer::{AnswerBody, response_json, response_message, status_json, status_message},
    body::{Limits, discard, read},
    config::{Cors, HttpPaths},
    cors,
    door::{Door, Writing},
    elsewhere::Taken,
    grpc,
    refusal::Refusal,
    unpack::Packing,
};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Protobuf,
    Json,
    /// For who speaks neither.
    Text,
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

pub(crate) async fn answer(
    door: &Door,
    paths: &HttpPaths,
    cors: Option<&Cors>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    if let Some(answer) = cors.and_then(|cors| cors::preflight(cors, request.method(), request.headers())) {
        return answer;
    }
    if grpc::speaks(request.headers()) {
        let why = "this port speaks OTLP over HTTP: send gRPC to the receiver's grpc protocol (port 4317), or set the \
                   client's protocol to http/protobuf";
        let refusal = Refusal::Unknown(why.to_owned());
        door.counts.refused(&refusal);
        return grpc::failed(&refusal);
    }
    let allowed = cors.and_then(|cors| cors::allowed(cors, request.headers()));
    let form = form(request.headers());
    let (parts, mut body) = request.into_parts();
    let mut answer = match export(door, paths, form, &parts, &mut body).await {
        Ok((signal, taken)) => done(form, signal, &taken),
        Err(refusal) => {
            door.counts.refused(&refusal);
            discard(body, &parts).await;
            refused(&refusal, form)
        }
    };
    if let Some(origin) = allowed {
        origin.put(answer.headers_mut());
    }
    answer
}

async fn export(
    door: &Door,
    paths: &HttpPaths,
    form: Form,
    parts: &Parts,
    body: &mut Incoming,
) -> Result<(Signal, Taken), Refusal> {
    let signal = signal(paths, parts.uri.path())?;
    if parts.method != Method::POST {
        return Err(Refusal::Method);
    }
    let writing = match form {
        Form::Protobuf => Writing::Protobuf,
        Form::Json => Writing::Json,
        Form::Text => {
            let why = format!("the content type is not known here: send {PROTOBUF} or {JSON}");
            return Err(Refusal::Unsupported(why));
        }
    };
    let packing = parts.headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
    let packing = Packing::named(packing)?;
    door.admits(signal)?;
    let limits = Limits { bytes: door.max_request, time: door.request_time, head: 0 };
    let arrived = read(body, limits, &door.room).await?;
    Ok((signal, door.take(signal, arrived, packing, writing).await?))
}

fn signal(paths: &HttpPaths, path: &str) -> Result<Signal, Refusal> {
    let of = [(&paths.traces, Signal::Traces), (&paths.metrics, Signal::Metrics), (&paths.logs, Signal::Logs)];
    let found = of.into_iter().find(|(known, _)| known.as_str() == path).map(|(_, signal)| signal);
    found.ok_or_else(|| {
        let short: String = path.chars().take(80).collect();
        Refusal::Unknown(format!("nothing is here at {short}: OTLP is posted to {}", paths.traces))
    })
}

fn form(headers: &HeaderMap) -> Form {
    let written = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        PROTOBUF | "application/protobuf" => Form::Protobuf,
        JSON => Form::Json,
        _ => Form::Text,
    }
}

/// Success, with what could not be stored where there is such.
fn done(form: Form, signal: Signal, taken: &Taken) -> Response<AnswerBody> {
    let (body, content_type) = match form {
        Form::Json => (response_json(signal, taken), JSON),
        _ => (response_message(taken), PROTOBUF),
    };
    let mut response = Response::new(AnswerBody::of(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn refused(refusal: &Refusal, form: Form) -> Response<AnswerBody> {
    let (body, content_type) = match form {
        Form::Protobuf => (status_message(refusal), PROTOBUF),
        Form::Json => (status_json(refusal), JSON),
        Form::Text => (format!("{refusal}\n").into_bytes(), "text/plain; charset=utf-8"),
    };
    let mut response = Response::new(AnswerBody::of(body));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(delay) = refusal.retry() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs()));
    }
    if *refusal == Refusal::Method {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
