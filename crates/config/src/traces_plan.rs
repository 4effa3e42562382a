//! What `traces:` says, as plain data: part of a [`Plan`](crate::Plan).
//!
//! Does nothing. Keeps true: every default is already applied; no two receivers of a plan listen on the same address.

use otlp_receive::{ReceiverConfig, Signals};
use traces::ProcessorsConfig;

use crate::DestinationPlan;

/// One `traces.configs[]` entry: a lane of the queue, what fills it, what empties it.
#[derive(Debug, Clone, PartialEq)]
pub struct TracesRoute {
    /// As written; unique among these. May hold any character.
    pub name: String,
    /// The entry that this is a part of, if it is: `load_balancing` makes several routes of one entry.
    pub part_of: Option<String>,
    /// Endpoints to listen on.
    pub receivers: Vec<ReceiverConfig>,
    /// Processors of the instance that this version does not run and that would change what is forwarded: where there are
    /// such, nothing is listened on.
    pub held_by: Vec<String>,
    /// What is done to spans before destinations see them.
    pub processors: ProcessorsConfig,
    /// Where labels come from that processors put on spans.
    pub jobs: Vec<(scrape::JobConfig, Vec<discovery::DiscoveryConfig>)>,
    /// Names of the routes that processors part spans between, in the order of `processors.balance`.
    pub backends: Vec<String>,
    /// The same as it was written: key and block.
    pub written: Vec<(String, Written)>,
    /// What one of the destinations takes.
    pub accepts: Signals,
    pub destinations: Vec<DestinationPlan>,
}

impl TracesRoute {
    /// The entry of `traces.configs` that it is, or is a part of.
    pub fn instance(&self) -> &str {
        self.part_of.as_deref().unwrap_or(&self.name)
    }
}

/// A block of the file, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// In quotes.
    Text(String),
    /// Numbers, truth values, words.
    Word(String),
    List(Vec<Written>),
    Map(Vec<(String, Written)>),
}
