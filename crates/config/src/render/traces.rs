//! Routes of traces, rendered: receivers and destinations.

use net::{Pem, ProxyConfig};
use otlp_receive::{Cors, HttpPaths, ListenTls, ReceiverConfig, Speech};
use remote_write::{
    ProtocolConfig,
    traces::{OtlpCompression, OtlpFormat, OtlpProtocol},
};

use super::{
    SECRET,
    client::{client, masked_url},
    identity::identity,
    queue_block,
};
use crate::{
    DestinationPlan, TracesRoute,
    scalar::{show_duration, show_size},
    traces_plan::Written,
    yaml_out::{Map, Out},
};

pub(super) fn traces(routes: &[TracesRoute]) -> Map {
    let mut map = Map::default();
    let whole = routes.iter().filter(|route| route.part_of.is_none());
    let of_instance = |whole: &TracesRoute| {
        // With `load_balancing` another part of the instance has what the file says it receives.
        let balancer = |part: &&TracesRoute| part.instance() == whole.name && part.processors.balance.is_some();
        let receiving = routes.iter().find(balancer);
        Out::Map(route(whole, receiving.unwrap_or(whole)))
    };
    map.put("configs", Out::List(whole.map(of_instance).collect()));
    map
}

fn route(route: &TracesRoute, receiving: &TracesRoute) -> Map {
    let mut map = Map::default();
    map.text("name", &route.name);
    let mut receivers = Map::default();
    let mut names: Vec<&str> = receiving.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    names.dedup();
    for name in names {
        let mut protocols = Map::default();
        if let Some(zipkin) =
            receiving.receivers.iter().find(|r| r.name == name && matches!(r.speech, Speech::Zipkin { .. }))
        {
            receivers.put(name, Out::Map(receiver(zipkin)));
            continue;
        }
        for receiver in receiving.receivers.iter().filter(|receiver| receiver.name == name) {
            protocols.put(receiver.speech.word(), Out::Map(self::receiver(receiver)));
        }
        let mut block = Map::default();
        block.put("protocols", Out::Map(protocols));
        let first = receiving.receivers.iter().find(|receiver| receiver.name == name);
        let elsewhere =
            first.map(|first| [("metrics_instance", &first.metrics_instance), ("logs_instance", &first.logs_instance)]);
        for (key, instance) in elsewhere.into_iter().flatten() {
            if let Some(instance) = instance {
                block.text(key, instance);
            }
        }
        receivers.put(name, Out::Map(block));
    }
    map.put("receivers", Out::Map(receivers));
    for (key, block) in &route.written {
        map.put(key, written(block));
    }
    let jobs = receiving.jobs.iter().map(|(job, found)| Out::Map(super::job::job(job, found)));
    map.put("scrape_configs", Out::List(jobs.collect()));
    // The same for every destination that makes no objects: the dialect has it at the instance only.
    let requests = route.destinations.iter().find(|d| !is_objects(d)).map(|d| &d.config.batching);
    if let Some(batching) =
        requests.filter(|batching| !batching.max_age.is_zero() || batching.max_samples != USUAL_ITEMS)
    {
        let mut batch = Map::default();
        batch.word("timeout", show_duration(batching.max_age)).word("send_batch_size", batching.max_samples);
        map.put("batch", Out::Map(batch));
    }
    map.put("remote_write", Out::List(route.destinations.iter().map(|d| Out::Map(destination(d))).collect()));
    map
}

fn written(block: &Written) -> Out {
    match block {
        Written::Text(text) => Out::Text(text.clone()),
        Written::Word(word) => Out::Word(word.clone()),
        Written::List(items) => Out::List(items.iter().map(written).collect()),
        Written::Map(entries) => {
            let mut map = Map::default();
            for (key, block) in entries {
                map.put(key, written(block));
            }
            Out::Map(map)
        }
    }
}

/// Where there is no `batch`.
const USUAL_ITEMS: usize = 8192;

fn receiver(config: &ReceiverConfig) -> Map {
    let mut map = Map::default();
    map.text("endpoint", &config.listen);
    match &config.speech {
        Speech::Grpc | Speech::JaegerGrpc => {
            map.word("max_recv_msg_size_mib", config.max_request.div_ceil(1 << 20));
            map.word("max_concurrent_streams", config.http2.max_concurrent_streams);
            let mut server = Map::default();
            server.word("time", show_duration(config.http2.keep_alive_interval));
            server.word("timeout", show_duration(config.http2.keep_alive_timeout));
            let mut keepalive = Map::default();
            keepalive.put("server_parameters", Out::Map(server));
            map.put("keepalive", Out::Map(keepalive));
        }
        Speech::Http { paths, cors } => {
            map.word("max_request_body_size", show_size(config.max_request as u64));
            let usual = HttpPaths::default();
            for (key, path, usual) in [
                ("traces_url_path", &paths.traces, &usual.traces),
                ("metrics_url_path", &paths.metrics, &usual.metrics),
                ("logs_url_path", &paths.logs, &usual.logs),
            ] {
                if path != usual {
                    map.text(key, path);
                }
            }
            put_cors(&mut map, cors.as_ref());
        }
        Speech::Zipkin { parse, cors } => {
            map.word("max_request_body_size", show_size(config.max_request as u64)).word("parse_string_tags", parse);
            put_cors(&mut map, cors.as_ref());
        }
        Speech::JaegerHttp { cors } => {
            map.word("max_request_body_size", show_size(config.max_request as u64));
            put_cors(&mut map, cors.as_ref());
        }
        Speech::JaegerUdp { max_packet, .. } => {
            map.word("max_packet_size", max_packet);
        }
    }
    if let Some(tls) = &config.tls {
        map.put("tls", Out::Map(listen_tls(tls)));
    }
    map
}

