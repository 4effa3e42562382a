//! Takes OTLP in over gRPC and HTTP, and spans of Jaeger and Zipkin, and answers when what was sent is on disk.
//!
//! A [`ReceiverConfig`] says where to listen and what to take. [`Prepared`] has the socket (from [`net::Sockets`], where a successor
//! finds it again: a reload closes no port) and usable certificates; [`Prepared::run`] serves until it is told to stop. A
//! request is read within limits of size, time and memory, unpacked, turned from JSON into protobuf if need be, checked to
//! the last attribute, and handed to the queue as the bytes it came in. The client hears of success after fdatasync.
//!
//! It refuses: to read configuration files, to know where telemetry goes, to change what was sent, to answer success for what
//! a power cut could still take away, and to wait for room: a queue that is full, or too many bytes in flight, is answered
//! with 429 or RESOURCE_EXHAUSTED and the time after which to come again.
//!
//! Invariants: no bytes from outside panic, hold a task for ever or take more memory than [`BodyRoom`] gives, which all
//! receivers of a process share; protobuf goes to the queue byte for byte; every refused request is counted by its reason.
//!
//! Spans of Jaeger (gRPC, Thrift over HTTP and UDP) and Zipkin (JSON, protobuf) become OTLP here, span by span, and are kept as
//! such. Datagrams have no answer: they are durable with the queue's next commit, and what is not taken is counted.
//!
//! gRPC is served by the same HTTP server: a unary call is five bytes in front of the message and a trailer behind the
//! answer, which is less code than teaching a framework to leave messages as they are.

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

mod answer;
mod attributes;
mod body;
mod config;
mod cors;
mod door;
mod elsewhere;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod http;
mod jaeger;
mod json;
mod metrics;
mod plain;
mod receiver;
mod refusal;
mod room;
mod sheaf;
mod unpack;
mod zipkin;

pub use config::{Cors, HttpPaths, ListenTls, ReceiverConfig, Signals, Speech, ThriftForm};
pub use error::ReceiveError;
pub use metrics::OtlpMetrics;
pub use otlp_translate::ExponentialForm;
pub use receiver::{Looking, Opened, Prepared, ReceiverStatus};
pub use room::BodyRoom;
