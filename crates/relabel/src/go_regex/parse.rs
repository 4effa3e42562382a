//! Go's grammar: text in, tree out, or Go's error.
//!
//! Follows `regexp/syntax.Parse` with the `Perl` flags production by production. Keeps true: the tree is at most
//! `MAX_HEIGHT` high, so that walking it by recursion is safe; counted repetitions multiply to at most `MAX_REPEAT`.

use super::{
    GoRegexError,
    escape::{
        BAD_ESCAPE, BAD_RANGE, TRAILING, character_escape, class_character, consumed, next, posix_class, refuse,
        shared_class,
    },
    tree::{ClassItem, Kind, Node, Tree},
};

/// Limit on nesting. Go's is 1,000; the other crate compiles by recursion and must fit a thread's stack.
const MAX_HEIGHT: usize = 100;
/// Go's limit on `{n,m}`, also on the product of nested ones.
const MAX_REPEAT: u32 = 1000;

const BAD_REPEAT_OP: &str = "invalid nested repetition operator";
const BAD_REPEAT_SIZE: &str = "invalid repeat count";
const BAD_PERL_OP: &str = "invalid or unsupported Perl syntax";
const BAD_NAME: &str = "invalid named capture";
const NO_PAREN: &str = "missing closing )";
const EXTRA_PAREN: &str = "unexpected )";
const NO_ARGUMENT: &str = "missing argument to repetition operator";
const TOO_DEEP: &str = "expression nests too deeply";

#[derive(Clone, Copy)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    ungreedy: bool,
}

/// One open parenthesis with what stood before it.
struct Frame {
    alternatives: Vec<Node>,
    sequence: Vec<Node>,
    flags: Flags,
    group: Group,
}

enum Group {
    Plain,
    Capture(Option<Box<str>>),
}

struct Parser<'a> {
    whole: &'a str,
    flags: Flags,
    frames: Vec<Frame>,
    alternatives: Vec<Node>,
    sequence: Vec<Node>,
    names: Vec<Option<Box<str>>>,
}

