//! Delivers what the queue holds: one independent worker per destination. Metrics go to remote-write endpoints and buckets,
//! log lines (module [`logs`], which shares what knows no sample) to Loki, CloudWatch, Firehose, Kinesis, buckets and OTLP; spans
//! and all else that came as OTLP (module [`traces`]) to OTLP, X-Ray and buckets.
//!
//! ```text
//! Outlet -> Lot (claim + its tables) -> Line (one sequence: body -> snappy) -> Courier (sign, send) -> Verdict
//!    ^                                    |  books every sample in one column                            |
//!    +---- settle, whole claims ----------+<-------------------------------------------------------------+
//! ```
//!
//! [`Destination::spawn`] starts a worker and gives a [`DestinationStatus`]; [`replay()`] posts the objects of a bucket or a
//! directory to an endpoint. `wire` is the encoder: a [`wire::table::WireTable`] is made once per series table and
//! destination (external labels merged, `write_relabel_configs` decided, label pairs already protobuf), so that a sample
//! costs a few block copies.
//!
//! It refuses: to know who scraped, to hold anything but what is on its way (the queue is on disk), to lose a sample
//! without a reason and a count, and to take a wrong URL, refused credentials or an outage for a fault of the data.
//!
//! Invariants:
//! - the samples of a stream are sent in order, one request of a shard at a time;
//! - a claim is settled once, with counts that sum to its items, or it comes back;
//! - destinations share nothing but the disk and the processor;
//! - an object in a bucket is named by its samples' place in the queue, so it is never stored twice.

mod claims;
mod config;
mod courier;
mod destination;
#[doc(hidden)]
pub mod fuzz;
mod line;
mod load;
pub mod logs;
mod lot;
mod metadata;
mod metrics;
mod pace;
mod probe;
mod protocol;
mod replay;
mod roster;
mod status;
mod tables;
pub mod traces;
mod verdict;
pub mod wire;

pub use config::{Backoff, Batching, DestinationConfig, MetadataConfig, ProtocolConfig};
pub use destination::{Destination, Tuning};
pub use metrics::{RemoteLabels, RemoteStorageMetrics};
pub use probe::{LogPlace, PROBE_METRIC, Probe, ProbeKind, probe};
pub use replay::{ObjectSource, ReplayConfig, ReplayError, ReplayProgress, replay};
pub use status::{DestinationSnapshot, DestinationState, DestinationStatus, LastAnswer};
pub use verdict::{LOOKS_LIKE_GRPC, Loss, is_no_http1, is_page};
pub use wire::rewrite::Rewrite;
