//! Tokens that say when they end, under a keyed hash, so that none has to be kept.
//!
//! Keeps true: only tokens made by this process open.

use base64::{Engine, prelude::BASE64_URL_SAFE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::SandboxError;

/// The key of this process.
pub(crate) struct Seal([u8; 32]);

impl Seal {
    pub(crate) fn new() -> Result<Self, SandboxError> {
        let mut key = [0u8; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| SandboxError::Key)?;
        Ok(Self(key))
    }

    /// A token that ends then (milliseconds since the Unix epoch).
    pub(crate) fn seal(&self, expires_ms: i64) -> String {
        let ends = expires_ms.to_be_bytes();
        let tag = self.keyed(&ends).finalize().into_bytes();
        BASE64_URL_SAFE.encode([&ends[..], &tag].concat())
    }

    /// When a token ends; `None`: it is not ours.
    pub(crate) fn open(&self, token: &str) -> Option<i64> {
        if token.len() > 128 {
            return None;
        }
        let bytes = BASE64_URL_SAFE.decode(token).ok()?;
        let (ends, tag) = bytes.split_first_chunk::<8>()?;
        self.keyed(ends).verify_slice(tag).ok()?;
        Some(i64::from_be_bytes(*ends))
    }

    #[allow(clippy::expect_used)]
    fn keyed(&self, message: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length (RFC 2104), so this cannot fail.
        Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length").chain_update(message)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_tokens_open() {
        let (ours, theirs) = (Seal::new().unwrap(), Seal::new().unwrap());
        let token = ours.seal(1234);
        assert_eq!(ours.open(&token), Some(1234));
        assert_eq!(theirs.open(&token), None);
        for text in ["", "AAAA", "not base64!", &"A".repeat(200)] {
            assert_eq!(ours.open(text), None, "{text}");
        }
    }
}
