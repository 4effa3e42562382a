//! Signature Version 4 as a server reads it: what was claimed, what it should have been, whether they agree.
//!
//! Written from the specification ("AWS Signature Version 4 signing process", IAM User Guide; "Authenticating
//! requests", S3 API Reference) and the official vectors. It never shares code with a signer.

mod canonical;
mod certificate;
mod claim;
mod signature;
mod verify;

pub use canonical::{PathRule, SignedRequest};
pub use claim::{Claim, Placement, Scope};
pub use verify::{Policy, verify};

pub(crate) use canonical::{decode_query, percent_decode};
pub(crate) use certificate::verify_with_certificate;
pub(crate) use claim::{claimed_key, claimed_service};
pub(crate) use signature::sha256_hex;
