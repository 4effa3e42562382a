//! The arithmetic of SigV4: key derivation, the signature, and a comparison that takes the same time for every wrong one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Scope;

/// Lower-case hex SHA-256.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The four lines that are signed.
pub(super) fn string_to_sign(algorithm: &str, timestamp: &str, scope: &Scope, canonical_request: &str) -> String {
    format!("{algorithm}\n{timestamp}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()))
}

/// Whether `provided` (hex) is the signature of `string_to_sign` under `secret`.
pub(super) fn is_genuine(secret: &str, scope: &Scope, string_to_sign: &str, provided: &str) -> bool {
    let mut given = [0u8; 32];
    if hex::decode_to_slice(provided, &mut given).is_err() {
        return false;
    }
    let mut key = mac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
    for part in [&scope.region, &scope.service, &scope.terminator] {
        key = mac(&key, part.as_bytes());
    }
    keyed(&key).chain_update(string_to_sign.as_bytes()).verify_slice(&given).is_ok()
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(message).finalize().into_bytes().into()
}

#[allow(clippy::expect_used)]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104), so this cannot fail.
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}
