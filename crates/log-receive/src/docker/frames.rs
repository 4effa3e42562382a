//! Takes messages out of the bytes that an engine sends of a container's output.
//!
//! Two forms: frames (eight bytes of head: which output, length) where the container has no terminal, bare lines where it
//! has one. Each message begins with its time. Keeps true: holds one message, at most as long as a line may be.

use jiff::Timestamp;

use crate::LONGEST_LINE;

/// Room for the time in front of a message.
const HEAD: usize = 64;

/// A message as the engine stored it: a line, or a part of one that was too long for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub is_error: bool,
    /// Nanoseconds since the epoch; `None`: it has no time in front.
    pub ns: Option<i64>,
    pub text: Vec<u8>,
    /// The line ends with it.
    pub ends: bool,
    /// Only its beginning was kept.
    pub cut: bool,
}

/// A stream's place between two pieces.
#[derive(Debug)]
pub(super) struct Frames {
    terminal: bool,
    head: Vec<u8>,
    /// Bytes of the frame that are still to come.
    left: usize,
    is_error: bool,
    text: Vec<u8>,
    cut: bool,
}

impl Frames {
    pub(super) fn new(terminal: bool) -> Self {
        Self { terminal, head: Vec::new(), left: 0, is_error: false, text: Vec::new(), cut: false }
    }

    /// Takes bytes; whole messages go to `out`. An error says why these are no frames.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Message>) -> Result<(), &'static str> {
        if self.terminal {
            self.take(bytes, out);
            return Ok(());
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(8 - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                let [kind, 0, 0, 0, a, b, c, d] = self.head[..] else {
                    if self.head.len() == 8 {
                        return Err("the engine's answer is not made of frames");
                    }
                    return Ok(());
                };
                self.head.clear();
                self.is_error = match kind {
                    0 | 1 => false,
                    2 => true,
                    3 => return Err("the engine cannot read the container's output"),
                    _ => return Err("the engine's answer is not made of frames"),
                };
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= part.len();
            bytes = rest;
            self.take(part, out);
            if self.left == 0 && !self.text.is_empty() {
                self.give(false, out);
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<Message>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = (LONGEST_LINE + HEAD).saturating_sub(self.text.len());
            self.cut |= text.len() > room;
            self.text.extend_from_slice(text.get(..room).unwrap_or(text));
            if ends {
                self.give(true, out);
            }
        }
    }

    fn give(&mut self, ends: bool, out: &mut Vec<Message>) {
        let mut text = std::mem::take(&mut self.text);
        if ends && text.last() == Some(&b'\r') {
            text.pop();
        }
        let at = text.iter().take(HEAD).position(|byte| *byte == b' ').unwrap_or(text.len().min(HEAD));
        let time = text.get(..at).and_then(|time| std::str::from_utf8(time).ok());
        let ns = time.and_then(|time| time.parse::<Timestamp>().ok());
        let ns = ns.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
        if ns.is_some() {
            text.drain(..text.len().min(at + 1));
        }
        out.push(Message { is_error: self.is_error, ns, text, ends, cut: std::mem::take(&mut self.cut) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend(text.as_bytes());
        frame
    }

    const TIME: &str = "2026-01-31T12:00:00.000000001Z";
    const NS: i64 = 1_769_860_800_000_000_001;

    #[test]
    fn messages_come_whole_from_pieces_of_any_size() {
        let mut bytes = frame(1, &format!("{TIME} one\n"));
        bytes.extend(frame(2, &format!("{TIME} part of ")));
        bytes.extend(frame(2, &format!("{TIME} a line\r\n")));
        bytes.extend(frame(1, "no time\n"));
        for piece in 1..bytes.len() {
            let (mut frames, mut out) = (Frames::new(false), Vec::new());
            for part in bytes.chunks(piece) {
                frames.push(part, &mut out).unwrap();
            }
            let found: Vec<_> =
                out.iter().map(|m| (m.is_error, m.ns, String::from_utf8_lossy(&m.text).into_owned(), m.ends)).collect();
            let expected = [
                (false, Some(NS), "one", true),
                (true, Some(NS), "part of ", false),
                (true, Some(NS), "a line", true),
                (false, None, "no time", true),
            ];
            assert_eq!(found, expected.map(|(e, ns, text, ends)| (e, ns, text.to_owned(), ends)), "{piece}");
        }
    }

    #[test]
    fn a_terminal_has_lines_alone() {
        let (mut frames, mut out) = (Frames::new(true), Vec::new());
        frames.push(format!("{TIME} a b\r\n{TIME} \r\nc").as_bytes(), &mut out).unwrap();
        let found: Vec<_> = out.iter().map(|m| (m.ns, String::from_utf8_lossy(&m.text).into_owned())).collect();
        assert_eq!(found, [(Some(NS), "a b".to_owned()), (Some(NS), String::new())]);
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_a_huge_message_is_cut() {
        assert!(Frames::new(false).push(b"HTTP/1.1 200 OK", &mut Vec::new()).is_err());
        assert!(Frames::new(false).push(&frame(9, "x"), &mut Vec::new()).is_err());
        let (mut frames, mut out) = (Frames::new(false), Vec::new());
        let mut head = frame(1, "");
        head[4..].copy_from_slice(&u32::try_from(LONGEST_LINE * 2).unwrap().to_be_bytes());
        frames.push(&head, &mut out).unwrap();
        for _ in 0..LONGEST_LINE * 2 / 1024 {
            frames.push(&[b'x'; 1024], &mut out).unwrap();
        }
        assert_eq!((out.len(), out[0].cut, out[0].text.len()), (1, true, LONGEST_LINE + HEAD));
    }
}
