//! The names of the targets: those of `fuzz_targets/`, of the corpora and of `make fuzz TARGET=`.

/// Takes any bytes; panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Name and function of each target.
pub const TARGETS: &[(&str, Target)] = &[
    ("base_vector", crate::base_vector),
    ("certificate", crate::certificate),
    ("config_text", crate::config_text),
    ("credentials", crate::credentials),
    ("cursor_slot", crate::cursor_slot),
    ("docker_output", crate::docker_output),
    ("exposition", crate::exposition),
    ("frame", crate::frame),
    ("go_regex", crate::go_regex),
    ("jaeger", crate::jaeger),
    ("log_batch", crate::log_batch),
    ("log_objects", crate::log_objects),
    ("loki_push_json", crate::loki_push_json),
    ("loki_push_message", crate::loki_push_message),
    ("metric_batch", crate::metric_batch),
    ("no_proxy", crate::no_proxy),
    ("otlp_json", crate::otlp_json),
    ("otlp_outgoing", crate::otlp_outgoing),
    ("otlp_packed", crate::otlp_packed),
    ("otlp_protobuf", crate::otlp_protobuf),
    ("otlp_translate", crate::otlp_translate),
    ("remote_write", crate::remote_write),
    ("replay_object", crate::replay_object),
    ("segment_header", crate::segment_header),
    ("segment_scan", crate::segment_scan),
    ("series_table", crate::series_table),
    ("service_error", crate::service_error),
    ("syslog_stream", crate::syslog_stream),
    ("verdict", crate::verdict),
    ("zipkin", crate::zipkin),
];
