//! OTLP metrics as Prometheus samples, OTLP log records as lines: pure functions, and the sums of what clients send as differences.
//!
//! [`MetricTranslator`] reads an export request of metrics into [`SampleBatch`]es and [`NativeBatch`]es, which borrow as what
//! `model` encodes, exponential histograms in the [`ExponentialForm`] that is asked for; [`log_lines`]
//! reads one of logs. [`model::otlp::footprint`] says beforehand how much memory decoding may take.
//!
//! It refuses: to know where requests come from and where samples go, to read a clock (the caller tells the time), and to lose
//! a point silently: what has no place in Prometheus' model is counted in [`Rejected`], by its reason.
//!
//! Sources: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility" (OTLP metric points to Prometheus), and
//! the Collector's translation, version 0.96, where the specification leaves a choice.
//!
//! Invariants: names and labels that come out are valid for Prometheus; a series is in a batch once; differences are added up only
//! once for a request, and not at all when [`MetricTranslator::undo`] takes it back.

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

mod columns;
mod delta;
mod exponential;
mod lines;
mod metrics;
mod name;
mod native;
mod resource;
#[cfg(test)]
mod tests;
mod text;

pub use columns::{Batch, NativeBatch, SampleBatch};
pub use lines::log_lines;
pub use metrics::{ExponentialForm, MetricTranslator, Rejected, Translated};
