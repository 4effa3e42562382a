//! Lines that are longer than a destination takes in one record, in parts that it takes.
//!
//! Keeps true: parts lie in the order of the line, have its time and metadata, and make the line again when put together;
//! no character is parted; the last part stands for the line in every count. A line whose labels and metadata leave no room
//! for text stays as it is: the service says what it thinks of it.

use super::{
    sheaf::Row,
    text::{LineWriter, escaped_len},
    wire::Wire,
};

/// What a destination leaves for the text of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: usize,
    /// Counted as the inside of a JSON string.
    pub(crate) escaped: bool,
}

/// Below this no room is worth parting a line for.
const LEAST: usize = 4 << 10;

impl Room {
    /// What is left of `most` bytes by everything in a record but its line.
    pub(crate) fn beside(writer: &mut LineWriter, row: &Row<'_>, most: usize) -> Self {
        let mut frame = Vec::new();
        writer.put_text(&mut frame, row, "");
        Self { bytes: most.saturating_sub(frame.len()), escaped: writer.escapes() }
    }

    /// The first part, and what is left.
    fn part<'t>(&self, text: &'t str) -> (&'t str, &'t str) {
        let end = if self.escaped { longest(text, self.bytes) } else { self.bytes };
        let end = text.floor_char_boundary(end);
        text.split_at_checked(end).unwrap_or((text, ""))
    }
}

/// The most bytes of `text` that take at most `most` in a JSON string.
fn longest(text: &str, most: usize) -> usize {
    let mut left = most;
    let mut taken = 0;
    // By stretches, so that most bytes are looked at by the thousand.
    for stretch in text.as_bytes().chunks(1024) {
        let length = escaped_len(stretch);
        if length <= left {
            left -= length;
            taken += stretch.len();
            continue;
        }
        for byte in stretch {
            let length = escaped_len(std::slice::from_ref(byte));
            if length > left {
                return taken;
            }
            left -= length;
            taken += 1;
        }
    }
    taken
}

/// Each row as it is, or as the parts its destination takes.
pub(crate) fn apart<'a>(rows: Vec<Row<'a>>, wire: &Wire) -> Vec<Row<'a>> {
    let Some(sure) = wire.surely_fits() else { return rows };
    if rows.iter().all(|row| row.entry.line.len() <= sure) {
        return rows;
    }
    let mut out = Vec::with_capacity(rows.len() + 8);
    for row in rows {
        let room = if row.entry.line.len() > sure { wire.room(&row) } else { None };
        match room.filter(|room| room.bytes >= LEAST) {
            Some(room) => parts(row, room, &mut out),
            None => out.push(row),
        }
    }
    out
}

fn parts<'a>(row: Row<'a>, room: Room, out: &mut Vec<Row<'a>>) {
    let mut rest = row.entry.line;
    loop {
        let (part, left) = room.part(rest);
        let last = left.is_empty();
        let items = if last { row.items } else { 0 };
        out.push(Row { items, entry: row.entry.with_line(part), ..row });
        if last {
            return;
        }
        rest = left;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::text::put_escaped;

    proptest! {
        #[test]
        fn parts_make_the_line_again_and_fit(text in "[a\"\u{1}\né😀]{0,3000}", bytes in 24_usize..400, escaped: bool) {
            let room = Room { bytes, escaped };
            let mut rest = text.as_str();
            let mut whole = String::new();
            while !rest.is_empty() {
                let (part, left) = room.part(rest);
                prop_assert!(!part.is_empty());
                let mut written = Vec::new();
                put_escaped(&mut written, part);
                let length = if escaped { written.len() } else { part.len() };
                prop_assert!(length <= bytes);
                // As much as fits: the next character would not.
                if let Some(next) = left.chars().next() {
                    put_escaped(&mut written, &next.to_string());
                    let longer = if escaped { written.len() } else { part.len() + next.len_utf8() };
                    prop_assert!(longer > bytes);
                }
                whole.push_str(part);
                rest = left;
            }
            prop_assert_eq!(whole, text);
        }
    }
}
