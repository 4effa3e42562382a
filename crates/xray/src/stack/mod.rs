//! Stack traces as texts, taken apart into frames, one file per language.
//!
//! It keeps true: texts come from outside, so what does not look like a frame is passed over; frames and causes are bounded.

mod dotnet;
mod go;
mod java;
mod javascript;
mod python;

use std::borrow::Cow;

use crate::segment::Frame;

/// Frames of one exception at most; more are counted.
const MOST_FRAMES: usize = 256;
/// Exceptions that led to one at most; the nearest.
const MOST_CAUSES: usize = 16;

/// What a stack trace tells: the frames of the exception itself, and the exceptions that led to it, nearest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack<'a> {
    pub(crate) frames: Vec<Frame<'a>>,
    /// Frames beyond the limit.
    pub(crate) truncated: usize,
    pub(crate) causes: Vec<CausedBy<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CausedBy<'a> {
    pub(crate) kind: Cow<'a, str>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) frames: Vec<Frame<'a>>,
    pub(crate) truncated: usize,
}

/// `None`: nobody here reads that language's stacks, or nothing in the text looks like one.
pub(crate) fn read<'a>(language: &str, text: &'a str) -> Option<Stack<'a>> {
    let stack = match language {
        // PHP's SDK writes them as Java does.
        "java" | "php" => java::read(text),
        "python" => python::read(text),
        "nodejs" | "webjs" | "javascript" => javascript::read(text),
        "dotnet" => dotnet::read(text),
        "go" => go::read(text),
        _ => return None,
    };
    (!stack.frames.is_empty() || !stack.causes.is_empty()).then_some(stack)
}

impl<'a> Stack<'a> {
    /// Adds a frame to the exception that is being read: the last cause, or the exception itself.
    fn push(&mut self, path: &'a str, line: u32, label: &'a str) {
        let (frames, truncated) = match self.causes.last_mut() {
            Some(cause) => (&mut cause.frames, &mut cause.truncated),
            None => (&mut self.frames, &mut self.truncated),
        };
        if frames.len() < MOST_FRAMES {
            frames.push(Frame { path: Cow::Borrowed(path), line, label: Cow::Borrowed(label) });
        } else {
            *truncated += 1;
        }
    }

    /// Begins with an exception that led to the one before. False: there are enough.
    fn caused_by(&mut self, kind: &'a str, message: Cow<'a, str>) -> bool {
        if self.causes.len() >= MOST_CAUSES {
            return false;
        }
        self.causes.push(CausedBy { kind: Cow::Borrowed(kind), message, frames: Vec::new(), truncated: 0 });
        true
    }
}

/// `Type: message`; a text without a colon is all type.
fn kind_and_message(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((kind, message)) => (kind.trim(), message.trim_start()),
        None => (text.trim(), ""),
    }
}

/// `path:line`; a path without a line has line 0.
fn path_and_line(text: &str) -> (&str, u32) {
    match text.rsplit_once(':') {
        Some((path, line)) => match line.parse() {
            Ok(line) => (path, line),
            Err(_) => (text, 0),
        },
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests;
