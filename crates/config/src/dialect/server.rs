//! `server:`.

use crate::{
    ClientAuthType, LogFormat, LogLevel, ServerPlan, ServerTls,
    block::{Block, Shape},
    dialect::client,
};

pub(super) const SERVER: Shape = Shape { name: "server", keys: &[&["log_level", "log_format", "http_tls_config", "grpc_tls_config"]] };

pub(super) const SERVER_TLS: Shape = Shape {
    name: "http_tls_config",
    keys: &[&[
        "cert_file",
        "key_file",
        "client_ca_file",
        "client_auth_type",
        "min_version",
        "max_version",
        "cipher_suites",
        "curve_preferences",
        "prefer_server_cipher_suites",
        "windows_certificate_filter",
    ]],
};

pub(super) fn read(root: &Block<'_>) -> ServerPlan {
    let Some(block) = root.block("server", SERVER) else { return ServerPlan::default() };
    let levels = [("debug", LogLevel::Debug), ("info", LogLevel::Info), ("warn", LogLevel::Warn), ("error", LogLevel::Error)];
    let formats = [("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)];
    ServerPlan {
        log_level: block.choice("log_level", &levels).unwrap_or_default(),
        log_format: block.choice("log_format", &formats).unwrap_or_default(),
        http_tls: block.block("http_tls_config", SERVER_TLS).and_then(|b| tls(&b)),
        grpc_tls: block.block("grpc_tls_config", SERVER_TLS).and_then(|b| tls(&b)),
    }
}

fn tls(block: &Block<'_>) -> Option<ServerTls> {
    let kinds = [
        ("NoClientCert", ClientAuthType::NoClientCert),
        ("RequestClientCert", ClientAuthType::RequestClientCert),
        ("RequireClientCert", ClientAuthType::RequireAnyClientCert),
        ("RequireAnyClientCert", ClientAuthType::RequireAnyClientCert),
        ("VerifyClientCertIfGiven", ClientAuthType::VerifyClientCertIfGiven),
        ("RequireAndVerifyClientCert", ClientAuthType::RequireAndVerifyClientCert),
    ];
    let client_auth = block.choice("client_auth_type", &kinds).unwrap_or_default();
    let client_ca_file = block.path("client_ca_file");
    let verifies = matches!(client_auth, ClientAuthType::VerifyClientCertIfGiven | ClientAuthType::RequireAndVerifyClientCert);
    if verifies && client_ca_file.is_none() {
        block.error_at("client_auth_type", "this client_auth_type verifies certificates, which needs `client_ca_file`", None);
    }
    if block.get("windows_certificate_filter").is_some() {
        block.error_at("windows_certificate_filter", "`windows_certificate_filter` is for Windows; sigpost runs on Linux", Some("remove it"));
    }
    if ["cipher_suites", "curve_preferences", "prefer_server_cipher_suites"].iter().any(|key| block.get(key).is_some()) {
        block.warn("cipher and curve lists have no effect: the TLS library's choice holds", None);
    }
    let (cert_file, key_file) = (block.required("cert_file", "cert_file: /path/cert.pem"), block.required("key_file", "key_file: /path/key.pem"));
    let (min_version, max_version) = client::tls_versions(block);
    Some(ServerTls { cert_file: cert_file?.into(), key_file: key_file?.into(), client_ca_file, client_auth, min_version, max_version })
}
