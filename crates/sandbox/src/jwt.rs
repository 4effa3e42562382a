//! JSON Web Tokens of OpenID Connect providers, verified: signature (RS256, ES256), issuer, audience, times.
//!
//! Written from RFC 7515, 7517, 7518 and 7519; the arithmetic is the crypto library's. Keeps true: claims are given out
//! only after the signature was found to be good; no token is quoted in a problem.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{refusal::shown, world::TokenIssuerTrust};

/// Longest token, as STS has it.
const LONGEST: usize = 20_000;
/// Most keys of one issuer.
const MOST_KEYS: usize = 100;

/// A JSON Web Key Set (RFC 7517).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// Its keys. Other kinds than RSA and P-256 are kept and never match.
    pub keys: Vec<Jwk>,
}

/// A public key (RFC 7518 section 6). Numbers are base64url, big-endian.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `RSA` or `EC`.
    pub kty: String,
    /// The key's name, which tokens refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// RSA: modulus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA: exponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// EC: `P-256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// EC: x.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// EC: y.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

/// What a good token says. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) expires_s: i64,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenProblem {
    /// It cannot be read.
    Malformed(&'static str),
    /// Nobody vouches for its issuer.
    Issuer(String),
    /// Its issuer has no such key.
    Key,
    /// The signature is another's.
    Signature,
    /// It ended; seconds since the Unix epoch.
    Expired(i64),
    /// It is not valid yet.
    NotYet(i64),
    /// It is meant for someone else.
    Audience(String),
}

impl TokenProblem {
    /// For people.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Malformed(what) => format!("the token is not a JSON Web Token: {what}"),
            Self::Issuer(issuer) => format!("nobody vouches for the token's issuer {issuer}"),
            Self::Key => "the token's issuer has no key of its kid and algorithm".to_owned(),
            Self::Signature => "the token's signature does not match".to_owned(),
            Self::Expired(at) => format!("the token ended at {}", crate::clock::basic_utc(at.saturating_mul(1000))),
            Self::NotYet(at) => {
                format!("the token is valid only from {}", crate::clock::basic_utc(at.saturating_mul(1000)))
            }
            Self::Audience(audience) => format!("the token is meant for {audience}"),
        }
    }
}

impl Jwks {
    pub(crate) fn problem(&self) -> Option<String> {
        if self.keys.is_empty() || self.keys.len() > MOST_KEYS {
            return Some(format!("jwks has {} keys; give 1 to {MOST_KEYS}", self.keys.len()));
        }
        None
    }
}

/// Verifies a token against the issuers that are known.
pub(crate) fn verify(token: &str, issuers: &[TokenIssuerTrust], now_ms: i64) -> Result<Claims, TokenProblem> {
    let malformed = TokenProblem::Malformed;
    if token.len() > LONGEST {
        return Err(malformed("it is longer than 20000 characters"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("it does not have three parts"));
    };
    let json = |part: &str| -> Option<Value> { serde_json::from_slice(&decode(part)?).ok() };
    let head = json(header).ok_or(malformed("its header is not base64url of JSON"))?;
    let body = json(payload).ok_or(malformed("its payload is not base64url of JSON"))?;
    let signature = decode(signature).ok_or(malformed("its signature is not base64url"))?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let algorithm = text(&head, "alg").ok_or(malformed("its header has no alg"))?;
    let issuer = text(&body, "iss").ok_or(malformed("it has no iss"))?;
    let known = issuers
        .iter()
        .find(|known| same_url(&known.url, &issuer))
        .ok_or_else(|| TokenProblem::Issuer(shown(&issuer)))?;
    let kid = text(&head, "kid");
    let key = known
        .jwks
        .keys
        .iter()
        .take(MOST_KEYS)
        .find(|key| kid.as_ref().is_none_or(|kid| key.kid.as_ref() == Some(kid)) && key.serves(&algorithm))
        .ok_or(TokenProblem::Key)?;
    let signed = token.rsplit_once('.').map(|(signed, _)| signed).unwrap_or_default();
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(TokenProblem::Signature);
    }
    let subject = text(&body, "sub").ok_or(malformed("it has no sub"))?;
    let seconds = |name: &str| body.get(name).and_then(|value| value.as_i64().or_else(|| whole(value.as_f64()?)));
    let expires_s = seconds("exp").ok_or(malformed("it has no exp"))?;
    let now_s = now_ms.div_euclid(1000);
    if expires_s <= now_s {
        return Err(TokenProblem::Expired(expires_s));
    }
    if let Some(from) = seconds("nbf").or_else(|| seconds("iat")).filter(|from| *from > now_s.saturating_add(300)) {
        return Err(TokenProblem::NotYet(from));
    }
    let audiences: Vec<String> = match body.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| known.audiences.contains(audience)) {
        return Err(TokenProblem::Audience(shown(&audiences.join(", "))));
    }
    Ok(Claims { issuer: known.url.clone(), subject, audiences, expires_s })
}

