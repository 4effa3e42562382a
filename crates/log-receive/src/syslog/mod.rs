//! Syslog over TCP, TLS and UDP, in the forms of RFC 5424 and RFC 3164.
//!
//! Keeps true: a connection's fault ends that connection only; a message is never longer in memory than
//! `max_message_length`; when the queue has no room, TCP senders are not read from, and datagrams
//! that the kernel drops in the meantime are counted.

mod framing;
mod listener;
mod losses;
mod message;
mod rfc3164;
mod rfc5424;

pub use listener::{SyslogConfig, SyslogListener};
pub use message::SyslogFormat;

#[cfg(test)]
mod tests;
