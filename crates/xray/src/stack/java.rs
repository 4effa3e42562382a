//! Behind a tab, `at package.Class.method(File.java:12)`; `Caused by: Type: message`.

use std::borrow::Cow;

use super::{Stack, kind_and_message, path_and_line};

pub(super) fn read(text: &str) -> Stack<'_> {
    let mut stack = Stack::default();
    // The first line is the exception itself.
    let mut lines = text.lines().skip(1).peekable();
    while let Some(line) = lines.next() {
        if let Some((label, place)) = frame(line) {
            let (path, line) = path_and_line(place);
            stack.push(path, line, label);
        } else if let Some(cause) = line.strip_prefix("Caused by: ") {
            let (kind, first) = kind_and_message(cause);
            let mut message = Cow::Borrowed(first);
            // A message may have several lines.
            while let Some(more) = lines.next_if(|line| frame(line).is_none() && !is_structure(line)) {
                let message = message.to_mut();
                message.push('\n');
                message.push_str(more);
            }
            if !stack.caused_by(kind, message) {
                break;
            }
        }
        // `... 12 more` and suppressed exceptions, which are indented deeper, are passed over.
    }
    stack
}

/// Label, and what is in parentheses.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (label, place) = line.strip_prefix("\tat ")?.strip_suffix(')')?.split_once('(')?;
    // A class loader or module stands before the slash.
    let label = label.split_once('/').map_or(label, |(_, label)| label);
    Some((label, place))
}

fn is_structure(line: &str) -> bool {
    ["Caused by: ", "\t... ", "\tSuppressed: "].iter().any(|start| line.starts_with(start))
}
