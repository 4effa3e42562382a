//! Syslog over TCP, TLS and UDP, in the forms of RFC 5424 and RFC 3164.
//!
//! Keeps true: a connection's fault ends that connection only; a message is never longer in memory than
//! `max_message_length`; when the queue has no room, TCP senders are not read from, and datagrams
//! that the kernel drops in the meantime are counted.

mod framing;
mod listener;
mod message;
mod rfc3164;
mod rfc5424;
mod sent;

pub use listener::{SyslogConfig, SyslogListener};
pub use message::SyslogFormat;

/// See [`crate::fuzz`].
pub(crate) mod fuzz {
    use model::Labels;

    use super::{
        framing::Framing,
        message::{SyslogFormat, labels, parse},
    };

    const LIMIT: usize = 128;

    /// The first byte says how large the pieces are in which the rest comes.
    pub(crate) fn stream(bytes: &[u8]) {
        let Some((first, bytes)) = bytes.split_first() else { return };
        let take = |piece: usize| {
            let (mut framing, mut out) = (Framing::new(LIMIT), Vec::new());
            let ends = bytes.chunks(piece).all(|part| framing.push(part, &mut out).is_ok());
            framing.end(&mut out);
            (out, ends)
        };
        let (messages, well) = take(bytes.len().max(1));
        assert_eq!((&messages, well), (&take(usize::from(*first) + 1).0, well), "messages depend on pieces");
        for framed in messages {
            assert!(framed.bytes.len() <= LIMIT, "a message is too long");
            let text = String::from_utf8_lossy(&framed.bytes);
            for format in [SyslogFormat::Rfc5424, SyslogFormat::Rfc3164, SyslogFormat::Either] {
                let Some(message) = parse(&text, format, 1_769_860_800_000_000_000) else { continue };
                assert!(message.priority < 192 && message.text.len() <= text.len(), "{message:?}");
                let found = labels(message.labels(true), &Labels::new());
                assert!(found.iter().all(|(name, _)| !name.is_empty()), "{found:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
