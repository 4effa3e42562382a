//! The protocols of log destinations, seen alike: where a stream goes, how lines become a body and a body a request, what
//! the answers mean. One file each under `protocol`.
//!
//! They send nothing, and book nothing.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use model::Labels;

use super::{
    LogProtocol,
    apart::Room,
    head::Address,
    sheaf::{Piece, Row},
    shortened,
};
use crate::{
    Batching, DestinationConfig,
    protocol::{
        Extent, cloudwatch::CloudWatch, firehose::Firehose, kinesis::Kinesis, log_objects::LogObjects, loki::Loki,
        otlp_logs::OtlpLogs, s3, send_address,
    },
    verdict::{Loss, Verdict},
};

/// In which order lines of several streams are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Stream by stream.
    Stream,
    /// As they came.
    Arrival,
    /// By timestamp; lines of a stream with the same time as they came.
    Time,
}

/// A body, ready to travel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    pub(crate) body: Bytes,
    /// How many of the rows it was given are in it: from the first on. At least one.
    pub(crate) lines: usize,
}

/// What an answer means for the lines of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogVerdict {
    Whole(Verdict),
    /// Each has its own; by place in the request.
    Each {
        lost: Vec<(std::ops::Range<usize>, Loss)>,
        /// Ascending. To be sent once more.
        again: Vec<usize>,
        message: String,
    },
    /// The log group or stream does not exist and may be made.
    Missing {
        group: bool,
        why: String,
    },
}

impl From<Verdict> for LogVerdict {
    fn from(verdict: Verdict) -> Self {
        Self::Whole(verdict)
    }
}

/// See the file's head.
#[derive(Debug)]
pub(crate) enum Wire {
    Loki(Loki),
    CloudWatch(CloudWatch),
    Firehose(Firehose),
    Kinesis(Kinesis),
    Objects(LogObjects),
    Otlp(OtlpLogs),
}

impl Wire {
    pub(crate) fn new(config: &DestinationConfig, protocol: &LogProtocol) -> Self {
        let address = send_address(&config.url, config.endpoint_url.as_ref());
        let Batching { max_samples, max_bytes, .. } = config.batching;
        let limits = Limits { lines: max_samples.max(1), bytes: max_bytes.max(1) };
        match protocol {
            LogProtocol::Loki(loki) => {
                Self::Loki(Loki::new(address, loki.clone(), limits, config.backoff.retry_on_http_429))
            }
            LogProtocol::CloudWatch(config) => Self::CloudWatch(CloudWatch::new(address, config.clone(), limits)),
            LogProtocol::Firehose(config) => Self::Firehose(Firehose::new(address, config.clone(), limits)),
            LogProtocol::Kinesis(config) => Self::Kinesis(Kinesis::new(address, config.clone(), limits)),
            LogProtocol::Objects(objects) => {
                Self::Objects(LogObjects::new(s3::address(&config.url, config.endpoint_url.as_ref()), objects.clone()))
            }
            LogProtocol::Otlp(otlp) => Self::Otlp(OtlpLogs::new(address, &config.url, otlp.clone(), limits)),
        }
    }

    /// Whether packed streams can be sent as they are.
    pub(crate) fn packs(&self) -> bool {
        matches!(self, Self::Loki(_))
    }

    /// Whether a request is named by its lines' place in the queue.
    pub(crate) fn names_by_place(&self) -> bool {
        matches!(self, Self::Objects(_))
    }

    pub(crate) fn order(&self) -> Order {
        match self {
            Self::Loki(_) | Self::Otlp(_) => Order::Stream,
            Self::CloudWatch(_) => Order::Time,
            Self::Firehose(_) | Self::Kinesis(_) | Self::Objects(_) => Order::Arrival,
        }
    }

    /// Whether addresses or keys change with the hour.
    pub(crate) fn is_dated(&self) -> bool {
        match self {
            Self::Loki(_) | Self::Firehose(_) => false,
            Self::CloudWatch(wire) => wire.is_dated(),
            Self::Kinesis(wire) => wire.is_dated(),
            Self::Objects(wire) => wire.is_dated(),
            Self::Otlp(wire) => wire.is_dated(),
        }
    }

    /// Where the lines of a stream go. `labels` has the `__*` ones too.
    pub(crate) fn address(&self, labels: &Labels, at_ms: i64) -> Address {
        match self {
            Self::Loki(wire) => wire.address(labels),
            Self::CloudWatch(wire) => wire.address(labels, at_ms),
            Self::Firehose(_) | Self::Kinesis(_) => Address::default(),
            Self::Objects(wire) => wire.address(labels, at_ms),
            Self::Otlp(wire) => wire.address(labels, at_ms),
        }
    }

    /// What people call an address, if the protocol has any.
    pub(crate) fn name_of(&self, address: &Address) -> Option<String> {
        let short = |name: &str| shortened(name.to_owned(), 120, char::len_utf8);
        let (first, second) = (short(&address.first), short(&address.second));
        match self {
            _ if first.is_empty() => None,
            Self::Loki(_) => Some(format!("tenant {first}")),
            Self::CloudWatch(_) | Self::Otlp(_) => Some(format!("log group {first}, stream {second}")),
            Self::Objects(_) => Some(format!("prefix {first}")),
            Self::Firehose(_) | Self::Kinesis(_) => None,
        }
    }

