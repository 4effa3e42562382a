//! `loki_push_api`: what other agents push, taken as Loki takes it.
//!
//! Answers success only when the queue holds the lines on disk. Keeps true: a request is read whole and checked whole
//! before a line of it is taken; bodies, decompressed bodies and requests under way are bounded; a queue without room is
//! told with 429 and `Retry-After`, never by a connection that hangs.

mod body;
mod json;
mod labels;
mod message;
mod receiver;
mod routes;

pub use body::PushLimits;
pub use receiver::{PushConfig, PushReceiver};
