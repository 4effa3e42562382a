//! A local stand-in for AWS: it listens on loopback, verifies every signature and shows what arrived.
//!
//! It is a newcomer's first backend (`sigpost sandbox`) and the fake that tests talk to. It plays the data planes that
//! Sigpost writes to (Amazon Managed Service for Prometheus, S3, CloudWatch Logs, Firehose, Kinesis, X-Ray, OTLP, Loki,
//! API Gateway, plain Prometheus) and what identities come from: STS, EC2 instance metadata, container endpoints, IAM
//! Roles Anywhere, Secrets Manager, Parameter Store and Vault. It answers on `http://127.0.0.1:PORT`, optionally over TLS, and
//! optionally as an HTTP CONNECT proxy that plays `*.amazonaws.com` with certificates of a throwaway authority.
//!
//! It **refuses** to trust: a signature is verified by this crate's own reading of Signature Version 4 (module `sigv4`,
//! which shares no code with the signer), together with the key, the session token, the scope, the clock, the list of
//! signed headers and the hash of the payload. Web identity tokens and certificates are verified up to keys it was told
//! of, and sessions of roles are given out only to whom the role's trust policy names. It refuses to grow: bodies, series, objects, recordings and connections
//! all have limits ([`Limits`]). It refuses to be a production service: nothing here is durable or authenticated
//! beyond the keys it was told, and it listens on loopback unless told otherwise.
//!
//! How the types fit: [`SandboxConfig`] says where to listen, which [`Identity`]s exist, which [`World`] of
//! roles, issuers, authorities, machines and secrets stands around them, and what to keep;
//! [`Sandbox::start`] turns it into a [`Running`] sandbox, whose methods read the [`State`], dump [`SeriesDump`]s and
//! objects, script a [`Fault`], change identities and the [`Clock`]. The same is offered over HTTP under `/_sandbox/`.
//! [`run`] is the whole life of the command line's `sandbox`. [`Authority`] issues the proxy's certificates
//! and those of Roles Anywhere clients, [`TokenIssuer`] web identity tokens.
//!
//! Invariants: no bytes from the network panic, allocate without bound or hang a task for ever; a request counted as
//! verified had a valid signature of a known key; secrets are never printed, except the welcome text's example key.

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

mod answer;
mod arn;
mod arrivals;
mod authority;
mod clock;
mod config;
mod control;
mod core;
mod der;
mod error;
mod fault;
mod front;
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod jwt;
mod listen;
mod objects;
mod order;
mod page;
mod rate;
mod records;
mod refusal;
mod remote_write;
mod running;
mod seal;
mod series;
mod service;
mod session;
mod sigv4;
mod target;
mod token_issuer;
mod world;
mod x509;

pub use crate::{
    arrivals::{DestinationState, IdentityState, PrincipalState, RefusalCount, RefusalState, State},
    authority::Authority,
    clock::Clock,
    config::{Limits, ObjectStorage, ProxyListener, SampleRules, SandboxConfig, TlsListener},
    error::SandboxError,
    fault::{Fault, Outcome, Partial, Stage},
    identity::Identity,
    jwt::{Jwk, Jwks},
    objects::ObjectState,
    records::{KeptRecord, RecordState},
    refusal::Refusal,
    running::{Running, Sandbox, run},
    series::{RecordedSample, SampleTotals, SeriesDump, SeriesState},
    sigv4::{Claim, PathRule, Placement, Policy, Scope, SignedRequest, verify},
    token_issuer::TokenIssuer,
    world::{
        AnywhereProfile, Container, DeliveryStream, Instance, Parameter, Role, StoredSecret, TokenIssuerTrust, Trust,
        TrustAnchor, VaultWorld, World,
    },
};
