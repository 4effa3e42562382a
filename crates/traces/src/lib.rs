//! The processors of a traces instance: spans in, spans out, and what is made of spans on the way.
//!
//! A [`ProcessorsConfig`] says what is asked for. [`Chain`] is that, compiled: pure functions and state over decoded requests,
//! which are told the time. [`Stage`] runs a chain between two lanes of the queue: it reads what receivers made durable, appends
//! what survives to the lane that destinations read, and settles what it read only when that is durable. So an answered span is on
//! disk from its answer to its delivery, whatever holds it in memory for a decision.
//!
//! It refuses: to read configuration files, to open sockets, to know who received spans and who sends them, and to lose a span
//! without a count: what a processor drops is `filtered` in the queue's books and counted by processor and reason.
//!
//! The order is the Agent's, whatever the file's: discovery's labels, `attributes`, `spanmetrics`, `service_graphs`,
//! `tail_sampling`, `automatic_logging`. Batching is the destinations' own.
//!
//! Invariants: what a chain holds is bounded in spans, traces, series and bytes; a trace is forwarded whole or not at all, as far
//! as its spans came before its decision is forgotten; patterns are Go's and take linear time; nothing that spans hold panics.

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

mod attributes;
mod auto_log;
mod balance;
mod chain;
mod config;
mod discovered;
mod error;
mod matching;
mod metrics;
mod parcel;
mod service_graph;
mod sinks;
mod span_metrics;
mod stage;
mod tail;
mod value;

pub use chain::{Chain, SpanMetricsPage};
pub use config::{
    Action, Association, AttributeAction, AttributesConfig, AutomaticLoggingConfig, BalanceConfig, CompositePart,
    ConvertTo, Dimension, DiscoveredConfig, Library, LogBackend, LogKeys, MatchProperties, MatchType, Operation,
    PolicyConfig, PolicyRule, ProcessorsConfig, Property, RoutingKey, ServiceGraphsConfig, SpanMetricsConfig,
    SpanMetricsOutput, TailSamplingConfig, ValueSource,
};
pub use discovered::Hosts;
pub use error::TracesError;
pub use metrics::ProcessorMetrics;
pub use proto::otlp_common::{AnyValue, ArrayValue, KeyValue, KeyValueList, Value};
pub use proto::otlp_traces::StatusCode;
pub use sinks::Sinks;
pub use stage::Stage;