fn put_cors(map: &mut Map, cors: Option<&Cors>) {
    let Some(cors) = cors else { return };
    let mut block = Map::default();
    block.texts("allowed_origins", cors.allowed_origins.iter().map(String::as_str));
    block.texts("allowed_headers", cors.allowed_headers.iter().map(String::as_str));
    block.word("max_age", cors.max_age.as_secs());
    map.put("cors", Out::Map(block));
}

fn listen_tls(tls: &ListenTls) -> Map {
    let mut map = Map::default();
    for (file_key, key, pem) in [("cert_file", "cert_pem", &tls.cert), ("key_file", "key_pem", &tls.key)] {
        match pem {
            Pem::File(path) => map.text(file_key, path.to_string_lossy()),
            Pem::Stored(stored) => map.text(key, stored.reference()),
            Pem::Inline(_) => map.text(key, SECRET),
        };
    }
    super::client::versions(&mut map, tls.versions.min, tls.versions.max);
    if let Some(ca) = &tls.client_ca {
        map.text("client_ca_file", ca.to_string_lossy());
    }
    map
}

fn is_objects(plan: &DestinationPlan) -> bool {
    matches!(plan.config.protocol, ProtocolConfig::Otlp(OtlpProtocol::Objects(_)))
}

fn destination(plan: &DestinationPlan) -> Map {
    let config = &plan.config;
    let mut map = Map::default();
    map.text("name", &config.name).text("endpoint", masked_url(&config.url));
    if let Some(url) = &config.endpoint_url {
        map.text("endpoint_url", masked_url(url));
    }
    if !plan.enabled {
        map.word("enabled", false);
    }
    map.word("timeout", show_duration(config.timeout));
    if let ProtocolConfig::Otlp(speaks) = &config.protocol {
        protocol(&mut map, speaks);
    }
    if is_objects(plan) {
        let mut batch = Map::default();
        batch.word("max_bytes", show_size(config.batching.max_bytes as u64));
        batch.word("max_age", show_duration(config.batching.max_age));
        map.put("batch", Out::Map(batch));
    }
    let mut retry = Map::default();
    retry.word("initial_interval", show_duration(config.backoff.min));
    retry.word("max_interval", show_duration(config.backoff.max));
    map.put("retry_on_failure", Out::Map(retry));
    if let Some(config) = &plan.identity {
        map.always("sigv4", identity(config));
    }
    client(&mut map, &config.client, &ProxyConfig::Environment);
    map.put("queue", Out::Map(queue_block(plan)));
    map
}

fn protocol(map: &mut Map, protocol: &OtlpProtocol) {
    map.text("protocol", protocol.name());
    let word = |compression| match compression {
        OtlpCompression::None => "none",
        OtlpCompression::Gzip => "gzip",
        OtlpCompression::Zstd => "zstd",
    };
    match protocol {
        OtlpProtocol::Http(http) => {
            map.text("compression", word(http.compression));
        }
        OtlpProtocol::Grpc(grpc) => {
            map.text("compression", word(grpc.compression));
        }
        OtlpProtocol::XRay(xray) => {
            let all = xray.annotate_all.then_some("*").into_iter();
            let names = all.chain(xray.annotations.iter().map(String::as_str));
            map.texts("annotations", names).texts("log_groups", xray.log_groups.iter().map(String::as_str));
        }
        OtlpProtocol::Objects(objects) => {
            map.text("format", if objects.format == OtlpFormat::Protobuf { "protobuf" } else { "json" });
            map.text("compression", word(objects.compression));
            if let Some(class) = &objects.storage_class {
                map.text("storage_class", class);
            }
            if let Some(owner) = &objects.expected_bucket_owner {
                map.text("expected_bucket_owner", owner);
            }
            if let Some(kind) = &objects.sse {
                let mut sse = Map::default();
                sse.text("type", kind);
                if let Some(key) = &objects.sse_kms_key_id {
                    sse.text("kms_key_id", key);
                }
                map.put("sse", Out::Map(sse));
            }
        }
    }
}
