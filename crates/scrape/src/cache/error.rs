//! Why a scrape's body was refused, and how far it was counted.

use super::Ingested;
use crate::parser::ParseError;

/// The body was refused as a whole; nothing of it is kept. The counts go into the report series all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct IngestError {
    #[source]
    pub fault: IngestFault,
    pub counts: Ingested,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IngestFault {
    #[error("parsing the exposition: {0}")]
    Parse(ParseError),
    #[error("{found} samples after metric relabelling are more than the sample_limit of {limit}")]
    SampleLimit { found: u64, limit: u64 },
    /// The limit is ours and not the job's.
    #[error(
        "{found} samples are more than the {limit} that are taken without a sample_limit; set sample_limit to allow them"
    )]
    TooManySamples { found: u64, limit: u64 },
    #[error("series {series} has {found} labels, more than the label_limit of {limit}")]
    LabelLimit { series: String, found: usize, limit: u64 },
    #[error(
        "series {series} has the label name {name} of {found} bytes, more than the label_name_length_limit of {limit}"
    )]
    LabelNameLength { series: String, name: String, found: usize, limit: u64 },
    #[error(
        "series {series} has a value of {found} bytes for label {name}, more than the label_value_length_limit of {limit}"
    )]
    LabelValueLength { series: String, name: String, found: usize, limit: u64 },
    #[error("metric_relabel_configs took the metric name from series {series}; every series needs a __name__")]
    NoName { series: String },
    #[error("series {series} is too large to store")]
    TooLarge { series: String },
    #[error("the target exposes more lines than can be told apart")]
    TooManySeries,
}
