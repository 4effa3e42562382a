//! Whether a claim is true: key, token, expiry, scope, clock, signed headers, payload, signature - in AWS's order.
//!
//! Keeps true: `Ok` means that every check passed; the first failed check is reported, with the facts it failed on.

use super::{
    PathRule, SignedRequest,
    canonical::canonical_request,
    claim::{self, Claim, Placement},
    signature::{is_genuine, string_to_sign},
};
use crate::{
    clock::basic_utc,
    identity::{Identity, equal_in_constant_time},
    refusal::{Mismatch, Refusal},
};

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What a service demands of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The only signing name accepted; `None` takes any.
    pub service: Option<String>,
    /// The only region accepted; `None` takes any that is not empty.
    pub region: Option<String>,
    /// How the canonical path is made.
    pub path: PathRule,
    /// Tolerated distance between the request's time and the server's, in minutes (5; S3: 15).
    pub window_minutes: i64,
    /// S3's rules: `x-amz-content-sha256` is required and its value is the canonical payload hash.
    pub hash_in_header: bool,
    /// Whether `UNSIGNED-PAYLOAD` is acceptable (S3 over TLS).
    pub unsigned_payload: bool,
    /// Whether a session token in the query is covered by the signature (every service that Sigpost speaks to; IoT
    /// wants it added after signing).
    pub query_token_is_signed: bool,
}

impl Policy {
    /// The rules of every service except S3.
    pub fn common(service: &str, region: Option<String>) -> Self {
        Self {
            service: Some(service.to_owned()),
            region,
            path: PathRule::COMMON,
            window_minutes: 5,
            hash_in_header: false,
            unsigned_payload: false,
            query_token_is_signed: true,
        }
    }

    /// The rules of S3.
    pub fn s3(region: Option<String>, is_tls: bool) -> Self {
        Self {
            service: Some("s3".to_owned()),
            region,
            path: PathRule::S3,
            window_minutes: 15,
            hash_in_header: true,
            unsigned_payload: is_tls,
            query_token_is_signed: true,
        }
    }
}

/// Verifies a request against the identities that `find` knows, at `now_ms`. Returns what was proved.
///
/// # Errors
/// The first check that failed.
pub fn verify<'i>(
    request: &SignedRequest<'_>,
    policy: &Policy,
    now_ms: i64,
    find: impl FnOnce(&str) -> Option<&'i Identity>,
) -> Result<(Claim, &'i Identity), Refusal> {
    let claim = claim::read(request)?.ok_or(Refusal::Unsigned)?;
    let identity =
        find(&claim.access_key_id).ok_or_else(|| Refusal::UnknownKey { access_key_id: claim.access_key_id.clone() })?;
    if !identity.is_valid_at(now_ms) {
        return Err(Refusal::InactiveKey { access_key_id: claim.access_key_id });
    }
    check_token(&claim, identity, now_ms)?;
    check_scope(&claim, policy)?;
    check_clock(&claim, policy, now_ms)?;
    check_signed_headers(request, &claim, policy)?;
    let payload_hash = payload_hash(request, &claim, policy)?;
    let left_out: &[&[u8]] = match (claim.placement, policy.query_token_is_signed) {
        (Placement::Header, _) => &[],
        (Placement::Query { .. }, true) => &[b"X-Amz-Signature"],
        (Placement::Query { .. }, false) => &[b"X-Amz-Signature", b"X-Amz-Security-Token"],
    };
    let canonical = canonical_request(request, &claim.signed_headers, policy.path, left_out, &payload_hash);
    let to_sign = string_to_sign(&claim.algorithm, &claim.timestamp, &claim.scope, &canonical);
    if !is_genuine(identity.secret_access_key.expose(), &claim.scope, &to_sign, &claim.signature) {
        return Err(Refusal::Signature(Box::new(Mismatch {
            access_key_id: claim.access_key_id,
            canonical_request: canonical,
            string_to_sign: to_sign,
            provided: claim.signature,
        })));
    }
    // Only now is the claimed hash known to be the signer's own.
    if policy.hash_in_header && payload_hash != UNSIGNED && payload_hash != request.body_sha256 {
        return Err(Refusal::PayloadHash { claimed: payload_hash, computed: request.body_sha256.to_owned() });
    }
    Ok((claim, identity))
}

