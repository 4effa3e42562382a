//! Prints a parsed pattern in the `regex` crate's syntax, with every choice spelt out.
//!
//! Keeps true: the printed text depends on no default of that crate: literals are hex escapes unless they are letters or
//! digits, Perl classes are ASCII ranges, anchors carry their mode, each node stands in its own group.

use std::fmt::Write as _;

use super::tree::{ClassItem, Kind, Node, Property, Tree};

/// The first and last surrogate: code points that no text holds and that the other crate cannot write.
const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);
/// Matches nothing.
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";

pub(super) fn print(tree: &Tree) -> String {
    let mut printer = Printer { out: String::new(), names: Vec::new() };
    printer.node(&tree.root);
    printer.out
}

struct Printer<'a> {
    out: String,
    /// Names already given: the other crate allows each once.
    names: Vec<&'a str>,
}

impl<'a> Printer<'a> {
    fn node(&mut self, node: &'a Node) {
        match &node.kind {
            Kind::Empty => self.out.push_str("(?:)"),
            Kind::Literal { code, fold } => match char::from_u32(*code) {
                Some(c) if *fold => {
                    self.out.push_str("(?i:");
                    self.code(c);
                    self.out.push(')');
                }
                Some(c) => self.code(c),
                None => self.out.push_str(NOTHING),
            },
            Kind::Class { negated, fold, items } => self.class(*negated, *fold, items),
            Kind::AnyChar => self.out.push_str("(?s:.)"),
            Kind::AnyCharNotNewline => self.out.push_str("(?-s:.)"),
            Kind::BeginText => self.out.push_str(r"\A"),
            Kind::EndText => self.out.push_str(r"\z"),
            Kind::BeginLine => self.out.push_str("(?m:^)"),
            Kind::EndLine => self.out.push_str("(?m:$)"),
            Kind::WordBoundary => self.out.push_str(r"(?-u:\b)"),
            Kind::NotWordBoundary => self.out.push_str(r"(?-u:\B)"),
            Kind::Concat(items) => {
                for item in items {
                    self.grouped_if(matches!(item.kind, Kind::Alternate(_)), item);
                }
            }
            Kind::Alternate(items) => {
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.out.push('|');
                    }
                    self.node(item);
                }
            }
            Kind::Capture { name, inner } => {
                match name.as_deref() {
                    Some(name) if !name.starts_with(|c: char| c.is_ascii_digit()) && !self.names.contains(&name) => {
                        self.names.push(name);
                        self.out.push_str("(?P<");
                        self.out.push_str(name);
                        self.out.push('>');
                    }
                    _ => self.out.push('('),
                }
                self.node(inner);
                self.out.push(')');
            }
            Kind::Repeat { inner, min, max, greedy, .. } => {
                let atom = matches!(
                    inner.kind,
                    Kind::Literal { .. }
                        | Kind::Class { .. }
                        | Kind::AnyChar
                        | Kind::AnyCharNotNewline
                        | Kind::Capture { .. }
                );
                self.grouped_if(!atom, inner);
                match (min, max) {
                    (0, None) => self.out.push('*'),
                    (1, None) => self.out.push('+'),
                    (0, Some(1)) => self.out.push('?'),
                    (min, None) => self.count(format_args!("{{{min},}}")),
                    (min, Some(max)) => self.count(format_args!("{{{min},{max}}}")),
                }
                if !greedy {
                    self.out.push('?');
                }
            }
        }
    }

    fn count(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn grouped_if(&mut self, grouped: bool, node: &'a Node) {
        if grouped {
            self.out.push_str("(?:");
        }
        self.node(node);
        if grouped {
            self.out.push(')');
        }
    }

    fn code(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c);
        } else {
            self.count(format_args!("\\x{{{:x}}}", u32::from(c)));
        }
    }

    fn class(&mut self, negated: bool, fold: bool, items: &[ClassItem]) {
        self.out.push_str(if fold { "(?i:" } else { "(?-i:" });
        self.out.push_str(if negated { "[^" } else { "[" });
        let before = self.out.len();
        for item in items {
            self.class_item(item);
        }
        if self.out.len() == before {
            // Only surrogates were named: nothing matches, or everything does.
            self.out.push_str(NOTHING);
        }
        self.out.push_str("])");
    }

    fn class_item(&mut self, item: &ClassItem) {
        match item {
            ClassItem::Range(low, high) => {
                let (first, last) = SURROGATES;
                let low = if (first..=last).contains(low) { last + 1 } else { *low };
                let high = if (first..=last).contains(high) { first - 1 } else { *high };
                if let (Some(low), Some(high)) = (char::from_u32(low), char::from_u32(high))
                    && low <= high
                {
                    self.code(low);
                    self.out.push('-');
                    self.code(high);
                }
            }
            ClassItem::Perl { letter, negated } => {
                self.out.push_str(if *negated { "[^" } else { "[" });
                self.out.push_str(match letter {
                    'd' => "0-9",
                    's' => r"\t\n\x0C\r\x20",
                    _ => "0-9A-Za-z_",
                });
                self.out.push(']');
            }
            ClassItem::Posix { name, negated } => {
                self.out.push_str(if *negated { "[:^" } else { "[:" });
                self.out.push_str(name);
                self.out.push_str(":]");
            }
            ClassItem::Unicode { property, negated } => match (property, negated) {
                (Property::Any, false) | (Property::Nothing, true) => self.out.push_str(r"\x00-\x{10FFFF}"),
                (Property::Any, true) | (Property::Nothing, false) => self.out.push_str(NOTHING),
                (Property::Exact(exact), negated) => {
                    self.out.push_str(if *negated { r"\P{" } else { r"\p{" });
                    self.out.push_str(exact);
                    self.out.push('}');
                }
            },
        }
    }
}
