//! OTLP spans as X-Ray segment documents: pure functions, no IO, no clock, no randomness.
//!
//! ```text
//! ExportTraceServiceRequest, encoded + Options -> [`Reading`]: span after span at the end of a list of bytes
//! Resource -> Place (origin, account, ec2 | ecs | eks | elastic_beanstalk, log groups, sdk: once for all of its spans)
//! Span + Place -> Segment, borrowed from the request -> text of JSON within a text of JSON, in one pass
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
//!   [`Made::shed`];
//! - the same span gives the same document, made-up ids included, so that one that is sent twice is stored once;
//! - nothing in a span makes it panic or recurse deeper than protobuf's own readers allow;
//! - an ordinary span takes no memory of its own but for what is written.

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
mod known;
mod metadata;
mod name;
mod notes;
mod place;
mod read;
mod segment;
mod sheet;
mod span;
mod sql;
mod stack;
mod wire;
mod write;

pub use fit::Shed;
pub use id::Id;
pub use span::{Made, Options, Reading, Refusal};
