//! Requests signed with the key of a certificate: `AWS4-X509-RSA-SHA256` and `AWS4-X509-ECDSA-SHA256` (IAM Roles
//! Anywhere, "Signing process").
//!
//! It proves that the holder of the certificate's key made the request. Whether the certificate is to be trusted is for
//! the service.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Claim, Policy, SignedRequest,
    canonical::canonical_request,
    claim,
    signature::string_to_sign,
    verify::{check_clock, check_scope, check_signed_headers},
};
use crate::{
    refusal::{Mismatch, Refusal},
    x509,
};

/// Most bytes of one certificate.
const LARGEST: usize = 16 * 1024;

/// What was sent: the certificate (DER) and the chain above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) leaf: Vec<u8>,
    pub(crate) chain: Vec<Vec<u8>>,
}

/// Verifies a request, at `now_ms`. The claim's key id is the serial number it gave, in decimal.
pub(crate) fn verify_with_certificate(
    request: &SignedRequest<'_>,
    policy: &Policy,
    now_ms: i64,
) -> Result<(Claim, Holder), Refusal> {
    let claim = claim::read_x509(request)?.ok_or(Refusal::Unsigned)?;
    let holder = holder(request)?;
    check_scope(&claim, policy)?;
    check_clock(&claim, policy, now_ms)?;
    check_signed_headers(request, &claim, policy)?;
    let canonical = canonical_request(request, &claim.signed_headers, policy.path, &[], request.body_sha256);
    let to_sign = string_to_sign(&claim.algorithm, &claim.timestamp, &claim.scope, &canonical);
    let signature = hex::decode(&claim.signature).unwrap_or_default();
    let is_rsa = claim.algorithm == claim::X509_RSA;
    if !x509::verifies(&holder.leaf, is_rsa, to_sign.as_bytes(), &signature) {
        return Err(Refusal::Signature(Box::new(Mismatch {
            access_key_id: claim.access_key_id,
            canonical_request: canonical,
            string_to_sign: to_sign,
            provided: claim.signature,
        })));
    }
    Ok((claim, holder))
}

fn holder(request: &SignedRequest<'_>) -> Result<Holder, Refusal> {
    let malformed = |what: &str| Refusal::Malformed { what: what.to_owned() };
    let read = |text: &str| BASE64_STANDARD.decode(text.trim()).ok().filter(|der| der.len() <= LARGEST);
    let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let leaf = text("x-amz-x509").ok_or_else(|| malformed("Header 'X-Amz-X509' is missing."))?;
    let leaf = read(leaf).ok_or_else(|| malformed("Header 'X-Amz-X509' is not the base64 of a DER certificate."))?;
    let chain = text("x-amz-x509-chain").unwrap_or_default();
    let chain = chain.split(',').filter(|part| !part.trim().is_empty()).map(read).collect::<Option<Vec<_>>>();
    let chain = chain.ok_or_else(|| malformed("Header 'X-Amz-X509-Chain' is not base64 of DER, joined by commas."))?;
    Ok(Holder { leaf, chain })
}
