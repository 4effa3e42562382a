//! `cri`: lines of container runtimes, `time stream flags content`, with unfinished lines put together.
//!
//! Keeps true: at most `max_partial_lines` label sets of one source have an unfinished line, and none grows past
//! [`MAX_PARTIAL_BYTES`] or those of all sources of a job past [`MAX_BYTES`]; beyond that, what is there goes on as it is.
//! Nothing is lost.

use std::{collections::BTreeMap, ops::Range};

use model::Labels;

use super::{LineStage, labels::FromExtracted, timestamp::Timestamp};
use crate::{Entry, Name, Value, config::CriConfig, room::Room};

/// Most bytes of one unfinished line.
pub const MAX_PARTIAL_BYTES: usize = 16 << 20;

/// Most bytes of all unfinished lines.
const MAX_BYTES: usize = 64 << 20;

const DEFAULT_PARTIAL_LINES: usize = 100;

#[derive(Debug)]
pub(crate) struct Cri {
    names: Names,
    labels: FromExtracted,
    timestamp: Timestamp,
    max_partial_lines: usize,
    /// Bytes, if longer lines are to be cut.
    cut_at: Option<usize>,
    partial: BTreeMap<Labels, Entry>,
    /// In all of them.
    room: Room,
}

#[derive(Debug, Clone)]
struct Names {
    time: Name,
    stream: Name,
    flags: Name,
    content: Name,
    tags: Name,
}

impl Cri {
    pub fn new(config: &CriConfig) -> Self {
        let cut_at = usize::try_from(config.max_partial_line_size).unwrap_or(usize::MAX);
        Self {
            names: Names {
                time: Name::from("time"),
                stream: Name::from("stream"),
                flags: Name::from("flags"),
                content: Name::from("content"),
                tags: Name::from("tags"),
            },
            labels: FromExtracted::of("stream"),
            timestamp: Timestamp::rfc3339_nano("time"),
            max_partial_lines: match config.max_partial_lines {
                0 => DEFAULT_PARTIAL_LINES,
                lines => lines,
            },
            cut_at: config.max_partial_line_size_truncate.then_some(cut_at),
            partial: BTreeMap::new(),
            room: Room::default(),
        }
    }

    /// The same for another source.
    pub fn twin(&self) -> Self {
        Self {
            names: self.names.clone(),
            labels: self.labels.clone(),
            timestamp: self.timestamp.clone(),
            max_partial_lines: self.max_partial_lines,
            cut_at: self.cut_at,
            partial: BTreeMap::new(),
            room: self.room.twin(),
        }
    }

    /// Calls `each` with every part of the source that waits for its rest.
    pub fn held(&self, each: &mut dyn FnMut(&Range<u64>)) {
        self.partial.values().flat_map(|entry| entry.parts.iter()).for_each(each);
    }

    /// Takes a line; `out` gets what is complete. Gives a reason if it is none of a container runtime's.
    pub fn push(&mut self, mut entry: Entry, now_ns: i64, out: &mut dyn FnMut(Entry)) -> Option<&'static str> {
        entry.extracted.seed(&entry.labels);
        let unread = (!self.parse(&mut entry)).then_some("not_cri");
        self.assemble(entry, now_ns, out);
        unread
    }

    fn assemble(&mut self, mut entry: Entry, now_ns: i64, out: &mut dyn FnMut(Entry)) {
        self.labels.apply(&mut entry, now_ns);
        self.timestamp.apply(&mut entry, now_ns);
        for source in [&self.names.content, &self.names.tags] {
            if let Some(text) = entry.extracted.text(source) {
                entry.line.clear();
                entry.line.push_str(&text);
            }
        }
        let is_partial = matches!(entry.extracted.get(&self.names.flags), Some(Value::Text(flags)) if **flags == *"P");
        if self.partial.is_empty() && !is_partial {
            out(entry);
            return;
        }
        if is_partial && self.partial.len() >= self.max_partial_lines {
            self.flush(out);
        }
        if let Some(before) = self.partial.remove(&entry.labels) {
            self.room.give(before.line.len());
            if before.line.len() + entry.line.len() > MAX_PARTIAL_BYTES {
                out(before);
            } else {
                let rest = std::mem::replace(&mut entry.line, before.line);
                let last = std::mem::replace(&mut entry.parts, before.parts);
                entry.parts.append(last);
                entry.line.push_str(&rest);
                self.cut(&mut entry.line);
            }
        }
        if is_partial {
            self.cut(&mut entry.line);
            self.room.take(entry.line.len());
            self.partial.insert(entry.labels.clone(), entry);
            if self.room.used() > MAX_BYTES {
                self.flush(out);
            }
        } else {
            out(entry);
        }
    }

    /// Unfinished lines go on as they are.
    pub fn flush(&mut self, out: &mut dyn FnMut(Entry)) {
        for entry in std::mem::take(&mut self.partial).into_values() {
            self.room.give(entry.line.len());
            out(entry);
        }
    }

    fn cut(&self, line: &mut String) {
        let Some(limit) = self.cut_at else { return };
        if line.len() > limit {
            line.truncate(line.floor_char_boundary(limit));
        }
    }

    fn parse(&self, entry: &mut Entry) -> bool {
        let Some((time, stream, flags, content)) = fields(&entry.line) else { return false };
        let (time, stream, flags, content) =
            (Value::text(time), Value::text(stream), Value::text(flags), Value::text(content));
        let names = &self.names;
        for (name, value) in
            [(&names.time, time), (&names.stream, stream), (&names.flags, flags), (&names.content, content)]
        {
            entry.extracted.set(name, value);
        }
        true
    }
}

/// `^(?s)(?P<time>\S+?) (?P<stream>stdout|stderr) (?P<flags>\S+?) (?P<content>.*)$`
fn fields(line: &str) -> Option<(&str, &str, &str, &str)> {
    let word = |text: &str| !text.is_empty() && !text.contains(['\t', '\n', '\u{c}', '\r']);
    let (time, rest) = line.split_once(' ')?;
    let (stream, rest) = rest.split_once(' ')?;
    let (flags, content) = rest.split_once(' ')?;
    let fits = word(time) && word(flags) && matches!(stream, "stdout" | "stderr");
    fits.then_some((time, stream, flags, content))
}
