//! Log pipeline stages: what happens to a line between its source and the queue, with Promtail's meaning of every stage.
//!
//! A source makes an [`Entry`] of each line and gives it to the [`Pipeline`] of its `scrape_config`; what comes out goes to
//! the queue. The pipeline is made once from a [`PipelineConfig`], which is plain data that `config` fills.
//!
//! ```text
//! PipelineConfig --Pipeline::new--> Pipeline        (or StageError: the key at fault and why)
//! Entry --process(now)--> 0..n Entry                deadline() -> flush(now) -> held lines that waited long enough
//!                                                   hold_until(): the source should wait (limit without drop)
//!                                                   finish(now): the source ends, everything held comes out
//! Entry --explain(now)--> StepReport for each stage
//! Pipeline --twin()--> Pipeline for another source of the job: rates and metrics in common, held lines its own
//! held()                which parts of the source are held back: positions must not pass them
//! ```
//!
//! Refuses: to read configuration files, to look at a clock, to sleep, to do IO after it was made (a GeoIP database is read
//! when a pipeline is made), to lose a line because it is not what a stage expected.
//!
//! Invariants:
//! - a pipeline that was made cannot fail: what a stage cannot read passes as Promtail documents it;
//! - any text is taken; time and memory for a line are bounded by its length and by the limits of the stages;
//! - every line that goes is counted, by reason, in `logentry_dropped_lines_total`.

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

mod assembly;
pub mod config;
mod duration;
mod entry;
mod error;
mod extracted;
mod functions;
mod gate;
mod generations;
mod json_text;
mod layout;
mod metrics;
mod parts;
mod pipeline;
mod report;
mod room;
mod selector;
mod series;
mod step;

pub use config::{PipelineConfig, StageConfig};
pub use duration::go_duration;
pub use entry::{Entry, TENANT_LABEL};
pub use error::{StageError, StageFault};
pub use extracted::{Extracted, MAX_EXTRACTED, Name, Value};
pub use gate::{GateRate, LineGate, Passage};
pub use metrics::StageMetrics;
pub use parts::Parts;
pub use pipeline::Pipeline;
pub use report::{Fate, Snapshot, StepReport};
pub use series::MAX_SERIES;
pub use step::{
    cri::MAX_PARTIAL_BYTES,
    multiline::{MAX_BLOCK_BYTES, MAX_BYTES, MAX_STREAMS},
};
