//! Reads the journal's export format, piece by piece as it arrives.
//!
//! Source: "Journal Export Formats" (systemd). `NAME=text` and a line feed; or `NAME`, a line feed, a 64-bit little-endian
//! length, that many bytes of anything, a line feed; an empty line ends an entry. Keeps true: memory is bounded whatever
//! lengths claim: long values are cut, and what follows of them is passed over without being kept; any bytes are read
//! without panic, and reading goes on at the next entry.

use std::collections::BTreeMap;

/// A value is kept up to this; the rest of it is passed over.
const LONGEST_VALUE: usize = 1 << 20;
/// All values of an entry together.
const LARGEST_ENTRY: usize = 4 << 20;
const MOST_FIELDS: usize = 1024;
const LONGEST_NAME: usize = 64;

/// Fields of an entry by name; of a field that came several times, the last.
pub(super) type Fields = BTreeMap<String, Vec<u8>>;

/// An entry as it stood in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct JournalEntry {
    pub fields: Fields,
    /// Something of it was left out for its size.
    pub cut: bool,
}

/// The reader's place between two pieces.
#[derive(Debug, Default)]
pub(super) struct ExportReader {
    place: Place,
    /// The line so far: a name, or a name and its text.
    line: Vec<u8>,
    entry: JournalEntry,
    size: usize,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Line,
    /// In a line that is longer than we keep.
    RestOfLine,
    /// In the eight bytes of a length.
    Length {
        name: String,
        bytes: [u8; 8],
        have: usize,
    },
    Value {
        name: String,
        value: Vec<u8>,
        left: u64,
    },
    /// The line feed after a binary value.
    AfterValue,
}

impl ExportReader {
    /// Takes bytes; complete entries go to `out`.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<JournalEntry>) {
        while !bytes.is_empty() {
            bytes = self.step(bytes, out);
        }
    }

    /// Takes at least a byte.
    fn step<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<JournalEntry>) -> &'b [u8] {
        match &mut self.place {
            Place::Line | Place::RestOfLine => self.in_line(bytes, out),
            Place::Length { name, bytes: length, have } => {
                let (Some((first, rest)), Some(slot)) = (bytes.split_first(), length.get_mut(*have)) else {
                    self.place = Place::Line;
                    return &[];
                };
                *slot = *first;
                *have += 1;
                if *have == 8 {
                    let left = u64::from_le_bytes(*length);
                    let name = std::mem::take(name);
                    self.place = Place::Value { name, value: Vec::new(), left };
                    self.end_value();
                }
                rest
            }
            Place::Value { value, left, .. } => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, rest) = bytes.split_at_checked(take).unwrap_or((bytes, &[]));
                let room = LONGEST_VALUE.saturating_sub(value.len());
                value.extend_from_slice(now.get(..room).unwrap_or(now));
                self.entry.cut |= now.len() > room;
                *left = left.saturating_sub(now.len() as u64);
                self.end_value();
                rest
            }
            Place::AfterValue => {
                self.place = Place::Line;
                // What is no line feed belongs to a broken stream; it is read as the next line.
                bytes.strip_prefix(b"\n").unwrap_or_else(|| {
                    self.line.extend(bytes.first());
                    bytes.get(1..).unwrap_or_default()
                })
            }
        }
    }

    fn end_value(&mut self) {
        if let Place::Value { name, value, left: 0 } = &mut self.place {
            let (name, value) = (std::mem::take(name), std::mem::take(value));
            self.keep(name, value);
            self.place = Place::AfterValue;
        }
    }

    fn in_line<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<JournalEntry>) -> &'b [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (now, rest) = match end {
            Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
            None => (bytes, &[][..]),
        };
        if matches!(self.place, Place::Line) {
            let room = (LONGEST_VALUE + LONGEST_NAME).saturating_sub(self.line.len());
            self.line.extend_from_slice(now.get(..room).unwrap_or(now));
            if now.len() > room {
                self.entry.cut = true;
                self.place = Place::RestOfLine;
            }
        }
        if end.is_some() {
            self.place = Place::Line;
            self.end_line(out);
        }
        rest
    }

    fn end_line(&mut self, out: &mut Vec<JournalEntry>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let entry = std::mem::take(&mut self.entry);
            self.size = 0;
            if !entry.fields.is_empty() {
                out.push(entry);
            }
            return;
        }
        let at = line.iter().position(|byte| *byte == b'=');
        let name = line.get(..at.unwrap_or(line.len())).unwrap_or_default();
        let Some(name) = field_name(name) else {
            self.entry.cut = true;
            return;
        };
        match at {
            Some(at) => {
                let value = line.get(at + 1..).unwrap_or_default().to_vec();
                self.keep(name, value);
            }
            None => self.place = Place::Length { name, bytes: [0; 8], have: 0 },
        }
    }

    fn keep(&mut self, name: String, value: Vec<u8>) {
        let size = self.size + name.len() + value.len();
        if size > LARGEST_ENTRY || (self.entry.fields.len() >= MOST_FIELDS && !self.entry.fields.contains_key(&name)) {
            self.entry.cut = true;
            return;
        }
        self.size = size;
        self.entry.fields.insert(name, value);
    }
}

