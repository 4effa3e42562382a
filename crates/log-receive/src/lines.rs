//! Takes lines out of bytes that come in pieces.
//!
//! Keeps true: holds at most the limit; of a longer line the beginning is given and the rest passed over.

/// A stream's place between two pieces.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    limit: usize,
    line: Vec<u8>,
    /// In a line whose rest is passed over.
    full: bool,
    cut: u64,
}

impl LineSplitter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), full: false, cut: 0 }
    }

    /// Takes bytes; whole lines go to `out` without their line ends.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = self.limit.saturating_sub(self.line.len());
            if text.len() > room && !self.full {
                self.full = true;
                self.cut += 1;
            }
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if ends {
                out.push(self.line());
            }
        }
    }

    /// The last line, if it has no line end.
    pub(crate) fn end(&mut self) -> Option<Vec<u8>> {
        (!self.line.is_empty()).then(|| self.line())
    }

    fn line(&mut self) -> Vec<u8> {
        self.full = false;
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        line
    }

    /// Lines that were cut so far.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use super::LineSplitter;

    #[test]
    fn lines_come_whole_from_pieces_of_any_size() {
        let text = b"one\r\ntwo\n\nthree, which is too long\nfour";
        for piece in 1..text.len() {
            let (mut splitter, mut out) = (LineSplitter::new(5), Vec::new());
            for part in text.chunks(piece) {
                splitter.push(part, &mut out);
            }
            out.extend(splitter.end());
            assert_eq!(out, [&b"one"[..], b"two", b"", b"three", b"four"]);
            assert_eq!(splitter.cut(), 1);
        }
    }
}
