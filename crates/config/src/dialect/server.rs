//! `server:`.

use crate::{
    ClientAuthType, LogFormat, LogLevel, ServerPlan, ServerTls,
    block::{Block, Shape},
    dialect::client,
};

pub(super) const SERVER: Shape =
    Shape { name: "server", keys: &[&["log_level", "log_format", "http_tls_config", "grpc_tls_config"]] };

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
    let Some(block) = root.block("server", SERVER) else {
        return ServerPlan::default();
    };
    let levels =
        [("debug", LogLevel::Debug), ("info", LogLevel::Info), ("warn", LogLevel::Warn), ("error", LogLevel::Error)];
    let formats = [("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)];
    ServerPlan {
        log_level: block.choice("log_level", &levels).unwrap_or_default(),
        log_format: block.choice("log_format", &formats).unwrap_or_default(),
        http_tls: block.block("http_tls_config", SERVER_TLS).and_then(|b| tls(&b)),
        grpc_tls: block.block("grpc_tls_config", SERVER_TLS).and_then(|b| tls(&b)),
    }
}

pub(super) fn tls(block: &Block<'_>) -> Option<ServerTls> {
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
    let verifies =
        matches!(client_auth, ClientAuthType::VerifyClientCertIfGiven | ClientAuthType::RequireAndVerifyClientCert);
    if verifies && client_ca_file.is_none() {
        block.error_at(
            "client_auth_type",
            "this client_auth_type verifies certificates, which needs `client_ca_file`",
            None,
        );
    }
    let unused = ["cipher_suites", "curve_preferences", "prefer_server_cipher_suites", "windows_certificate_filter"];
    if let Some(field) = unused.iter().find_map(|key| block.get(key)) {
        block.reader.warn(&field, "this key has no effect: the TLS library's choice of ciphers and curves holds", None);
    }
    let (cert_file, key_file) = (block.path("cert_file"), block.path("key_file"));
    if cert_file.is_none() || key_file.is_none() {
        // The block counts only with a flag, so a file with half of it is still a valid file.
        block.warn("TLS needs both `cert_file` and `key_file`; without them this block is ignored", None);
    }
    let (min_version, max_version) = client::tls_versions(block);
    Some(ServerTls {
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file,
        client_auth,
        min_version,
        max_version,
    })
}
