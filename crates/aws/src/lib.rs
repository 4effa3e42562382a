//! AWS identity per destination: credential sources, SigV4, clock offset, and what refusals mean.
//!
//! It is for one thing: turning an identity block into a [`net::Authorize`] that signs, keeps its credentials fresh, and
//! judges AWS's answers. It refuses to send telemetry, to know a sink's protocol, to retry, and to hold more than one
//! destination's clock.
//!
//! How the types fit: an [`IdentityConfig`] (plain data) and the process's [`IdentityContext`] make, by [`build`], an
//! [`Identity`]; [`identity`] gives the same as `Arc<dyn Authorize>`. [`parse_host`] reads service and region from an
//! endpoint's host name. [`Identity::explain`] tells a person what was considered, [`compare_canonical`] why a signature
//! does not fit, and the [`Fault`] in an explanation which kind of thing went wrong; [`check`] finds what no time can mend before
//! anything is built. [`SecretKeeper`] reads the secrets that configuration refers to in Secrets Manager, SSM and Vault, by the same
//! identities. `TRAPS.md` lists what the field fell into, each with its test.
//!
//! Invariants: a secret is in no message and no `Debug`; environment keys never win over a profile or keys that were asked
//! for; what is signed is what is sent; still valid credentials are used whatever their source does; no refusal loops.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation
    )
)]

mod aside;
mod cache;
mod canonical;
mod certificate;
mod chain;
mod clock;
mod config;
mod connector;
mod container;
mod context;
mod denial;
mod environment;
mod error;
mod explain;
mod fault;
#[doc(hidden)]
pub mod fuzz;
mod host;
mod identity;
mod instance;
mod json;
mod metadata_place;
mod origin;
mod process;
mod profile;
mod profile_file;
mod region;
mod roles_anywhere;
mod roster;
mod secrets;
mod shared_files;
mod signer;
mod sts;
mod validate;
mod verdict;
mod words;

pub use canonical::{CanonicalDifference, CanonicalRequest, CanonicalVerdict, canonical_request, compare_canonical};
pub use config::{CredentialSource, IdentityConfig, RoleStep, RolesAnywhereConfig, StsConfig};
pub use context::{IdentityContext, build, identity};
pub use error::AwsError;
pub use explain::{
    CallerFacts, CallerIdentity, CertificateSight, Explanation, RegionCheck, RoleCheck, SourceCheck, SourceOutcome,
};
pub use fault::{Asked, Fault, Refused};
pub use host::{AwsHost, Partition, S3Style, bucket_fault, parse_host};
pub use identity::{Identity, IdentityStatus};
pub use metadata_place::metadata_endpoint;
pub use region::RegionOrigin;
pub use secrets::{
    SecretKeeper, SecretReference, SecretStatus, SecretStoresConfig, VaultConfig, VaultLogin, VaultTokenStatus,
};
pub use shared_files::ProfilePlace;
pub use validate::check;
