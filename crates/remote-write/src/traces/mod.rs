//! OTLP destinations: one worker each, from lanes of received requests to OTLP over HTTP or gRPC, X-Ray or a bucket.
//!
//! ```text
//! OtlpOutlet -> TraceLot (claim) -> TraceLine: by signal -> Piece (bytes as received) -> Cargo -> Wire (body, request)
//!      ^                                |   X-Ray alone decodes: span -> documents             |  -> Post (sign, send)
//!      +---- settle, whole lots --------+<---- Book (every item in one column) <- LogVerdict --+
//! ```
//!
//! It shares with metrics and logs what does not know what is carried: the post (client, identity), the pace, the roster,
//! verdicts and the status. It refuses: to decode what can travel as it was received. Several requests become one by being
//! joined; one that is too large is cut at the borders of resources, scopes, items and points.

mod book;
mod cargo;
mod config;
mod destination;
pub(crate) mod documents;
mod line;
mod metrics;
mod piece;
pub(crate) mod wire;

pub(crate) use cargo::{Cargo, Limits, joined, pack};
pub use config::{
    OtlpCompression, OtlpFormat, OtlpGrpcConfig, OtlpHttpConfig, OtlpObjectsConfig, OtlpProtocol, XRayConfig,
};
pub use destination::TraceDestination;
pub use metrics::OtlpDeliveryMetrics;
pub(crate) use piece::Piece;
pub(crate) use wire::Wire;
