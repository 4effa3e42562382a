//! Series tables: which series a value column belongs to. Immutable, content-addressed.
//!
//! Layout of the body (inside the envelope of version and codec): varint symbol count, their lengths, their bytes in
//! one run; varint pair count, each (name symbol, value symbol); varint family count, each (name symbol, type byte,
//! help symbol, unit symbol); varint series count, each (family, pair count, pair numbers in label-name order).

mod builder;
mod decoded;

pub use builder::{EncodedTable, SeriesTableBuilder};
pub use decoded::SeriesTable;

/// Series a builder takes. Small, so that churn in one corner re-encodes one corner.
pub const SERIES_PER_TABLE: usize = 512;

const PART: &str = "a series table";