/// Providers are registered with and without a trailing slash.
fn same_url(left: &str, right: &str) -> bool {
    left.trim_end_matches('/') == right.trim_end_matches('/')
}

#[allow(clippy::cast_possible_truncation)]
fn whole(seconds: f64) -> Option<i64> {
    // Float to integer saturates.
    seconds.is_finite().then_some(seconds as i64)
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part).ok()
}

impl Jwk {
    fn serves(&self, algorithm: &str) -> bool {
        match algorithm {
            "RS256" => self.kty == "RSA",
            "ES256" => self.kty == "EC" && self.crv.as_deref() == Some("P-256"),
            _ => false,
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let number = |text: &Option<String>| decode(text.as_deref()?.trim_end_matches('='));
        let bare = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        match self.kty.as_str() {
            "RSA" => {
                let (Some(n), Some(e)) = (number(&self.n), number(&self.e)) else {
                    return false;
                };
                RsaPublicKeyComponents { n: bare(n), e: bare(e) }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            "EC" => {
                let (Some(x), Some(y)) = (number(&self.x), number(&self.y)) else {
                    return false;
                };
                if (x.len(), y.len()) != (32, 32) {
                    return false;
                }
                let point = [&[4u8][..], &x, &y].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::token_issuer::TokenIssuer;

    const URL: &str = "https://oidc.example/id/1";

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn tokens_of_both_kinds_are_verified() {
        for issuer in [TokenIssuer::generate(URL).unwrap(), TokenIssuer::generate_rsa(URL).unwrap()] {
            let token = issuer.token("system:serviceaccount:a:b", "sts.amazonaws.com", at(60_000));
            let claims = verify(token.expose(), &[issuer.trust()], 1000).unwrap();
            assert_eq!((claims.subject.as_str(), claims.expires_s), ("system:serviceaccount:a:b", 60));
            assert_eq!(verify(token.expose(), &[issuer.trust()], 60_000), Err(TokenProblem::Expired(60)));
            let other = TokenIssuer::generate("https://other.example").unwrap();
            assert_eq!(verify(token.expose(), &[other.trust()], 1000), Err(TokenProblem::Issuer(URL.to_owned())));
            let vpc = issuer.token("s", "vpc.amazonaws.com", at(60_000));
            let wrong = verify(vpc.expose(), &[issuer.trust()], 1000);
            assert_eq!(wrong, Err(TokenProblem::Audience("vpc.amazonaws.com".to_owned())));
        }
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_refused() {
        let issuer = TokenIssuer::generate(URL).unwrap();
        let forger = TokenIssuer::generate(URL).unwrap();
        let token = issuer.token("s", "sts.amazonaws.com", at(60_000)).expose().to_owned();
        // Another's signature, whether under another's kid or under the right one.
        let forged = forger.token("s", "sts.amazonaws.com", at(60_000)).expose().to_owned();
        assert_eq!(verify(&forged, &[issuer.trust()], 1000), Err(TokenProblem::Key));
        let mut parts: Vec<&str> = token.split('.').collect();
        let stolen = forged.rsplit('.').next().unwrap();
        parts[2] = stolen;
        assert_eq!(verify(&parts.join("."), &[issuer.trust()], 1000), Err(TokenProblem::Signature));
        // An unsigned token, and one that names an algorithm of secrets.
        for algorithm in ["none", "HS256"] {
            let head = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{algorithm}\"}}"));
            let changed = format!("{head}.{}.", token.split('.').nth(1).unwrap());
            assert_eq!(verify(&changed, &[issuer.trust()], 1000), Err(TokenProblem::Key), "{algorithm}");
        }
    }

    #[test]
    fn what_is_no_token_is_named_and_never_panics() {
        let issuer = TokenIssuer::generate(URL).unwrap();
        let trust = [issuer.trust()];
        for text in ["", "a.b", "a.b.c", "....", "e30.e30.", "e30.e30.AA", &"x".repeat(20_001)] {
            assert!(matches!(verify(text, &trust, 0), Err(TokenProblem::Malformed(_))), "{text:.20}");
        }
    }
}
