//! gRPC: the `Export` call of OTLP's three services and `PostSpans` of Jaeger's collector, by hand.
//!
//! A unary call is a POST whose body is five bytes (packed or not, length) and a message; its answer is a message and two
//! trailers. Sources: "gRPC over HTTP2" (PROTOCOL-HTTP2.md), the OTLP specification, "OTLP/gRPC". Not here: reflection,
//! health, deadlines (a client that gives up resets its stream, which drops the work).

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use model::otlp::Signal;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pipeline::off_reactor;

use crate::{
    answer::{AnswerBody, response_message, status_message},
    body::{GRPC_HEAD, Limits, read},
    door::{Door, LONG, Writing},
    elsewhere::Taken,
    jaeger,
    refusal::Refusal,
    sheaf::Sheaf,
    unpack::{PACKINGS, Packing},
};

/// In `grpc-message` these are written as `%xx`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Otlp,
    Jaeger,
}

/// OTLP.
pub(crate) async fn answer(door: &Door, request: Request<Incoming>) -> Response<AnswerBody> {
    answer_of(door, Service::Otlp, request).await
}

/// Jaeger's collector.
pub(crate) async fn answer_jaeger(door: &Door, request: Request<Incoming>) -> Response<AnswerBody> {
    answer_of(door, Service::Jaeger, request).await
}

async fn answer_of(door: &Door, service: Service, request: Request<Incoming>) -> Response<AnswerBody> {
    if request.version() != Version::HTTP_2 || request.method() != Method::POST || !speaks(request.headers()) {
        let refusal = Refusal::Unsupported(
            match service {
                Service::Otlp => {
                    "this port speaks gRPC: send OTLP over HTTP to the receiver's http protocol (port 4318), or set the client's protocol to grpc"
                }
                Service::Jaeger => {
                    "this port speaks gRPC: send Thrift over HTTP to the receiver's thrift_http protocol"
                }
            }
            .to_owned(),
        );
        door.counts.refused(&refusal);
        return crate::http::refused(&refusal, crate::http::Form::Text);
    }
    match export(door, service, request).await {
        Ok(taken) => done(&taken),
        Err(refusal) => {
            door.counts.refused(&refusal);
            failed(&refusal)
        }
    }
}

async fn export(door: &Door, service: Service, request: Request<Incoming>) -> Result<Taken, Refusal> {
    let signal = signal(service, request.uri().path())?;
    let packing = Packing::named(text(request.headers(), "grpc-encoding"))?;
    if content_type(request.headers()).starts_with("application/grpc+json") {
        return Err(Refusal::Unsupported("JSON over gRPC is not known here: send protobuf".to_owned()));
    }
    door.admits(signal)?;
    let limits = Limits { bytes: door.max_request, time: door.request_time, head: GRPC_HEAD };
    let arrived = read(request.into_body(), limits, &door.room).await?;
    let [packed, length @ ..] = arrived.head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length != arrived.bytes.len() {
        let found = arrived.bytes.len();
        let why = format!("the message's head says {length} bytes and {found} follow: one message is wanted");
        return Err(Refusal::Malformed(why));
    }
    let packing = match packed {
        0 => Packing::None,
        1 if packing != Packing::None => packing,
        1 => return Err(Refusal::Malformed("the message is packed and no grpc-encoding says how".to_owned())),
        _ => return Err(Refusal::Malformed("the message's head is not one of gRPC".to_owned())),
    };
    if service == Service::Otlp {
        return door.take(signal, arrived, packing, Writing::Protobuf).await;
    }
    let mut arrived = door.unpacked(arrived, packing)?;
    let size = arrived.bytes.len();
    let cuts = off_reactor(size > LONG / 8, || {
        let mut sheaf = Sheaf::new(&mut arrived.held);
        jaeger::read_request(arrived.bytes.body(), &mut sheaf)?;
        sheaf.finish()
    })?;
    door.keep(cuts, size).await.map(|()| Taken::default())
}

fn signal(service: Service, path: &str) -> Result<Signal, Refusal> {
    match path {
        "/jaeger.api_v2.CollectorService/PostSpans" if service == Service::Jaeger => Ok(Signal::Traces),
        _ if service == Service::Jaeger => Err(unknown(path)),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Ok(Signal::Traces),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Ok(Signal::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Ok(Signal::Logs),
        other => Err(unknown(other)),
    }
}

fn unknown(path: &str) -> Refusal {
    let short: String = path.chars().take(80).collect();
    Refusal::Unknown(format!("the method {short} is not known here"))
}

/// Whether a client means gRPC.
pub(crate) fn speaks(headers: &HeaderMap) -> bool {
    content_type(headers).starts_with("application/grpc")
}

fn content_type(headers: &HeaderMap) -> &str {
    text(headers, "content-type")
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Success: a message that is not packed, and empty unless something could not be stored.
fn done(taken: &Taken) -> Response<AnswerBody> {
    let message = response_message(taken);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let body = [&[0], length.as_slice(), &message].concat();
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let mut response = Response::new(AnswerBody::of(body).with_trailers(trailers));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// An answer without a message: its trailers stand in its head.
pub(crate) fn failed(refusal: &Refusal) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers.insert("grpc-status", HeaderValue::from(refusal.code() as u16));
    let message = utf8_percent_encode(&refusal.to_string(), ESCAPED).to_string();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    let details = STANDARD_NO_PAD.encode(status_message(refusal));
    if let Ok(details) = HeaderValue::from_str(&details) {
        headers.insert("grpc-status-details-bin", details);
    }
    if matches!(refusal, Refusal::Unsupported(_)) {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static(PACKINGS));
    }
    response
}
