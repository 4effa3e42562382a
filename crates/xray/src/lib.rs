//! OTLP spans as X-Ray segment documents: pure functions, no IO, no clock, no randomness.
//!
//! ```text
//! Resource -> Place (origin, account, ec2 | ecs | eks | elastic_beanstalk, log groups, sdk: once for all of its spans)
//! Span + Place + Options -> [`Document`]s: one, or two for a local root that calls away
//! ```
//!
//! The rules are those of AWS's OpenTelemetry exporter (awsxrayexporter) and of the segment document schema ("AWS X-Ray
//! segment documents", X-Ray developer guide). Where the exporter loses something that the document has room for, this
//! keeps it: attributes of a block that is not made stay metadata, a stack that cannot be taken apart stays text, names cut
//! between characters.
//!
//! It refuses: spans without valid ids ([`Refusal`]), since X-Ray would; to look into whether a trace is sampled; and events
//! that are no exceptions, for which a document has no place.
//!
//! Invariants:
//! - a document is valid JSON of at most [`Options::max_bytes`] bytes, whatever the span; what had to go for it is in
//!   [`Document::shed`];
//! - the same span gives the same document, made-up ids included, so that one that is sent twice is stored once;
//! - nothing in a span makes it panic or recurse deeper than the span's decoder allows.

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
mod aws;
mod cause;
mod fit;
mod http;
mod id;
mod name;
mod notes;
mod place;
mod segment;
mod span;
mod sql;
mod stack;

pub use fit::Shed;
pub use place::Place;
pub use span::{Document, Options, Refusal, documents};
