//! V8's `    at function (path:line:column)` and `    at path:line:column`.

use super::{Stack, path_and_line};

pub(super) fn read(text: &str) -> Stack<'_> {
    let mut stack = Stack::default();
    // The first line is the exception itself.
    for line in text.lines().skip(1) {
        let Some(frame) = line.trim_end().strip_prefix("    at ") else { continue };
        let (label, place) = match frame.strip_suffix(')').and_then(|frame| frame.rsplit_once('(')) {
            Some((label, place)) => (label.trim_end(), place),
            None if frame.contains('(') => continue,
            None => ("", frame),
        };
        // `path:line:column`; a path may have colons of its own (`file://`, `node:internal`, a drive).
        let (path, line) = match place.rsplit_once(':') {
            Some((before, column)) if column.bytes().all(|b| b.is_ascii_digit()) => path_and_line(before),
            _ if place.contains("native") => ("native", 0),
            _ => (place, 0),
        };
        if !path.is_empty() || !label.is_empty() {
            stack.push(path, line, label);
        }
    }
    stack
}
