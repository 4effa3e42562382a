//! What is done with bytes that nobody vouches for, one function for each kind of them, with the checks inside.
//!
//! A target takes any bytes, hands them to the code that reads such bytes in the agent, and panics where that code breaks
//! a promise: it must not panic, must not loop or grow without bound, and what it accepts must mean something. Each
//! is called by a libFuzzer program of its own (`fuzz_targets/`, built by `make fuzz` only) and by an ordinary test that
//! replays `corpora/<target>/` (package e2e, `fuzz_corpora.rs`), so that stable CI keeps what fuzzing has found.
//!
//! Refuses: to need libFuzzer, a nightly compiler or the network; to know the agent's insides where its public face or
//! the documents are enough. Where a checksum would stop every mutation at the door, the target writes the right one itself,
//! from `docs/queue-format.md`.

#![forbid(unsafe_code)]

mod answers;
mod bodies;
mod codecs;
mod exposition;
mod log_sources;
mod otlp;
mod outgoing;
mod queue_files;
mod settings;
mod spans;
mod targets;

pub use answers::{certificate, credentials, service_error, verdict};
pub use bodies::{remote_write, replay_object};
pub use codecs::{base_vector, log_batch, metric_batch, series_table};
pub use exposition::exposition;
pub use log_sources::{docker_output, log_objects, loki_push_json, loki_push_message, syslog_stream};
pub use otlp::{otlp_json, otlp_packed, otlp_protobuf};
pub use outgoing::otlp_outgoing;
pub use queue_files::{cursor_slot, frame, segment_header, segment_scan};
pub use settings::{config_text, go_regex, no_proxy};
pub use spans::{jaeger, otlp_translate, zipkin};
pub use targets::{TARGETS, Target};
