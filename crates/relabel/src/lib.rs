//! Prometheus relabelling over `model::Labels`.

mod rule;
pub use rule::{Action, Rule, RuleError, RuleSource};
