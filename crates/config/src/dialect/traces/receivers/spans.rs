//! `receivers.jaeger` and `receivers.zipkin`: what becomes OTLP on its way in.

use otlp_receive::{ReceiverConfig, Speech, ThriftForm};

use super::{LISTEN_KEYS, cors, endpoint, grpc_options, http_options, listening};
use crate::block::{Block, Field, Shape};

const HTTP_KEYS: &[&str] = &["cors", "max_request_body_size", "response_headers"];

pub(in crate::dialect) const ZIPKIN: Shape =
    Shape { name: "receivers.zipkin", keys: &[LISTEN_KEYS, HTTP_KEYS, &["parse_string_tags"]] };

pub(in crate::dialect) const JAEGER: Shape =
    Shape { name: "receivers.jaeger", keys: &[&["protocols", "remote_sampling"]] };

pub(in crate::dialect) const JAEGER_PROTOCOLS: Shape =
    Shape { name: "receivers.jaeger.protocols", keys: &[&["grpc", "thrift_http", "thrift_compact", "thrift_binary"]] };

pub(in crate::dialect) const THRIFT_HTTP: Shape =
    Shape { name: "receivers.jaeger.protocols.thrift_http", keys: &[LISTEN_KEYS, HTTP_KEYS] };

pub(in crate::dialect) const THRIFT_UDP: Shape = Shape {
    name: "receivers.jaeger.protocols.thrift_compact",
    keys: &[&["endpoint", "max_packet_size", "queue_size", "workers", "socket_buffer_size"]],
};

pub(super) fn zipkin(instance: &Block<'_>, name: &str, field: &Field<'_>) -> Option<ReceiverConfig> {
    let block = Block::open(instance.reader, ZIPKIN, field)?;
    let mut config = ReceiverConfig { name: name.to_owned(), ..ReceiverConfig::zipkin("0.0.0.0:9411") };
    listening(&block, &mut config);
    http_options(&block, &mut config);
    let parse = block.flag("parse_string_tags").unwrap_or(false);
    config.speech = Speech::Zipkin { parse, cors: block.block("cors", super::CORS).map(|block| cors(&block)) };
    Some(config)
}

pub(super) fn jaeger(instance: &Block<'_>, name: &str, field: &Field<'_>) -> Vec<ReceiverConfig> {
    let Some(block) = Block::open(instance.reader, JAEGER, field) else {
        return Vec::new();
    };
    if let Some(field) = block.get("remote_sampling") {
        let message = "`remote_sampling` has no effect: no sampling strategies are handed out here";
        block.reader.warn(&field, message, None);
    }
    let protocols = block.raw("protocols").and_then(|field| Block::open(block.reader, JAEGER_PROTOCOLS, &field));
    let protocol = |key: &str| protocols.as_ref().and_then(|protocols| protocols.raw(key));
    let mut configs = Vec::new();
    if let Some(field) = protocol("grpc") {
        configs.extend(grpc(instance, &field));
    }
    if let Some(field) = protocol("thrift_http") {
        configs.extend(http(instance, &field));
    }
    for (key, form, port) in
        [("thrift_compact", ThriftForm::Compact, 6831), ("thrift_binary", ThriftForm::Binary, 6832)]
    {
        if let Some(field) = protocol(key) {
            configs.extend(udp(instance, &field, form, port));
        }
    }
    let none = ["grpc", "thrift_http", "thrift_compact", "thrift_binary"].iter().all(|key| protocol(key).is_none());
    if none {
        let help = "protocols: {grpc: , thrift_http: , thrift_compact: , thrift_binary: }";
        block.error("`protocols` of a jaeger receiver names at least one", Some(help));
    }
    configs.into_iter().map(|config| ReceiverConfig { name: name.to_owned(), ..config }).collect()
}

fn grpc(instance: &Block<'_>, field: &Field<'_>) -> Option<ReceiverConfig> {
    let block = Block::open(instance.reader, super::GRPC, field)?;
    let mut config = ReceiverConfig::jaeger_grpc("0.0.0.0:14250");
    listening(&block, &mut config);
    grpc_options(&block, &mut config);
    Some(config)
}

fn http(instance: &Block<'_>, field: &Field<'_>) -> Option<ReceiverConfig> {
    let block = Block::open(instance.reader, THRIFT_HTTP, field)?;
    let mut config = ReceiverConfig::jaeger_http("0.0.0.0:14268");
    listening(&block, &mut config);
    http_options(&block, &mut config);
    config.speech = Speech::JaegerHttp { cors: block.block("cors", super::CORS).map(|block| cors(&block)) };
    Some(config)
}

fn udp(instance: &Block<'_>, field: &Field<'_>, form: ThriftForm, port: u16) -> Option<ReceiverConfig> {
    let block = Block::open(instance.reader, THRIFT_UDP, field)?;
    let mut config = ReceiverConfig::jaeger_udp(&format!("0.0.0.0:{port}"), form);
    endpoint(&block, &mut config);
    if let Some(bytes) = block.whole("max_packet_size").filter(|bytes| *bytes > 0) {
        let max_packet = usize::try_from(bytes).unwrap_or(usize::MAX);
        config.speech = Speech::JaegerUdp { form, max_packet };
    }
    for key in ["queue_size", "workers", "socket_buffer_size"] {
        block.whole(key);
        if let Some(field) = block.get(key) {
            let message = format!("`{key}` has no effect: datagrams go to the queue on disk as they are read");
            block.reader.warn(&field, message, None);
        }
    }
    Some(config)
}
