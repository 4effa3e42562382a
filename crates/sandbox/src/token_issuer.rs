//! A throwaway OpenID Connect provider, so that web identity can be tried without a Kubernetes cluster.
//!
//! Its key exists in memory only. It mints tokens; it judges none (see `jwt`).

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use net::Secret;
use serde_json::json;

use crate::{
    der::{INTEGER, SEQUENCE, expect},
    error::SandboxError,
    jwt::{Jwk, Jwks},
    sigv4::sha256_hex,
    world::TokenIssuerTrust,
};

/// Signs tokens as a cluster's issuer would.
pub struct TokenIssuer {
    url: String,
    key: Key,
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl TokenIssuer {
    /// A new ES256 key.
    ///
    /// # Errors
    /// [`SandboxError::Key`] when the crypto library refuses.
    pub fn generate(url: impl Into<String>) -> Result<Self, SandboxError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SandboxError::Key)?;
        Ok(Self { url: url.into(), key: Key::Ec(key) })
    }

    /// A new RS256 key of 2048 bits.
    ///
    /// # Errors
    /// [`SandboxError::Key`] when the crypto library refuses.
    pub fn generate_rsa(url: impl Into<String>) -> Result<Self, SandboxError> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SandboxError::Key)?;
        Ok(Self { url: url.into(), key: Key::Rsa(Box::new(key)) })
    }

    /// The `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its public key.
    pub fn jwks(&self) -> Jwks {
        let encode = |bytes: &[u8]| Some(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let mut jwk = Jwk { kid: Some(self.kid()), ..Jwk::default() };
        match &self.key {
            Key::Ec(key) => {
                // An uncompressed point: 4, x, y.
                let point = key.public_key().as_ref();
                jwk.kty = "EC".to_owned();
                jwk.crv = Some("P-256".to_owned());
                jwk.x = point.get(1..33).and_then(encode);
                jwk.y = point.get(33..65).and_then(encode);
            }
            Key::Rsa(key) => {
                // SEQUENCE { modulus, exponent } (RFC 8017 appendix A.1.1); numbers of JWKs have no sign octet.
                let numbers = expect(key.public_key().as_ref(), SEQUENCE)
                    .and_then(|(numbers, _)| expect(numbers, INTEGER))
                    .and_then(|(modulus, rest)| Some((modulus, expect(rest, INTEGER)?.0)));
                let bare = |bytes: &[u8]| bytes.strip_prefix(&[0]).and_then(encode).or_else(|| encode(bytes));
                jwk.kty = "RSA".to_owned();
                jwk.n = numbers.and_then(|(modulus, _)| bare(modulus));
                jwk.e = numbers.and_then(|(_, exponent)| bare(exponent));
            }
        }
        Jwks { keys: vec![jwk] }
    }

    /// How IAM is told of it.
    pub fn trust(&self) -> TokenIssuerTrust {
        TokenIssuerTrust { url: self.url.clone(), jwks: self.jwks(), audiences: vec!["sts.amazonaws.com".to_owned()] }
    }

    /// A token for a subject such as `system:serviceaccount:NAMESPACE:NAME`, good until `expires_at`.
    pub fn token(&self, subject: &str, audience: &str, expires_at: SystemTime) -> Secret {
        let seconds = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let algorithm = match &self.key {
            Key::Ec(_) => "ES256",
            Key::Rsa(_) => "RS256",
        };
        let head = json!({ "alg": algorithm, "kid": self.kid(), "typ": "JWT" });
        let body = json!({ "iss": self.url, "sub": subject, "aud": [audience], "exp": seconds });
        let encode = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(head.to_string().as_bytes()), encode(body.to_string().as_bytes()));
        let signature = self.sign(signed.as_bytes());
        Secret::new(format!("{signed}.{}", encode(&signature)))
    }

    /// Empty when the crypto library refuses, which makes a token that nobody believes.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ec(key) => key.sign(&random, message).map(|s| s.as_ref().to_vec()).unwrap_or_default(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                match key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature) {
                    Ok(()) => signature,
                    Err(_) => Vec::new(),
                }
            }
        }
    }

    fn kid(&self) -> String {
        let public = match &self.key {
            Key::Ec(key) => key.public_key().as_ref(),
            Key::Rsa(key) => key.public_key().as_ref(),
        };
        sha256_hex(public).chars().take(16).collect()
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("url", &self.url).finish_non_exhaustive()
    }
}
