//! `  File "path", line 12, in function`, the most recent call last; chained exceptions one after the other, the last one
//! being what was caught.

use std::borrow::Cow;

use super::{Stack, kind_and_message};

/// What stands between an exception and the one it led to.
const BETWEEN: [&str; 2] = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

pub(super) fn read(text: &str) -> Stack<'_> {
    let lines: Vec<&str> = text.lines().collect();
    let mut stack = Stack::default();
    // From the end: the last traceback is the exception's own, and its last call comes first.
    for (number, part) in lines.rsplit(|line| BETWEEN.iter().any(|words| line.starts_with(words))).enumerate() {
        let frames: Vec<_> = part.iter().enumerate().filter_map(|(at, line)| Some((at, frame(line)?))).collect();
        if number > 0 {
            let Some((last, _)) = frames.last() else { break };
            // Source and markers stand below a frame, indented; then comes the exception.
            let words = part.get(last + 1..).unwrap_or_default().iter().skip_while(|line| line.starts_with(' '));
            let mut words = words.copied();
            let (kind, first) = kind_and_message(words.next().unwrap_or_default());
            let mut message = Cow::Borrowed(first);
            for more in words {
                let message = message.to_mut();
                message.push('\n');
                message.push_str(more);
            }
            let message = match message {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
                Cow::Owned(text) => Cow::Owned(text.trim_end().to_owned()),
            };
            if kind.is_empty() || !stack.caused_by(kind, message) {
                break;
            }
        }
        for (_, (path, line, label)) in frames.into_iter().rev() {
            stack.push(path, line, label);
        }
    }
    stack
}

fn frame(line: &str) -> Option<(&str, u32, &str)> {
    let (path, rest) = line.strip_prefix("  File \"")?.rsplit_once("\", line ")?;
    // The outermost code of a module that does not compile has no function.
    let (number, label) = rest.split_once(", in ").unwrap_or((rest, ""));
    Some((path, number.parse().unwrap_or(0), label))
}
