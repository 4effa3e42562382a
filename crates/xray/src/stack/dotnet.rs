//! `   at Namespace.Class.Method(Type argument) in C:\path\File.cs:line 12`, or without a place.

use super::Stack;

pub(super) fn read(text: &str) -> Stack<'_> {
    let mut stack = Stack::default();
    // The first line is the exception itself.
    for line in text.lines().skip(1) {
        let Some(frame) = line.trim().strip_prefix("at ") else { continue };
        match frame.split_once(" in ") {
            Some((label, place)) => {
                let (path, line) = match place.rsplit_once(':') {
                    Some((path, line)) => {
                        let number = line.strip_prefix("line").unwrap_or(line).trim();
                        number.parse().map_or((place, 0), |line| (path, line))
                    }
                    None => (place, 0),
                };
                stack.push(path, line, label);
            }
            None if frame.ends_with(')') => stack.push("", 0, frame),
            None => {}
        }
    }
    stack
}