    /// Kinesis' partition key.
    pub(crate) fn key(&self, labels: &Labels, at_ms: i64) -> String {
        match self {
            Self::Kinesis(wire) => wire.key(labels, at_ms),
            _ => String::new(),
        }
    }

    /// Labels as bodies have them.
    pub(crate) fn labels(&self, labels: &Labels) -> Vec<u8> {
        match self {
            Self::Loki(_) => crate::protocol::loki::label_text(labels).into_bytes(),
            Self::CloudWatch(_) => Vec::new(),
            Self::Firehose(_) | Self::Kinesis(_) | Self::Objects(_) => super::text::label_object(labels),
            Self::Otlp(_) => crate::protocol::otlp_logs::resource(labels),
        }
    }

    /// Why a line cannot be sent, if so.
    pub(crate) fn screen(&self, row: &Row<'_>) -> Option<Loss> {
        match self {
            // The API wants a timestamp of 0 or more, and would refuse all of the batch.
            Self::CloudWatch(_) if row.entry.timestamp_ns < 0 => Some(Loss::TooOld),
            Self::Loki(_) | Self::CloudWatch(_) | Self::Firehose(_) | Self::Kinesis(_) | Self::Objects(_) => None,
            Self::Otlp(_) => None,
        }
    }

    /// A line of so many bytes fits with any labels that are worth talking of; `None`: any line does.
    pub(crate) fn surely_fits(&self) -> Option<usize> {
        match self {
            Self::CloudWatch(_) => Some(crate::protocol::cloudwatch::EVENT_BYTES),
            Self::Firehose(_) | Self::Kinesis(_) => Some(128 << 10),
            Self::Loki(_) | Self::Objects(_) | Self::Otlp(_) => None,
        }
    }

    /// How much of a line goes into one record; `None`: all of it.
    pub(crate) fn room(&self, row: &Row<'_>) -> Option<Room> {
        match self {
            Self::CloudWatch(_) => Some(Room { bytes: crate::protocol::cloudwatch::EVENT_BYTES, escaped: false }),
            Self::Firehose(wire) => Some(wire.room(row)),
            Self::Kinesis(wire) => Some(wire.room(row)),
            Self::Loki(_) | Self::Objects(_) | Self::Otlp(_) => None,
        }
    }

    /// One body of packed streams.
    pub(crate) fn splice(&self, pieces: &[Piece]) -> Bytes {
        crate::protocol::loki::splice(pieces)
    }

    /// One body of as many rows as fit, from the first on. There is at least one row.
    pub(crate) fn encode(&self, rows: &[Row<'_>]) -> Letter {
        match self {
            Self::Loki(wire) => wire.encode(rows),
            Self::CloudWatch(wire) => wire.encode(rows),
            Self::Firehose(wire) => wire.encode(rows),
            Self::Kinesis(wire) => wire.encode(rows),
            Self::Objects(wire) => wire.encode(rows),
            Self::Otlp(wire) => wire.encode(rows),
        }
    }

    /// The request without identity. `extent`: where the lines lie in the queue, if the protocol wants to know.
    pub(crate) fn request(
        &self,
        address: &Address,
        letter: &Letter,
        extent: Option<&Extent>,
    ) -> Result<Request<Bytes>, http::Error> {
        match self {
            Self::Loki(wire) => wire.request(address, letter),
            Self::CloudWatch(wire) => wire.request(letter),
            Self::Firehose(wire) => wire.request(letter),
            Self::Kinesis(wire) => wire.request(letter),
            Self::Objects(wire) => wire.request(address, letter, extent),
            Self::Otlp(wire) => wire.request(address, letter),
        }
    }

    /// A request that stores nothing: without lines.
    pub(crate) fn probe(&self) -> Result<Request<Bytes>, http::Error> {
        let address = self.address(&Labels::new(), 0);
        // An empty message is a snappy block of length 0.
        let empty = if self.packs() { Letter { body: self.splice(&[]), lines: 0 } } else { self.encode(&[]) };
        self.request(&address, &empty, None)
    }

    /// What the answer means for a request of `lines` lines.
    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], lines: usize) -> LogVerdict {
        match self {
            Self::Loki(wire) => wire.judge(status, headers, body, lines),
            Self::CloudWatch(wire) => wire.judge(status, headers, body, lines),
            Self::Firehose(wire) => wire.judge(status, headers, body, lines),
            Self::Kinesis(wire) => wire.judge(status, headers, body, lines),
            Self::Objects(wire) => wire.judge(status, headers, body),
            Self::Otlp(wire) => wire.judge(status, headers, body, lines),
        }
    }

    /// How missing groups and streams are made, where that is wanted.
    pub(crate) fn founder(&self) -> Option<&crate::protocol::cloudwatch::Founder> {
        match self {
            Self::CloudWatch(wire) => wire.founder(),
            Self::Otlp(wire) => wire.founder(),
            _ => None,
        }
    }

    /// Lines and bytes in one request at most, where the configuration says so.
    pub(crate) fn packed_limits(&self) -> Limits {
        match self {
            Self::Loki(wire) => wire.limits(),
            _ => Limits { lines: usize::MAX, bytes: usize::MAX },
        }
    }
}

/// What the configuration allows in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) lines: usize,
    pub(crate) bytes: usize,
}