fn check_token(claim: &Claim, identity: &Identity, now_ms: i64) -> Result<(), Refusal> {
    let access_key_id = || claim.access_key_id.clone();
    match (&identity.session_token, &claim.session_token) {
        (None, None) => {}
        (Some(_), None) => {
            return Err(Refusal::TokenMissing { access_key_id: access_key_id() });
        }
        (None, Some(_)) => {
            return Err(Refusal::TokenWrong { access_key_id: access_key_id() });
        }
        (Some(expected), Some(given)) => {
            if !equal_in_constant_time(expected.expose().as_bytes(), given.expose().as_bytes()) {
                return Err(Refusal::TokenWrong { access_key_id: access_key_id() });
            }
        }
    }
    match identity.expires_at_ms() {
        Some(at_ms) if at_ms <= now_ms => Err(Refusal::Expired { access_key_id: access_key_id(), at_ms }),
        _ => Ok(()),
    }
}

pub(super) fn check_scope(claim: &Claim, policy: &Policy) -> Result<(), Refusal> {
    let scope = &claim.scope;
    if scope.terminator != "aws4_request" {
        return Err(Refusal::ScopeTerminator { given: scope.terminator.clone() });
    }
    let day = claim.timestamp.get(..8).unwrap_or_default();
    if scope.date != day {
        return Err(Refusal::ScopeDate { given: scope.date.clone(), timestamp: claim.timestamp.clone() });
    }
    if let Some(expected) = policy.service.as_ref().filter(|expected| **expected != scope.service) {
        return Err(Refusal::ScopeService { given: scope.service.clone(), expected: expected.clone() });
    }
    let expected = policy.region.as_ref();
    if scope.region.is_empty() || expected.is_some_and(|expected| *expected != scope.region) {
        return Err(Refusal::ScopeRegion { given: scope.region.clone(), expected: expected.cloned() });
    }
    Ok(())
}

pub(super) fn check_clock(claim: &Claim, policy: &Policy, now_ms: i64) -> Result<(), Refusal> {
    let window_ms = policy.window_minutes.saturating_mul(60_000);
    let facts = |limit_ms: i64| crate::refusal::ClockGap {
        request: claim.timestamp.clone(),
        server: basic_utc(now_ms),
        limit: basic_utc(limit_ms),
        window_minutes: policy.window_minutes,
        ahead_ms: claim.at_ms.saturating_sub(now_ms),
    };
    let oldest = match claim.placement {
        Placement::Header => now_ms.saturating_sub(window_ms),
        Placement::Query { expires_s } => now_ms.saturating_sub(i64::from(expires_s) * 1000),
    };
    // AWS compares whole seconds, the unit of the timestamp.
    if claim.at_ms.div_euclid(1000) < oldest.div_euclid(1000) {
        return Err(match claim.placement {
            Placement::Header => Refusal::TooOld(facts(oldest)),
            Placement::Query { .. } => Refusal::PresignedExpired(facts(oldest)),
        });
    }
    let newest = now_ms.saturating_add(window_ms);
    if claim.at_ms.div_euclid(1000) > newest.div_euclid(1000) {
        return Err(Refusal::TooNew(facts(newest)));
    }
    Ok(())
}

pub(super) fn check_signed_headers(request: &SignedRequest<'_>, claim: &Claim, policy: &Policy) -> Result<(), Refusal> {
    let is_signed = |name: &str| claim.signed_headers.iter().any(|signed| signed == name);
    if !is_signed("host") {
        return Err(Refusal::HostNotSigned);
    }
    let mut unsigned: Vec<String> = request
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !is_signed(name))
        // Signers that add the token after signing are accepted by every service except S3.
        .filter(|name| policy.hash_in_header || *name != "x-amz-security-token")
        .map(str::to_owned)
        .collect();
    unsigned.sort_unstable();
    if unsigned.is_empty() { Ok(()) } else { Err(Refusal::HeadersNotSigned { names: unsigned }) }
}

/// The payload hash that belongs in the canonical request.
fn payload_hash(request: &SignedRequest<'_>, claim: &Claim, policy: &Policy) -> Result<String, Refusal> {
    if !policy.hash_in_header {
        // Other services hash what arrived, whatever the header claims.
        return Ok(request.body_sha256.to_owned());
    }
    let claimed = request.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
    match (claimed, claim.placement) {
        (None, Placement::Query { .. }) => Ok(UNSIGNED.to_owned()),
        (None, Placement::Header) => Err(Refusal::PayloadHashMissing),
        (Some(UNSIGNED), Placement::Query { .. }) => Ok(UNSIGNED.to_owned()),
        (Some(UNSIGNED), Placement::Header) if policy.unsigned_payload => Ok(UNSIGNED.to_owned()),
        (Some(UNSIGNED), Placement::Header) => Err(Refusal::UnsignedPayload),
        (Some(other), _) if other.starts_with("STREAMING-") => Err(Refusal::StreamingPayload),
        (Some(hash), _) if hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(hash.to_ascii_lowercase())
        }
        (Some(_), _) => Err(Refusal::PayloadHashMissing),
    }
}
