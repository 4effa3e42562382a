//! Doors for the fuzz targets: what credential endpoints, programs and files answer, taken from bytes. Nobody else's interface.

use crate::{certificate, json, sts};

/// How many of the forms of credentials these bytes have: the JSON of `credential_process`, of a container and of Roles
/// Anywhere, and the XML of STS.
pub fn credentials(bytes: &[u8]) -> usize {
    let object = serde_json::from_slice(bytes).unwrap_or_default();
    let forms =
        ["SessionToken", "Token", "sessionToken"].map(|token| json::credentials(&object, token, "Fuzz").is_ok());
    forms.into_iter().chain([sts::from_xml(bytes, "fuzz").is_ok()]).filter(|ok| *ok).count()
}

/// Whether these bytes are taken for a certificate; the decimal digits of its serial number.
pub fn certificate(der: &[u8]) -> Option<String> {
    certificate::facts(der).map(|facts| facts.serial)
}
