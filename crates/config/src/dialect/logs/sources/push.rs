//! `loki_push_api`: what other agents push.

use log_receive::PushConfig;
use net::{Pem, server::ServerTls};

use crate::{
    ClientAuthType,
    block::{Block, Shape},
    dialect::{metrics, server},
};

pub(in crate::dialect) const PUSH: Shape =
    Shape { name: "loki_push_api", keys: &[&["server", "labels", "use_incoming_timestamp"]] };

pub(in crate::dialect) const PUSH_SERVER: Shape = Shape {
    name: "loki_push_api.server",
    keys: &[
        &[
            "http_listen_address",
            "http_listen_port",
            "http_listen_conn_limit",
            "http_server_read_timeout",
            "http_tls_config",
            "graceful_shutdown_timeout",
        ],
        NO_EFFECT,
    ],
};

/// Keys of the server block of Grafana's programs that mean nothing here: there is no gRPC, and one log for all.
const NO_EFFECT: &[&str] = &[
    "grpc_listen_address",
    "grpc_listen_port",
    "grpc_listen_conn_limit",
    "http_server_write_timeout",
    "http_server_idle_timeout",
    "register_instrumentation",
    "log_level",
    "log_format",
];

pub(super) fn read(block: &Block<'_>) -> Option<PushConfig> {
    let server = block.block("server", PUSH_SERVER);
    // What is no mapping was reported.
    if block.get("server").is_none() {
        block.error_at(
            "server",
            "`server` is missing in `loki_push_api`: it says where to listen",
            Some("server: {http_listen_address: 0.0.0.0, http_listen_port: 3500}"),
        );
    }
    let server = server?;
    let address = server.text("http_listen_address").unwrap_or_default();
    let port = server.whole("http_listen_port");
    if port.is_none() && server.get("http_listen_port").is_none() {
        server.error_at("http_listen_port", "`http_listen_port` is missing", Some("http_listen_port: 3500"));
    }
    if port.is_some_and(|port| port > u64::from(u16::MAX)) {
        server.error_at("http_listen_port", "`http_listen_port` is at most 65535", None);
    }
    let mut config = PushConfig::new(&match address.contains(':') && !address.starts_with('[') {
        true => format!("[{address}]:{}", port.unwrap_or(0)),
        false => format!("{address}:{}", port.unwrap_or(0)),
    });
    if let Some(limit) = server.whole("http_listen_conn_limit").filter(|limit| *limit > 0) {
        config.server.connection_limit = usize::try_from(limit).unwrap_or(usize::MAX);
    }
    if let Some(timeout) = server.duration("http_server_read_timeout").filter(|timeout| !timeout.is_zero()) {
        config.limits.read = timeout;
    }
    if let Some(timeout) = server.duration("graceful_shutdown_timeout") {
        config.server.drain_timeout = timeout;
    }
    if let Some(block) = server.block("http_tls_config", server::SERVER_TLS) {
        config.server.tls = tls(&block);
    }
    for field in NO_EFFECT.iter().filter_map(|key| server.get(key)) {
        server.reader.warn(
            &field,
            "this key has no effect: what is pushed comes over HTTP, and the agent's log is one",
            None,
        );
    }
    config.labels = metrics::labels(block, "labels");
    config.use_incoming_timestamp = block.flag("use_incoming_timestamp").unwrap_or(false);
    Some(config)
}

fn tls(block: &Block<'_>) -> Option<ServerTls> {
    let missing = ["cert_file", "key_file"].into_iter().find(|key| block.get(key).is_none());
    if let Some(key) = missing {
        // Without it the listener would serve in plain text.
        block.error(format!("`{key}` is missing in `http_tls_config`"), Some("TLS needs both cert_file and key_file"));
        return None;
    }
    let tls = server::tls(block)?;
    let require_client_cert =
        matches!(tls.client_auth, ClientAuthType::RequireAnyClientCert | ClientAuthType::RequireAndVerifyClientCert);
    Some(ServerTls {
        cert: Pem::File(tls.cert_file),
        key: Pem::File(tls.key_file),
        client_ca: tls.client_ca_file.map(Pem::File),
        require_client_cert,
        versions: net::TlsVersions { min: tls.min_version, max: tls.max_version },
    })
}
