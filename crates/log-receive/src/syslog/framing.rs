//! Takes messages out of a byte stream: by octet counting or by line feeds (RFC 6587), told apart by their first byte.
//!
//! Opens nothing. Keeps true: keeps at most the limit of one message; of a longer one the beginning is given and the rest
//! passed over.

/// What is wrong with a stream beyond repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a length that is no number, or too large: neither octet counting nor lines")]
pub(super) struct BadFrame;

/// A message taken from the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Framed {
    pub bytes: Vec<u8>,
    /// It was longer than the limit.
    pub cut: bool,
}

/// A stream's place between two reads.
#[derive(Debug)]
pub(super) struct Framing {
    limit: usize,
    place: Place,
    bytes: Vec<u8>,
    cut: bool,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Between messages.
    Start,
    /// In the digits of a length.
    Digits {
        count: usize,
        digits: u8,
    },
    /// Bytes of a counted message that are still to come.
    Counted {
        left: usize,
    },
    Line,
}

/// No message is longer than this, even one of which the rest is passed over.
const MOST_DIGITS: u8 = 8;

impl Framing {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), place: Place::Start, bytes: Vec::new(), cut: false }
    }

    /// Takes bytes; whole messages go to `out`. After an error the connection is of no use.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Framed>) -> Result<(), BadFrame> {
        while let Some(first) = bytes.first().copied() {
            match self.place {
                Place::Start => match first {
                    // Empty lines, and the line feed that some senders put after a counted message.
                    b'\n' | b'\r' | 0 => bytes = bytes.get(1..).unwrap_or_default(),
                    b'1'..=b'9' => self.place = Place::Digits { count: 0, digits: 0 },
                    _ => self.place = Place::Line,
                },
                Place::Digits { count, digits } => {
                    bytes = bytes.get(1..).unwrap_or_default();
                    match first {
                        b'0'..=b'9' if digits < MOST_DIGITS => {
                            let count = count * 10 + usize::from(first - b'0');
                            self.place = Place::Digits { count, digits: digits + 1 };
                        }
                        b' ' => self.place = Place::Counted { left: count },
                        _ => return Err(BadFrame),
                    }
                }
                Place::Counted { left } => {
                    let (now, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
                    self.keep(now);
                    bytes = rest;
                    let left = left - now.len();
                    self.place = Place::Counted { left };
                    if left == 0 {
                        self.give(out);
                    }
                }
                Place::Line => match bytes.iter().position(|byte| matches!(byte, b'\n' | 0)) {
                    Some(at) => {
                        self.keep(bytes.get(..at).unwrap_or_default());
                        bytes = bytes.get(at + 1..).unwrap_or_default();
                        self.give(out);
                    }
                    None => {
                        self.keep(bytes);
                        bytes = &[];
                    }
                },
            }
        }
        Ok(())
    }

    /// The stream ended: a last line needs no line feed.
    pub(super) fn end(&mut self, out: &mut Vec<Framed>) {
        if matches!(self.place, Place::Line | Place::Counted { .. }) && !self.bytes.is_empty() {
            self.give(out);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn give(&mut self, out: &mut Vec<Framed>) {
        self.place = Place::Start;
        let mut bytes = std::mem::take(&mut self.bytes);
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        let cut = std::mem::take(&mut self.cut);
        if !bytes.is_empty() {
            out.push(Framed { bytes, cut });
        }
    }
}
