//! `package.function(0x1, 0x2)` and below it, behind a tab, `/path/file.go:12 +0x1f`; goroutines one after the other.

use super::{Stack, path_and_line};

pub(super) fn read(text: &str) -> Stack<'_> {
    let mut stack = Stack::default();
    let mut label = None;
    for line in text.lines() {
        if !line.starts_with(['\t', ' ']) {
            // A goroutine's head has no place below it, and is followed by a function, so it never comes to be a frame.
            label = Some(line.strip_prefix("created by ").unwrap_or(line)).filter(|line| !line.is_empty());
            continue;
        }
        let Some(label) = label.take() else { continue };
        let place = line.trim();
        let place = place.split_once(" +0x").map_or(place, |(place, _)| place);
        let (path, line) = path_and_line(place);
        if line > 0 {
            stack.push(path, line, label);
        }
    }
    stack
}
