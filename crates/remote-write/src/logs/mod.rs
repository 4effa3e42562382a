//! Log destinations: one worker each, from a lane of log batches to Loki, CloudWatch, Firehose, Kinesis, a bucket or OTLP.
//!
//! ```text
//! LogOutlet -> LogLot (claim) -> LogLine -> Group: sort by address -> Sheaf -> Cargo -> Wire (body) -> Post (sign, send)
//!      ^                                      |  packed streams as they are, or rows       |
//!      +-------- settle, whole lots ----------+<---- Book (every line in one column) <- LogVerdict
//! ```
//!
//! A line takes the next group when all that is left of the one before waits to be tried again, so an address that is refused
//! keeps nothing from others; [`crate::pace`] tells such an address from a destination that serves nobody.
//!
//! It shares with metrics what does not know what a sample is: the post (client, identity), the pace, the roster, verdicts
//! and the status. It refuses: to look at a line that can travel as it lies in the queue (Loki), and to make lines of
//! different addresses wait for each other.

pub(crate) mod apart;
mod book;
mod config;
mod destination;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod found;
mod group;
pub(crate) mod head;
mod line;
mod lot;
#[doc(hidden)]
pub mod measure;
mod metrics;
pub(crate) mod probe;
pub(crate) mod sheaf;
mod template;
pub(crate) mod text;
pub(crate) mod wire;

pub use config::{
    CloudWatchConfig, FirehoseConfig, KinesisConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol,
    LokiConfig, OtlpLogsConfig,
};
pub use destination::LogDestination;
pub use metrics::LogDeliveryMetrics;
pub(crate) use template::shortened;
pub use template::{Template, TemplateError};
