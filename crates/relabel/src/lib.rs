//! Prometheus relabelling over `model::Labels`.
//!
//! A [`RuleSource`] is what a `relabel_config` says; [`Rule::new`] checks and compiles it; [`process`] runs rules in
//! order over a set of labels and answers whether it survives. [`go_regex`] is the translator beneath: users write Go's
//! RE2 dialect, the `regex` crate speaks a slightly different one, and the difference must never be noticed.
//!
//! Refuses: to read files or configuration syntax, to know whether the labels are a target's or a series', and to
//! accept a pattern that Go would refuse or to read one differently from Go.
//!
//! Invariants: after `process` the labels are sorted, unique and free of empty values; a rule once compiled cannot fail
//! and takes time linear in its input.

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

mod case;
mod go_regex;
mod process;
mod rule;
mod template;

pub use go_regex::{GoRegex, GoRegexError, go_regex, go_regex_unanchored};
pub use process::process;
pub use rule::{Action, Rule, RuleError, RuleSource};
pub use template::Template;
