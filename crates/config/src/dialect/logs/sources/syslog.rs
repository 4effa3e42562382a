//! `syslog`: messages of the network.

use log_receive::{SyslogConfig, SyslogFormat};
use net::Transport;
use net::server::ServerTls;

use crate::{
    block::{Block, Shape},
    dialect::{client, metrics},
};

pub(in crate::dialect) const SYSLOG: Shape = Shape {
    name: "syslog",
    keys: &[&[
        "listen_address",
        "listen_protocol",
        "idle_timeout",
        "label_structured_data",
        "labels",
        "use_incoming_timestamp",
        "use_rfc5424_message",
        "syslog_format",
        "max_message_length",
        "tls_config",
    ]],
};

const LONGEST: u64 = 1 << 20;

pub(super) fn read(block: &Block<'_>) -> Option<SyslogConfig> {
    let listen = block.required("listen_address", "listen_address: 0.0.0.0:1514");
    if listen.as_ref().is_some_and(|listen| !has_port(listen)) {
        block.error_at("listen_address", "`listen_address` is host:port", Some("listen_address: 0.0.0.0:1514"));
    }
    let mut config = SyslogConfig::new(&listen.unwrap_or_default());
    let protocols = [("tcp", Transport::Tcp), ("udp", Transport::Udp)];
    config.transport = block.choice("listen_protocol", &protocols).unwrap_or_default();
    if let Some(timeout) = block.duration("idle_timeout").filter(|timeout| !timeout.is_zero()) {
        config.idle_timeout = timeout;
    }
    // Promtail takes 0 for its default.
    if let Some(length) = block.size("max_message_length").filter(|length| *length > 0) {
        if length > LONGEST {
            block.error_at("max_message_length", "`max_message_length` is at most 1MiB", None);
        }
        config.max_message_length = usize::try_from(length.min(LONGEST)).unwrap_or(config.max_message_length);
    }
    let formats =
        [("rfc5424", SyslogFormat::Rfc5424), ("rfc3164", SyslogFormat::Rfc3164), ("either", SyslogFormat::Either)];
    config.format = block.choice("syslog_format", &formats).unwrap_or_default();
    config.label_structured_data = block.flag("label_structured_data").unwrap_or(false);
    config.use_incoming_timestamp = block.flag("use_incoming_timestamp").unwrap_or(false);
    config.use_whole_message = block.flag("use_rfc5424_message").unwrap_or(false);
    config.labels = metrics::labels(block, "labels");
    config.tls = block.block("tls_config", client::TLS).and_then(|b| tls(&b));
    if config.tls.is_some() && config.transport == Transport::Udp {
        block.error_at("tls_config", "syslog over UDP has no TLS", Some("listen_protocol: tcp"));
    }
    Some(config)
}

/// A certificate of ours; with `ca` senders need one of that authority.
fn tls(block: &Block<'_>) -> Option<ServerTls> {
    for key in ["server_name", "insecure_skip_verify"] {
        if let Some(field) = block.get(key) {
            block.reader.warn(&field, format!("`{key}` has no effect on a listener"), None);
        }
    }
    let config = client::tls(block);
    if config.cert.is_none() && config.key.is_none() {
        block.error("`tls_config` of a listener needs a certificate", Some("add cert_file and key_file"));
    }
    let require_client_cert = config.ca.is_some();
    Some(ServerTls {
        cert: config.cert?,
        key: config.key?,
        client_ca: config.ca,
        require_client_cert,
        versions: net::TlsVersions { min: config.min_version, max: config.max_version },
    })
}

/// `host:port`, or `:port`.
pub(super) fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}
