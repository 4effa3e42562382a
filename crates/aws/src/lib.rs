//! AWS identity per destination: credential sources, SigV4, clock offset.

mod config;
pub use config::{CredentialSource, IdentityConfig, RoleStep, RolesAnywhereConfig, StsConfig};
