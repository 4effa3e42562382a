//! Why a request is refused, as both transports tell it.
//!
//! The pairs of codes follow the OTLP specification ("Failures", "Throttling") and its table of retryable codes: what the
//! client may send again has a retryable code and says when.

use std::time::Duration;

use http::StatusCode;
use model::{ModelError, otlp::Signal};

/// Everything that is not success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bytes are not what OTLP says: never to be sent again.
    Malformed(String),
    /// More than the receiver takes in one request.
    TooLarge { limit: usize },
    /// It would take more memory to read than one request may have.
    Heavy { limit: usize },
    /// The queue is full.
    QueueFull,
    /// Too many bytes are in flight.
    Crowded,
    /// The agent stops.
    Stopping,
    /// The request did not arrive in its time.
    TooSlow,
    /// Nobody behind this receiver takes this signal.
    NotTaken(Signal),
    /// No such path or method.
    Unknown(String),
    /// A path that is there, asked in another way than by POST.
    Method,
    /// A content type or compression that is not known here.
    Unsupported(String),
    /// The client hung up or broke the protocol.
    Broken(String),
}

/// `google.rpc.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
}

impl Refusal {
    pub(crate) fn malformed(error: &ModelError) -> Self {
        Self::Malformed(error.to_string())
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Malformed(_) | Self::Broken(_) => Code::InvalidArgument,
            Self::TooLarge { .. } | Self::Heavy { .. } | Self::QueueFull | Self::Crowded => Code::ResourceExhausted,
            Self::Stopping => Code::Unavailable,
            Self::TooSlow => Code::DeadlineExceeded,
            Self::NotTaken(_) | Self::Unknown(_) | Self::Method | Self::Unsupported(_) => Code::Unimplemented,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } | Self::Heavy { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QueueFull | Self::Crowded => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NotTaken(_) | Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// When to come again; `None`: never.
    pub(crate) fn retry(&self) -> Option<Duration> {
        match self {
            // A queue empties as fast as the far end takes it.
            Self::QueueFull | Self::Stopping => Some(Duration::from_secs(5)),
            Self::Crowded => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// A word for the counter.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } | Self::Heavy { .. } => "too_large",
            Self::QueueFull => "queue_full",
            Self::Crowded => "no_memory",
            Self::Stopping => "stopping",
            Self::TooSlow => "too_slow",
            Self::NotTaken(_) => "signal_not_taken",
            Self::Unknown(_) | Self::Method => "unknown_path",
            Self::Unsupported(_) => "unsupported",
            Self::Broken(_) => "broken",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) | Self::Unknown(why) | Self::Unsupported(why) | Self::Broken(why) => f.write_str(why),
            Self::TooLarge { limit } => {
                write!(
                    f,
                    "the request is larger than {limit} bytes: send fewer items at once, or raise the receiver's limit"
                )
            }
            Self::Heavy { limit } => {
                write!(
                    f,
                    "the request would take more than the {limit} bytes of memory that one may have while it is read: send fewer items at once"
                )
            }
            Self::QueueFull => f.write_str("the queue on disk is full: come again later"),
            Self::Crowded => f.write_str("too many bytes are in flight: come again later"),
            Self::Stopping => f.write_str("the agent is stopping"),
            Self::TooSlow => f.write_str("the request took too long to arrive"),
            Self::NotTaken(signal) => {
                write!(f, "this receiver forwards no {signal}: none of its destinations takes them")
            }
            Self::Method => f.write_str("send a POST"),
        }
    }
}
