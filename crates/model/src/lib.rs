//! What telemetry is: labels, series tables, batches and their durable encoding. No IO, no async.

mod labels;
pub use labels::Labels;
