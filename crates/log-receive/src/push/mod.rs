//! `loki_push_api`: what other agents push, taken as Loki takes it.
//!
//! Answers success only when the queue holds the lines on disk. Keeps true: a request is read whole and checked whole
//! before a line of it is taken; bodies, decompressed bodies and requests under way are bounded; a queue without room is
//! told with 429 and `Retry-After`, never by a connection that hangs.

mod body;
mod json;
mod labels;
mod mend;
mod message;
mod receiver;
mod routes;

pub use body::PushLimits;
pub use receiver::{PushConfig, PushReceiver};

/// See [`crate::fuzz`].
pub(crate) mod fuzz {
    use super::message::PushStream;

    pub(crate) fn message(bytes: &[u8]) {
        if let Ok(streams) = super::message::parse(bytes) {
            walk(&streams, bytes.len());
        }
    }

    pub(crate) fn json(bytes: &[u8]) {
        if let Ok(streams) = super::json::parse(bytes) {
            walk(&streams, bytes.len());
        }
    }

    fn walk(streams: &[PushStream<'_>], most: usize) {
        let mut text = 0;
        for stream in streams {
            assert!(!stream.labels.is_empty(), "a stream without labels");
            for entry in stream.entries.iter() {
                text += entry.line.len() + entry.metadata.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
            }
        }
        assert!(text <= most, "{text} bytes of {most}");
    }
}
