//! The wire: HTTP client and server, TLS, proxies, backoff, and the one trait through which identity reaches a request.
//!
//! Only this crate opens sockets. It refuses to know what is carried (no telemetry word), who signs (`Authorize` is a
//! trait; AWS lives elsewhere) and where configuration comes from (plain structs in, no file of ours is read here
//! except the secrets and certificates those structs name).
//!
//! How the types fit: a [`HttpClientConfig`] makes a [`Client`], which turns an `http::Request<Bytes>` into a [`Reply`];
//! an [`Authorize`] signs the request before and judges [`Reply::answer`] after; [`Backoff`] and [`retry_after`] say when
//! to try again; a [`StandingRequest`] is a GET sent again and again over one connection of its own that costs next to
//! nothing while idle; [`service_error::parse`] names what an AWS-shaped service complained about; [`server::serve`] is the
//! other direction, on a socket of [`Sockets`], where a successor finds it again.
//!
//! Invariants: a response body is never read past its limit; link-local, loopback and metadata addresses are never sent
//! through a proxy that came from the environment; a secret's `Debug` and `Display` never show it; no message holds a
//! user name, password or query string of a URL.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod answer;
mod authorize;
mod backoff;
mod body;
mod certificate;
mod client;
mod client_config;
mod connections;
mod crypto;
mod dial;
mod error;
mod file_stamps;
mod http1;
mod hung_disk;
mod losses;
mod oauth2;
mod open_reply;
pub mod pem;
mod pem_text;
mod proxy;
mod secret;
pub mod server;
pub mod service_error;
mod small_file;
mod sockets;
mod standing;
mod survey;
mod tls;

pub use answer::{Reply, ReplyHead};
pub use authorize::{Answer, Authorize, AuthorizeError, BoxFuture, IdentityVerdict};
pub use backoff::{Backoff, parse_http_date, retry_after};
pub use body::BodyBuffer;
pub use certificate::{CertificateFacts, CertificateParts, certificate_facts, certificate_parts};
pub use client::{Client, ClientOptions};
pub use client_config::{
    HttpAuth, HttpClientConfig, OAuth2Config, Pem, ProxyConfig, TlsConfig, TlsVersion, TlsVersions,
};
pub use crypto::install_crypto_provider;
pub use error::{NetError, masked};
pub use file_stamps::FileStamps;
pub use losses::DatagramLosses;
pub use open_reply::OpenReply;
pub use proxy::{NoProxy, ProxyEnvironment, is_local_destination};
pub use secret::{Secret, SecretSource, StoredSecret};
pub use small_file::{BUNDLE_LIMIT, SECRET_LIMIT, read_small, read_small_text};
pub use sockets::{Listening, Sockets, Transport};
pub use standing::StandingRequest;
pub use survey::{Distrust, DistrustKind, ProxySight, Survey, TlsSight, survey};
