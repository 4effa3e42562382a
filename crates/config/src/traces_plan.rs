//! What `traces:` says, as plain data: part of a [`Plan`](crate::Plan).
//!
//! Does nothing. Keeps true: every default is already applied; no two receivers of a plan listen on the same address.

use otlp_receive::{ReceiverConfig, Signals};

use crate::DestinationPlan;

/// One `traces.configs[]` entry: a lane of the queue, what fills it, what empties it.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesRoute {
    /// As written; unique among these. May hold any character.
    pub name: String,
    /// Endpoints to listen on.
    pub receivers: Vec<ReceiverConfig>,
    /// Processors of the instance that this version does not run and that would change what is forwarded: where there are
    /// such, nothing is listened on.
    pub held_by: Vec<String>,
    /// What one of the destinations takes.
    pub accepts: Signals,
    pub destinations: Vec<DestinationPlan>,
}
