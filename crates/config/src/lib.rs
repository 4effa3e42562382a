//! The configuration file: YAML text in the dialect of Grafana Agent's static mode -> one [`Plan`].
//!
//! It is the only reader of configuration files and of `${NAME}` in them. [`load`] takes the text and the process's
//! environment as a function, and answers either a [`Plan`] (plain data made of the parts' own config structs, with the
//! warnings a person should see) or [`Problems`]: all of them at once, each with file, line, column, key path, what is
//! wrong and what to write instead.
//!
//! It refuses to open sockets or files (a secret in a file is read by whoever uses it), to know what the parts do with
//! their configuration, and to guess: an unknown key, a duplicate key or a wrong type rejects the file.
//!
//! How it fits together: `expand` turns `${NAME}` into text and remembers where each byte came from; `node` reads the
//! YAML into a tree in which everything knows its place; `key_path` finds paths in it; `reader` and `block` read that tree against the keys a block may
//! have, and collect problems instead of stopping at one (which is why nothing here derives `Deserialize`); `dialect`
//! says what each block means; `problem`, `mask`, `line` and `harmless` speak to people; `render` writes a plan back as YAML.
//!
//! Invariants: every problem has a line and a column of the file as the person wrote it; no message, snippet or
//! rendered plan holds a secret; equal text and equal environment give equal plans.

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

mod block;
mod dialect;
mod expand;
mod glob;
mod harmless;
mod key_path;
mod line;
mod load;
mod log_plan;
mod mask;
mod node;
mod plan;
mod problem;
mod reader;
mod render;
mod scalar;
mod source;
mod syntax;
mod traces_plan;
mod yaml_out;

pub use block::Shape;
pub use dialect::SHAPES;
pub use load::{LoadOptions, decode, load};
pub use log_plan::{
    CloudWatchPlan, CompressionFormat, Decompression, FileWatch, LineLimits, LineRate, LogJobPlan, LogSource,
    LogsRoute, ObjectsPlan, PositionsPlan,
};
pub use plan::{
    ClientAuthType, DestinationPlan, LogFormat, LogLevel, MetricsRoute, MinFree, OnFull, Plan, QueuePlan, ServerPlan,
    ServerTls, Shares,
};
pub use problem::{Problem, Problems, Severity};
pub use scalar::duration as parse_duration;
pub use traces_plan::{
    BackendResolver, BalancingPlan, TracesRoute, Written, backend_destination, backend_route, balancer_route,
    set_backends,
};