/// Capital letters, digits and underscores.
fn field_name(bytes: &[u8]) -> Option<String> {
    let is_name = !bytes.is_empty()
        && bytes.len() <= LONGEST_NAME
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    is_name.then(|| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Vec<JournalEntry> {
        let (mut reader, mut out) = (ExportReader::default(), Vec::new());
        for part in bytes.chunks(piece) {
            reader.push(part, &mut out);
        }
        out
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        let mut out = format!("{name}\n").into_bytes();
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
        out
    }

    #[test]
    fn text_and_binary_values_are_read_in_pieces_of_any_size() {
        let mut bytes = b"__CURSOR=s=1\nMESSAGE=a=b\n".to_vec();
        bytes.extend(binary("BLOB", b"x\n\n\0y"));
        bytes.extend(binary("EMPTY", b""));
        bytes.extend_from_slice(b"\nMESSAGE=second\n\n\n");
        for piece in 1..bytes.len() {
            let entries = read(&bytes, piece);
            assert_eq!(entries.len(), 2, "{piece}");
            assert_eq!(entries[0].fields["MESSAGE"], b"a=b");
            assert_eq!(entries[0].fields["BLOB"], b"x\n\n\0y");
            assert_eq!(entries[0].fields["EMPTY"], b"");
            assert_eq!(entries[1].fields["MESSAGE"], b"second");
        }
    }

    #[test]
    fn values_beyond_the_limit_are_cut_and_what_follows_is_read() {
        let long = vec![b'a'; LONGEST_VALUE + 5000];
        let mut bytes = b"MESSAGE=".to_vec();
        bytes.extend_from_slice(&long);
        bytes.push(b'\n');
        bytes.extend(binary("BLOB", &long));
        bytes.extend_from_slice(b"A=1\n\nMESSAGE=next\n\n");
        let entries = read(&bytes, 8192);
        assert_eq!(entries.len(), 2);
        assert!(entries[0].cut && !entries[1].cut);
        assert!(entries[0].fields["MESSAGE"].len() >= LONGEST_VALUE);
        assert_eq!(entries[0].fields["BLOB"].len(), LONGEST_VALUE);
        assert_eq!(entries[0].fields["A"], b"1");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_grow_without_bound(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1usize..50) {
            let _ = read(&bytes, piece);
        }

        #[test]
        fn pieces_do_not_matter(text in "([A-Z]{1,3}(=[a-z]*)?\n){0,20}\n", piece in 1usize..9) {
            prop_assert_eq!(read(text.as_bytes(), piece), read(text.as_bytes(), 4096));
        }
    }
}
