//! The wire: HTTP client and server, TLS, proxies, backoff, and the one trait through which identity reaches a request.
//!
//! Only this crate opens sockets. It refuses to know what is carried (no telemetry word), who signs (`Authorize` is a
//! trait; AWS lives elsewhere) and where configuration comes from (plain structs in, no file of ours is read here
//! except the secrets and certificates those structs name).
//!
//! Invariants: a response body is never read past its limit; link-local, loopback and metadata addresses are never sent
//! through a proxy that came from the environment; a secret's `Debug` and `Display` never show it.

mod authorize;
mod client_config;
mod secret;

pub use authorize::{Answer, Authorize, AuthorizeError, BoxFuture, IdentityVerdict};
pub use client_config::{HttpAuth, HttpClientConfig, OAuth2Config, Pem, ProxyConfig, TlsConfig, TlsVersion};
pub use secret::{Secret, SecretSource};
