//! Pulls metrics: from the groups that discovery found to batches in the queue.
//!
//! A [`ScrapePool`] runs one job ([`JobConfig`]). It turns target groups into targets and gives each a loop, which at
//! its points in time fetches the body, has the [`ScrapeCache`] read it, and hands the batch to the pipeline's intake.
//! [`ScrapeContext`] is what pools share: the seed that spreads targets over time, body buffers, the host filter, what the
//! log has been told.
//!
//! Refuses: to find targets, to send anything anywhere, to keep samples (the queue does). A body that does not parse, is
//! too large or comes too late fails that scrape of that target and nothing else.
//!
//! Invariants: every scrape is handed over once, and carries `up`; a series that is no longer there gets a stale marker,
//! once; memory depends on the series and not on the bodies; the fast way of reading a body and the slow one give the
//! same batch.

mod address;
mod bodies;
mod cache;
mod circle;
mod config;
mod context;
mod duration;
mod failure;
mod fetch;
mod handover;
mod host_filter;
mod metrics;
mod parser;
mod pool;
mod request;
mod settings;
mod status;
mod target;
mod target_loop;
mod tick;
mod turns;
mod value;

pub use bodies::{BODY_LIMIT, Bodies};
pub use cache::{CacheConfig, IngestError, IngestFault, Ingested, ScrapeCache};
pub use config::{JobConfig, Limits, Scheme, ScrapeProtocol};
pub use context::ScrapeContext;
pub use failure::ScrapeError;
pub use host_filter::HostFilter;
pub use metrics::ScrapeMetrics;
pub use parser::{Format, ParseError};
pub use pool::{GroupsReceiver, ScrapePool};
pub use status::{TargetState, TargetStatus};
pub use target::TargetError;
pub use tick::{Clock, offset_seed};