pub(super) fn parse(pattern: &str) -> Result<Tree, GoRegexError> {
    let flags = Flags { fold: false, multi_line: false, dot_newline: false, ungreedy: false };
    let mut parser = Parser {
        whole: pattern,
        flags,
        frames: Vec::new(),
        alternatives: Vec::new(),
        sequence: Vec::new(),
        names: vec![None],
    };
    parser.run()?;
    if !parser.frames.is_empty() {
        return refuse(NO_PAREN, pattern);
    }
    let root = parser.close_alternation()?;
    Ok(Tree { root, names: parser.names })
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), GoRegexError> {
        let mut rest = self.whole;
        // The text from the operator just read on, when the last thing read was one: `a**` is refused.
        let mut last_repeat: Option<&'a str> = None;
        while let Some((c, after)) = next(rest) {
            let mut repeat = None;
            let start = rest;
            match c {
                '(' => rest = if after.starts_with('?') { self.perl_group(rest)? } else { self.capture(None, after) },
                ')' => {
                    self.close_group()?;
                    rest = after;
                }
                '|' => {
                    let alternative = self.close_sequence()?;
                    self.alternatives.push(alternative);
                    rest = after;
                }
                '^' => {
                    self.push(if self.flags.multi_line { Kind::BeginLine } else { Kind::BeginText });
                    rest = after;
                }
                '$' => {
                    self.push(if self.flags.multi_line { Kind::EndLine } else { Kind::EndText });
                    rest = after;
                }
                '.' => {
                    self.push(if self.flags.dot_newline { Kind::AnyChar } else { Kind::AnyCharNotNewline });
                    rest = after;
                }
                '[' => rest = self.class(rest)?,
                '*' | '+' | '?' => {
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    rest = self.repeat((min, max), false, rest, after, last_repeat)?;
                    repeat = Some(start);
                }
                '{' => match counted(after) {
                    None => {
                        self.literal(u32::from('{'));
                        rest = after;
                    }
                    Some((min, max, tail)) => {
                        let valid = min.is_some_and(|m| m <= MAX_REPEAT)
                            && match max {
                                None => true,
                                Some(max) => max <= MAX_REPEAT && min.is_some_and(|m| m <= max),
                            };
                        if !valid {
                            return refuse(BAD_REPEAT_SIZE, consumed(rest, tail));
                        }
                        rest = self.repeat((min.unwrap_or(0), max), true, rest, tail, last_repeat)?;
                        repeat = Some(start);
                    }
                },
                '\\' => rest = self.escape(rest, after)?,
                _ => {
                    self.literal(u32::from(c));
                    rest = after;
                }
            }
            last_repeat = repeat;
        }
        Ok(())
    }

    fn push(&mut self, kind: Kind) {
        self.sequence.push(Node { kind, height: 1 });
    }

    fn literal(&mut self, code: u32) {
        self.push(Kind::Literal { code, fold: self.flags.fold });
    }

    /// Wraps the last item. `rest` begins with the operator, `after` follows it.
    fn repeat(
        &mut self,
        (min, max): (u32, Option<u32>),
        counted: bool,
        rest: &'a str,
        after: &'a str,
        last: Option<&'a str>,
    ) -> Result<&'a str, GoRegexError> {
        let (lazy, after) = match after.strip_prefix('?') {
            Some(after) => (true, after),
            None => (false, after),
        };
        if let Some(last) = last {
            return refuse(BAD_REPEAT_OP, consumed(last, after));
        }
        let Some(inner) = self.sequence.pop() else {
            return refuse(NO_ARGUMENT, consumed(rest, after));
        };
        let height = inner.height + 1;
        if height > MAX_HEIGHT {
            return refuse(TOO_DEEP, self.whole);
        }
        let kind = Kind::Repeat { inner: Box::new(inner), min, max, counted, greedy: lazy == self.flags.ungreedy };
        let node = Node { kind, height };
        if counted && (min >= 2 || max.is_some_and(|m| m >= 2)) && !fits(&node, MAX_REPEAT) {
            return refuse(BAD_REPEAT_SIZE, consumed(rest, after));
        }
        self.sequence.push(node);
        Ok(after)
    }

    fn open(&mut self, group: Group) {
        self.frames.push(Frame {
            alternatives: std::mem::take(&mut self.alternatives),
            sequence: std::mem::take(&mut self.sequence),
            flags: self.flags,
            group,
        });
    }

    fn capture(&mut self, name: Option<Box<str>>, after: &'a str) -> &'a str {
        self.names.push(name.clone());
        self.open(Group::Capture(name));
        after
    }

    fn close_sequence(&mut self) -> Result<Node, GoRegexError> {
        let mut items = std::mem::take(&mut self.sequence);
        if items.len() == 1
            && let Some(only) = items.pop()
        {
            return Ok(only);
        }
        if items.is_empty() {
            return Ok(Node { kind: Kind::Empty, height: 1 });
        }
        let height = 1 + items.iter().map(|n| n.height).max().unwrap_or(0);
        if height > MAX_HEIGHT {
            return refuse(TOO_DEEP, self.whole);
        }
        Ok(Node { kind: Kind::Concat(items), height })
    }

    fn close_alternation(&mut self) -> Result<Node, GoRegexError> {
        let last = self.close_sequence()?;
        if self.alternatives.is_empty() {
            return Ok(last);
        }
        let mut all = std::mem::take(&mut self.alternatives);
        all.push(last);
        let height = 1 + all.iter().map(|n| n.height).max().unwrap_or(0);
        if height > MAX_HEIGHT {
            return refuse(TOO_DEEP, self.whole);
        }
        Ok(Node { kind: Kind::Alternate(all), height })
    }

    fn close_group(&mut self) -> Result<(), GoRegexError> {
        let inner = self.close_alternation()?;
        let Some(frame) = self.frames.pop() else {
            return refuse(EXTRA_PAREN, self.whole);
        };
        self.alternatives = frame.alternatives;
        self.sequence = frame.sequence;
        self.flags = frame.flags;
        let node = match frame.group {
            Group::Plain => inner,
            Group::Capture(name) => {
                let height = inner.height + 1;
                if height > MAX_HEIGHT {
                    return refuse(TOO_DEEP, self.whole);
                }
                Node { kind: Kind::Capture { name, inner: Box::new(inner) }, height }
            }
        };
        self.sequence.push(node);
        Ok(())
    }

    /// `(?…`: a named group, a group with flags, or flags for the rest of this group.
    fn perl_group(&mut self, rest: &'a str) -> Result<&'a str, GoRegexError> {
        let named = rest.strip_prefix("(?P<").or_else(|| rest.strip_prefix("(?<"));
        if let Some(body) = named {
            let Some((name, after)) = body.split_once('>') else {
                return refuse(BAD_NAME, rest);
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return refuse(BAD_NAME, consumed(rest, after));
            }
            return Ok(self.capture(Some(name.into()), after));
        }
        let mut text = rest.strip_prefix("(?").unwrap_or("");
        let mut flags = self.flags;
        let mut on = true;
        let mut saw = false;
        while let Some((c, after)) = next(text) {
            text = after;
            match c {
                'i' => flags.fold = on,
                'm' => flags.multi_line = on,
                's' => flags.dot_newline = on,
                'U' => flags.ungreedy = on,
                '-' if on => {
                    on = false;
                    saw = false;
                    continue;
                }
                ':' | ')' if on || saw => {
                    if c == ':' {
                        self.open(Group::Plain);
                    }
                    self.flags = flags;
                    return Ok(after);
                }
                _ => return refuse(BAD_PERL_OP, consumed(rest, after)),
            }
            saw = true;
        }
        refuse(NO_PAREN, rest)
    }

    /// `\…` outside a class; `after` follows the backslash.
    fn escape(&mut self, rest: &'a str, after: &'a str) -> Result<&'a str, GoRegexError> {
        let Some((c, tail)) = next(after) else {
            return refuse(TRAILING, "");
        };
        match c {
            'A' => self.push(Kind::BeginText),
            'z' => self.push(Kind::EndText),
            'b' => self.push(Kind::WordBoundary),
            'B' => self.push(Kind::NotWordBoundary),
            'C' => return refuse(BAD_ESCAPE, consumed(rest, tail)),
            'Q' => {
                let (quoted, tail) = tail.split_once("\\E").unwrap_or((tail, ""));
                for c in quoted.chars() {
                    self.literal(u32::from(c));
                }
                return Ok(tail);
            }
            _ => {
                if let Some((item, tail)) = shared_class(rest)? {
                    self.push(Kind::Class { negated: false, fold: self.flags.fold, items: vec![item] });
                    return Ok(tail);
                }
                let (code, tail) = character_escape(rest)?;
                self.literal(code);
                return Ok(tail);
            }
        }
        Ok(tail)
    }

    /// `[…]`; `rest` begins with the bracket.
    fn class(&mut self, rest: &'a str) -> Result<&'a str, GoRegexError> {
        let mut text = rest.strip_prefix('[').unwrap_or(rest);
        let negated = match text.strip_prefix('^') {
            Some(after) => {
                text = after;
                true
            }
            None => false,
        };
        let mut items = Vec::new();
        loop {
            if !items.is_empty()
                && let Some(after) = text.strip_prefix(']')
            {
                self.push(Kind::Class { negated, fold: self.flags.fold, items });
                return Ok(after);
            }
            if let Some((item, after)) = posix_class(text)? {
                items.push(item);
                text = after;
                continue;
            }
            if let Some((item, after)) = shared_class(text)? {
                items.push(item);
                text = after;
                continue;
            }
            let range = text;
            let (low, after) = class_character(text, rest)?;
            text = after;
            let mut high = low;
            // `[a-]` is `a` or `-`: a hyphen before the bracket stands for itself.
            if let Some(after) = text.strip_prefix('-')
                && !after.is_empty()
                && !after.starts_with(']')
            {
                (high, text) = class_character(after, rest)?;
                if high < low {
                    return refuse(BAD_RANGE, consumed(range, text));
                }
            }
            items.push(ClassItem::Range(low, high));
        }
    }
}

/// Go's check that nested counted repetitions stay below a product.
fn fits(node: &Node, mut limit: u32) -> bool {
    match &node.kind {
        Kind::Repeat { inner, min, max, counted, .. } => {
            if *counted {
                if *max == Some(0) {
                    return true;
                }
                let times = max.unwrap_or(*min);
                if times > limit {
                    return false;
                }
                limit = limit.checked_div(times).unwrap_or(limit);
            }
            fits(inner, limit)
        }
        Kind::Capture { inner, .. } => fits(inner, limit),
        Kind::Concat(all) | Kind::Alternate(all) => all.iter().all(|n| fits(n, limit)),
        _ => true,
    }
}

/// `n}`, `n,}`, `n,m}` after the brace. A number that is too large is `None` inside the answer's first place. `None` as a
/// whole: not a repetition, the brace is text.
#[allow(clippy::type_complexity)]
fn counted(text: &str) -> Option<(Option<u32>, Option<u32>, &str)> {
    let (min, rest) = integer(text)?;
    let Some(rest) = rest.strip_prefix(',') else {
        let rest = rest.strip_prefix('}')?;
        // An unreadably large count is refused through `min`; `max` then does not matter.
        return Some((min, Some(min.unwrap_or(0)), rest));
    };
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((min, None, rest));
    }
    let (max, rest) = integer(rest)?;
    let rest = rest.strip_prefix('}')?;
    Some((min.filter(|_| max.is_some()), max, rest))
}

/// Digits without a leading zero; the inner `None` is "too large".
fn integer(text: &str) -> Option<(Option<u32>, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().ok().filter(|n| *n < 100_000_000), rest))
}
